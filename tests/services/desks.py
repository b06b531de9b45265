"""A desk that notes what sessions bring to it, and a connection that notes what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import orjson
from twisted.internet.defer import Deferred

from ffcluster.core.durable import Changes
from ffcluster.core.events import Event
from ffcluster.core.load import WorkerLoad
from ffcluster.core.model import Epoch, JobSpec, WorkerId
from ffcluster.core.profile import Container, Profile
from ffcluster.core.views import JobView
from ffcluster.errors import NotFound
from ffcluster.net import codec, messages
from ffcluster.services.coordinator.gateway import Session

decode = codec.decoder(messages.Message, messages.MAX_REPLY_BYTES)


def view(job_id: str, state: str = "Queued") -> JobView:
    spec = JobSpec(Profile(), Container.MKV, "film.mkv", "film.mkv")
    return JobView(job_id, state, "", spec)


@attrs.define(eq=False)
class FakeDesk:
    """Stands for the coordinator behind sessions."""

    block_bytes: int = 4096
    heartbeat_s: float = 5.0
    now: float = 0.0
    events: list[Event] = attrs.field(factory=list)
    delivered: list[messages.Result] = attrs.field(factory=list)
    live: dict[int, str] = attrs.field(factory=dict)
    opened: list[tuple[WorkerId, Session]] = attrs.field(factory=list)
    closed: list[Session] = attrs.field(factory=list)
    loads: list[tuple[WorkerId, WorkerLoad]] = attrs.field(factory=list)
    known_jobs: dict[str, JobView] = attrs.field(factory=dict)
    asked: list[Any] = attrs.field(factory=list)
    answers: dict[int, Any] = attrs.field(factory=dict)

    def seconds(self) -> float:
        return self.now

    def post(self, event: Event) -> None:
        self.events.append(event)

    def deliver(self, result: messages.Result) -> None:
        self.delivered.append(result)

    def holds(self, worker_id: WorkerId, epoch: Epoch) -> bool:
        return self.live.get(epoch) == worker_id

    def told_load(self, worker_id: WorkerId, load: WorkerLoad) -> None:
        self.loads.append((worker_id, load))

    def worker_opened(self, worker_id: WorkerId, session: Session) -> None:
        self.opened.append((worker_id, session))

    def session_closed(self, session: Session) -> None:
        self.closed.append(session)

    async def answer(self, request: Any) -> messages.ToClient:
        """Answers are given under the request's number: a message, an error, or a Deferred."""
        self.asked.append(request)
        answer = self.answers.get(request.request, messages.Done(request.request))
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def job(self, job_id: str) -> JobView:
        if job_id not in self.known_jobs:
            raise NotFound(message=f"There is no job {job_id}.")
        return self.known_jobs[job_id]

    def output_path(self, job_id: str) -> str:
        return f"/v1/outputs/{job_id}" if self.known_jobs[job_id].state == "Completed" else ""


class MemoryWriter:
    """Stands for the ledger: everything is durable at once, unless it is held back."""

    def __init__(self) -> None:
        self.written: list[Changes] = []
        self.held: Deferred[None] | None = None

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        self.written.append(changes)
        self.idle().addCallback(lambda _: then())

    def idle(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self.held is None:
            done.callback(None)
        else:
            self.held.chainDeferred(done)
        return done


class FakeConnection:
    """One end of a connection, without a socket."""

    address = "10.0.0.9:4711"

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed_with: tuple[int, str] | None = None

    def send(self, payload: bytes) -> None:
        self.sent.append(decode(payload))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = (code, reason)


def say(session: Any, message: Any, **changes: Any) -> None:
    """Let a session receive a message, with some keys changed."""
    document = orjson.loads(codec.encode(message)) | changes
    session.received(orjson.dumps(document))
