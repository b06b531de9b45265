"""The routes of workers: list, show, drain, resume, forget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from attrs import validators

from ffcluster.core.worker import Worker as WorkerRecord
from ffcluster.core.worker import WorkerState
from ffcluster.errors import Code, NotFound
from ffcluster.net.access import Scope
from ffcluster.web.desk import WorkerDesk
from ffcluster.web.models.workers import Worker, WorkerPage
from ffcluster.web.paging import CURSOR, LIMIT, USUAL_ITEMS, Key, page
from ffcluster.web.resource import Pauses, check_match
from ffcluster.web.routing import Answer, Call, Route, Serve
from ffcluster.web.showing import worker_etag, worker_resource

_ORDERS: dict[str, Callable[[WorkerRecord], Key]] = {
    "name": lambda worker: (worker.facts.name, worker.id),
    "-fps": lambda worker: (-worker.fps, worker.facts.name, worker.id),
}


@attrs.frozen
class WorkersQuery:
    """Which page of the workers.

    Attributes:
        state: Only workers in one of these states.
        sort: What they are ordered by; `-` turns it round.
        limit: How many items at most.
        cursor: `next_cursor` of the page before.
    """

    state: tuple[WorkerState, ...] = ()
    sort: str = attrs.field(default="name", validator=validators.in_(tuple(_ORDERS)))
    limit: int = attrs.field(default=USUAL_ITEMS, validator=LIMIT)
    cursor: str | None = attrs.field(default=None, validator=CURSOR)


def worker_routes(desk: WorkerDesk, reactor: Any) -> tuple[Route, ...]:
    """The routes below `/workers`."""
    serving = _Serving(desk, reactor)
    one = "/workers/{worker_id}"
    steering: dict[str, Any] = {
        "tag": "workers",
        "scope": Scope.CLIENT,
        "problems": (Code.NOT_FOUND,),
        "matches": True,
    }
    return (
        Route(
            method="GET",
            path="/workers",
            name="list_workers",
            summary="List workers.",
            tag="workers",
            scope=Scope.VIEWER,
            serve=serving.list,
            query=WorkersQuery,
            response=WorkerPage,
        ),
        Route(
            method="GET",
            path=one,
            name="show_worker",
            summary="Show a worker with all that it can and cannot do.",
            tag="workers",
            scope=Scope.VIEWER,
            serve=serving.show,
            response=Worker,
            problems=(Code.NOT_FOUND,),
        ),
        Route(
            method="POST",
            path=f"{one}/drain",
            name="drain_worker",
            summary="Give a worker nothing more, and let it finish what it has.",
            serve=serving.action(desk.drain),
            response=Worker,
            **steering,
        ),
        Route(
            method="POST",
            path=f"{one}/resume",
            name="resume_worker",
            summary="Let a drained or quarantined worker work again.",
            serve=serving.action(desk.resume_worker),
            response=Worker,
            **steering,
        ),
        Route(
            method="DELETE",
            path=one,
            name="forget_worker",
            summary="Forget a worker; what it has is given to others.",
            serve=serving.forget,
            status=204,
            **steering,
        ),
    )


class _Serving:
    """Answers what is asked about workers."""

    def __init__(self, desk: WorkerDesk, reactor: Any) -> None:
        self._desk = desk
        self._reactor = reactor

    async def list(self, call: Call) -> Answer:
        query: WorkersQuery = call.query
        workers = self._desk.workers()
        if query.state:
            workers = [worker for worker in workers if worker.state in query.state]
        chosen, cursor = page(workers, _ORDERS[query.sort], query.sort, query.limit, query.cursor)
        pauses, items = Pauses(self._reactor), []
        for worker in chosen:
            try:
                items.append(worker_resource(self._desk.worker(worker.id)))
            except NotFound:
                # It was forgotten since the page was begun.
                continue
            await pauses.due()
        return Answer(WorkerPage(tuple(items), cursor))

    async def show(self, call: Call) -> Answer:
        return self._shown(call.path["worker_id"])

    def _shown(self, worker_id: str) -> Answer:
        worker = worker_resource(self._desk.worker(worker_id))
        return Answer(worker, etag=worker.etag)

    def action(self, act: Callable[[str], Awaitable[None]]) -> Serve:
        """Serves what changes the state of a worker."""

        async def serve(call: Call) -> Answer:
            worker_id = self._matched(call)
            await act(worker_id)
            return self._shown(worker_id)

        return serve

    async def forget(self, call: Call) -> Answer:
        await self._desk.forget(self._matched(call))
        return Answer()

    def _matched(self, call: Call) -> str:
        """The worker that is meant, which is as the caller saw it last."""
        worker_id = call.path["worker_id"]
        check_match(call, worker_etag(self._desk.worker(worker_id)))
        return worker_id
