"""A client's view of a coordinator: submit, follow, cancel, upload, download."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from ffcluster import __version__
from ffcluster.core.model import JobRequest
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import (
    Conflict,
    ProtocolError,
    SourceMissing,
    TransferFailed,
    Unreachable,
)
from ffcluster.net import codec, messages
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient, OnBytes
from ffcluster.net.session import Liveness
from ffcluster.net.websocket import CLOSE_PROTOCOL, Connection, dial

_Reply = TypeVar("_Reply", bound=messages.ToClient)
_TEND_EVERY_S = 1.0
_decode = codec.decoder(messages.ToClient | messages.Welcome, messages.MAX_REPLY_BYTES)


class CoordinatorClient:
    """One session of a client. Make it with `connect`; every method may raise `Unreachable`."""

    def __init__(self, reactor: Any, address: CoordinatorAddress, token: str | None) -> None:
        self._reactor = reactor
        self._bulk = BulkClient(reactor, address, token)
        self._address = address
        self._connection: Connection | None = None
        self._gone: Deferred[None] = Deferred()
        self._welcome: Deferred[messages.Welcome] = Deferred()
        self._block_bytes = 2**20
        self._requests = itertools.count(1)
        self._replies: dict[int, Deferred[Any]] = {}
        self._watches: dict[int, Callable[[messages.Job], None]] = {}
        self._liveness = Liveness(0.0, 0.0)
        self._tending = LoopingCall(self._tend)
        self._tending.clock = reactor

    @classmethod
    async def connect(
        cls, reactor: IReactorTime, url: str, *, token: str | None, timeout_s: float = 10.0
    ) -> CoordinatorClient:
        """Open a session with the coordinator at `url` (`ws://host:5001`).

        Raises:
            InvalidOption: `url` is no address.
            Unreachable: Nothing answers, or it is no coordinator.
            Unauthorized: The token is missing or wrong.
            Refused: The coordinator does not speak our protocol.
        """
        address = CoordinatorAddress.parse(url)
        client = cls(reactor, address, token)
        await dial(reactor, address, client, token=token, timeout_s=timeout_s)
        try:
            await client._greet(timeout_s)
        except BaseException:
            await client.close()
            raise
        return client

    async def _greet(self, timeout_s: float) -> None:
        self._say(messages.Hello(messages.PROTOCOL_VERSIONS, "client", version=__version__))
        self._welcome.addTimeout(timeout_s, self._reactor)
        try:
            welcome = await self._welcome
        except defer.TimeoutError as error:
            raise Unreachable(message=f"{self._address.authority} does not greet.") from error
        self._block_bytes = welcome.block_bytes
        if self._connection is not None:
            self._tending.start(_TEND_EVERY_S, now=False)

    # --- what the connection tells -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The connection is up; `connect` goes on from here."""
        self._connection = connection
        now = self._reactor.seconds()
        self._liveness = Liveness(now, now)

    def received(self, payload: bytes) -> None:
        """Give a message to whoever waits for it."""
        self._liveness.heard(self._reactor.seconds())
        try:
            message = _decode(payload)
        except ProtocolError as error:
            # A newer coordinator may say things that this client does not know; but whoever waits
            # for just this answer must not wait for ever.
            reply = self._replies.pop(error.detail.get("reply_to", 0), None)
            if reply is not None:
                reply.errback(error)
            return
        if isinstance(message, messages.Welcome):
            if not self._welcome.called:
                self._welcome.callback(message)
        elif isinstance(message, messages.Failure):
            self._failed(message)
        elif not isinstance(message, messages.Heartbeat):
            self._reply(message)

    def closed(self, reason: str) -> None:
        """Everything that still waits fails."""
        self._connection = None
        if self._tending.running:
            self._tending.stop()
        if not self._gone.called:
            self._gone.callback(None)
        error = Unreachable(message=f"The coordinator closed the session: {reason}")
        waiting = [*self._replies.values(), self._welcome]
        self._replies.clear()
        for reply in waiting:
            if not reply.called:
                reply.errback(error)

    def _failed(self, message: messages.Failure) -> None:
        error = message.error.to_error()
        reply = self._replies.pop(message.reply_to, None)
        if reply is not None:
            reply.errback(error)
        elif not self._welcome.called:
            self._welcome.errback(error)

    def _reply(self, message: Any) -> None:
        reply = self._replies.pop(message.reply_to, None)
        if reply is not None:
            reply.callback(message)
        elif isinstance(message, messages.Job) and message.reply_to in self._watches:
            self._watches[message.reply_to](message)

    def _say(self, message: messages.Message) -> None:
        if self._connection is not None:
            self._liveness.said(self._reactor.seconds())
            self._connection.send(codec.encode(message))

    def _tend(self) -> None:
        """Say something when it is due, and give up a coordinator that was silent for too long."""
        now = self._reactor.seconds()
        if self._liveness.given_up(now) and self._connection is not None:
            self._connection.close(CLOSE_PROTOCOL, "nothing was heard for too long")
            self.closed("nothing was heard from it for too long")
        elif self._liveness.must_speak(now):
            self._say(messages.Heartbeat())

    async def _ask(self, request: Any, expected: type[_Reply]) -> _Reply:
        if self._connection is None:
            raise Unreachable(message=f"The session with {self._address.authority} is closed.")
        reply: Deferred[Any] = Deferred()
        self._replies[request.request] = reply
        try:
            self._say(request)
            answer = await reply
        finally:
            self._replies.pop(request.request, None)
        if not isinstance(answer, expected):
            raise ProtocolError(message=f"Unexpected answer {answer.TYPE!r} to {request.TYPE!r}.")
        return answer

    # --- what a client may ask -----------------------------------------------------------------

    async def submit(self, request: JobRequest) -> JobView:
        """Have a job made.

        Raises:
            InvalidOption, NotFound, Refused: The coordinator does not accept it, and why.
        """
        message = messages.Submit(next(self._requests), request)
        return (await self._ask(message, messages.Job)).job

    async def jobs(self) -> list[JobView]:
        """All jobs, oldest first."""
        reply = await self._ask(messages.ListJobs(next(self._requests)), messages.Jobs)
        return list(reply.jobs)

    async def job(self, job_id: str, *, segments: bool = False) -> JobView:
        """One job, with all its segments if `segments`.

        Raises:
            NotFound: There is none.
        """
        return (await self._job(job_id, segments)).job

    async def cancel(self, job_id: str) -> JobView:
        """End a job.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        message = messages.CancelJob(next(self._requests), job_id)
        return (await self._ask(message, messages.Job)).job

    async def workers(self) -> list[WorkerView]:
        """All workers that are connected or were."""
        reply = await self._ask(messages.ListWorkers(next(self._requests)), messages.Workers)
        return list(reply.workers)

    async def watch(self, job_id: str, on_update: Callable[[JobView], None]) -> JobView:
        """Follow a job until it ends; `on_update` gets every view, the final one too.

        Raises:
            NotFound: There is none.
        """
        number = next(self._requests)
        ended: Deferred[JobView] = Deferred()

        def update(message: messages.Job) -> None:
            on_update(message.job)
            if message.job.ended and not ended.called:
                ended.callback(message.job)

        self._watches[number] = update
        try:
            update(await self._ask(messages.WatchJob(number, job_id), messages.Job))
            # From here on a closed session must wake this watch too.
            self._replies[-number] = ended
            return await ended
        finally:
            self._watches.pop(number, None)
            self._replies.pop(-number, None)

    async def upload(self, path: Path, on_progress: OnBytes | None = None) -> str:
        """Send a source; return the upload id for `JobRequest.upload_id`.

        Raises:
            SourceMissing: There is no such file.
            Refused: The coordinator takes no file of that size.
            TransferFailed: It did not arrive whole.
        """
        try:
            size = await deferToThread(_readable_size, path)
        except OSError as error:
            raise SourceMissing(message=f"Cannot read {path}: {error.strerror}.") from error
        ready = await self._ask(
            messages.BeginUpload(next(self._requests), path.name, size), messages.UploadReady
        )
        await self._bulk.put(ready.path, path, block_bytes=self._block_bytes, on_bytes=on_progress)
        return ready.upload_id

    async def download(self, job_id: str, target: Path, on_progress: OnBytes | None = None) -> None:
        """Fetch a completed job's file to `target`, which appears only when it is whole.

        Raises:
            NotFound: There is no such job.
            Conflict: It is not completed.
            TransferFailed: The file did not arrive whole.
        """
        reply = await self._job(job_id, False)
        outcome = reply.job.outcome
        if outcome is None or not reply.output:
            raise Conflict(message=f"Job {job_id} has no file: it is {reply.job.state}.")
        partial = target.with_name(f".{target.name}.{job_id[:8]}.partial")
        try:
            await self._bulk.fetch(
                reply.output,
                partial,
                size_bytes=outcome.size_bytes,
                sha256=outcome.sha256,
                on_bytes=on_progress,
            )
            await deferToThread(_put_in_place, partial, target)
        except BaseException:
            await deferToThread(partial.unlink, True)
            raise

    async def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()
            await self._gone
        await self._bulk.close()

    async def _job(self, job_id: str, segments: bool) -> messages.Job:
        message = messages.GetJob(next(self._requests), job_id, segments)
        return await self._ask(message, messages.Job)


def _readable_size(path: Path) -> int:
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size


def _put_in_place(partial: Path, target: Path) -> None:
    try:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise TransferFailed(message=f"Cannot write {target}: {error.strerror}.") from error
