"""The route `/status`: the cluster as a whole."""

from __future__ import annotations

from ffcluster.net.access import Scope
from ffcluster.web.desk import ClusterDesk
from ffcluster.web.models import Status
from ffcluster.web.routing import Answer, Call, Route


def status_routes(desk: ClusterDesk) -> tuple[Route, ...]:
    """The route `/status`."""

    async def show(call: Call) -> Answer:
        return Answer(await desk.fresh_status())

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
    )
