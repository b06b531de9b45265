"""The routes `/status` and `/me`: the cluster as a whole, and what the caller may do with it."""

from __future__ import annotations

from ffcluster.net.access import Scope
from ffcluster.web.desk import ClusterDesk
from ffcluster.web.models.status import Me, Status
from ffcluster.web.routing import Answer, Call, Route


def status_routes(desk: ClusterDesk) -> tuple[Route, ...]:
    """The routes `/status` and `/me`."""

    async def show(call: Call) -> Answer:
        return Answer(await desk.fresh_status())

    async def show_me(call: Call) -> Answer:
        caller = call.caller
        scopes = tuple(scope for scope in Scope if caller.scope.opens(scope))
        return Answer(Me(caller.name, caller.scope, scopes, caller.token_id))

    return (
        Route(
            method="GET",
            path="/status",
            name="show_status",
            summary="Show how the cluster is doing.",
            tag="cluster",
            scope=Scope.VIEWER,
            serve=show,
            response=Status,
        ),
        Route(
            method="GET",
            path="/me",
            name="show_me",
            summary="Show who asks and what that token opens.",
            tag="access",
            scope=Scope.VIEWER,
            serve=show_me,
            response=Me,
        ),
    )
