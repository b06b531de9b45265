"""The route `/plan`: what would become of a film, found out without doing it."""

from __future__ import annotations

from ffcluster.errors import Code
from ffcluster.net.access import Scope
from ffcluster.web.bodies import NewJob
from ffcluster.web.desk import Desk
from ffcluster.web.jobs import requested
from ffcluster.web.models.plans import Plan
from ffcluster.web.routing import Answer, Call, Route


def plan_routes(desk: Desk) -> tuple[Route, ...]:
    """The route `/plan`."""

    async def plan(call: Call) -> Answer:
        return Answer(await desk.plan(requested(call.body, desk)))

    return (
        Route(
            method="POST",
            path="/plan",
            name="plan_job",
            summary="Find out what would become of a film.",
            tag="jobs",
            scope=Scope.CLIENT,
            serve=plan,
            body=NewJob,
            response=Plan,
            problems=(
                Code.INVALID_OPTION,
                Code.UNSUPPORTED_OPTION,
                Code.CONTAINER_UNSUITABLE,
                Code.INCOMPATIBLE_SEGMENTS,
                Code.NO_USABLE_ENCODER,
                Code.NOT_FOUND,
                Code.SOURCE_MISSING,
                Code.SOURCE_UNREADABLE,
                Code.SOURCE_DAMAGED,
                Code.REFUSED,
                Code.TOO_MANY,
                Code.HELPER_DIED,
            ),
        ),
    )
