"""A client's view of a coordinator: submit, follow, control, upload, download.

Sessions come and go; what must outlast them (a watch, a submission) is asked again in the next.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from ffcluster.core.model import JobRequest
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import Conflict, SourceMissing, TransferFailed, Unreachable
from ffcluster.net import messages
from ffcluster.net.access import Scope, TokenView
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.bulk_client import BulkClient, OnBytes
from ffcluster.net.client_session import ClientSession, Reply
from ffcluster.net.outage import OnOutage, Outage, nobody
from ffcluster.net.threads import in_thread

_Answer = TypeVar("_Answer")
# A submission whose answer was lost is worth some tries: the key keeps it from being made twice.
_SUBMIT_PATIENCE_S = 30.0
# The first version that knows pausing, receipts, priorities and idempotency keys.
_CONTROL = 2


class CoordinatorClient:
    """A client of one coordinator. Make it with `connect`; every method may raise `Unreachable`.

    A session that was lost is replaced by a new one when the next thing is asked.
    """

    def __init__(
        self, reactor: Any, address: CoordinatorAddress, token: str | None, timeout_s: float
    ) -> None:
        self._reactor = reactor
        self._bulk = BulkClient(reactor, address, token)
        self._address = address
        self._token = token
        self._timeout_s = timeout_s
        self._session: ClientSession | None = None
        self._opening = DeferredLock()
        self._closed = False

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
        client = cls(reactor, CoordinatorAddress.parse(url), token, timeout_s)
        try:
            await client._open()
        except BaseException:
            await client.close()
            raise
        return client

    async def open(self) -> None:
        """Open a session now, rather than when the next thing is asked; raises as `connect`."""
        await self._open()

    async def _open(self) -> ClientSession:
        """The session that is open, or a new one."""
        await self._opening.acquire()
        try:
            if self._closed:
                raise Unreachable(message="This client was closed.")
            if self._session is None or not self._session.is_open:
                self._session = await ClientSession.open(
                    self._reactor, self._address, token=self._token, timeout_s=self._timeout_s
                )
            return self._session
        finally:
            self._opening.release()

    async def _ask(self, make: Callable[[int], Any], expected: type[Reply]) -> Reply:
        return await (await self._open()).ask(make, expected)

    async def _control(self, make: Callable[[int], Any], expected: type[Reply], what: str) -> Reply:
        session = await self._open()
        session.need(_CONTROL, what)
        return await session.ask(make, expected)

    async def _persistently(
        self, work: Callable[[ClientSession], Awaitable[_Answer]], outage: Outage
    ) -> _Answer:
        """Do `work` in a session, and again in the next one whenever that is lost."""
        while True:
            try:
                return await work(await self._open())
            except Unreachable as error:
                delay_s = outage.failed(error, self._reactor.seconds())
            await deferLater(self._reactor, delay_s)

    # --- jobs ----------------------------------------------------------------------------------

    async def submit(self, request: JobRequest) -> JobView:
        """Have a job made, once: when the answer is lost, it is asked for again.

        Raises:
            InvalidOption, NotFound, Refused: The coordinator does not accept it, and why.
            Conflict: The idempotency key belongs to another request.
        """
        asked = request.idempotency_key or request.priority or request.allow_missing
        keyed = request
        if not request.idempotency_key:
            keyed = attrs.evolve(request, idempotency_key=secrets.token_hex(16))

        async def ask(session: ClientSession) -> JobView:
            if asked:
                session.need(_CONTROL, "priorities, missing segments and idempotency keys")
            reply = await session.ask(lambda number: messages.Submit(number, keyed), messages.Job)
            return reply.job

        session = await self._open()
        patience_s = _SUBMIT_PATIENCE_S if session.welcome.protocol >= _CONTROL else 0.0
        return await self._persistently(ask, Outage(patience_s, nobody))

    async def jobs(self) -> list[JobView]:
        """All jobs, oldest first."""
        return list((await self._ask(messages.ListJobs, messages.Jobs)).jobs)

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
        reply = await self._ask(lambda number: messages.CancelJob(number, job_id), messages.Job)
        return reply.job

    async def pause(self, job_id: str) -> JobView:
        """Start nothing more of a job; what runs is finished.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        return await self._control_job(
            lambda number: messages.PauseJob(number, job_id), "pausing jobs"
        )

    async def resume(self, job_id: str) -> JobView:
        """Go on with a paused job.

        Raises:
            NotFound: There is none.
            Conflict: It is not paused.
        """
        return await self._control_job(
            lambda number: messages.ResumeJob(number, job_id), "resuming jobs"
        )

    async def retry(self, job_id: str) -> JobView:
        """Go on with a job that failed or was cancelled, from what is kept of it or anew.

        Raises:
            NotFound: There is none.
            Conflict: It did not end like that, or its uploaded film is not kept any more.
        """
        return await self._control_job(
            lambda number: messages.RetryJob(number, job_id), "retrying jobs"
        )

    async def prioritise(self, job_id: str, priority: int) -> JobView:
        """Give a job another priority; the higher one gets workers first.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        return await self._control_job(
            lambda number: messages.PrioritiseJob(number, job_id, priority), "priorities"
        )

    async def remove(self, job_id: str) -> None:
        """Forget an ended job; its published file stays.

        Raises:
            NotFound: There is none.
            Conflict: It has not ended.
        """
        await self._control(
            lambda number: messages.RemoveJob(number, job_id), messages.Done, "removing jobs"
        )

    async def receipt(self, job_id: str) -> JobReceipt:
        """Everything about how a job was made.

        Raises:
            NotFound: There is none.
        """
        reply = await self._control(
            lambda number: messages.GetReceipt(number, job_id), messages.Receipt, "receipts"
        )
        return reply.receipt

    async def _control_job(self, make: Callable[[int], Any], what: str) -> JobView:
        return (await self._control(make, messages.Job, what)).job

    async def watch(
        self,
        job_id: str,
        on_update: Callable[[JobView], None],
        *,
        on_outage: OnOutage = nobody,
        patience_s: float = 0.0,
    ) -> JobView:
        """Follow a job until it ends, through sessions that are lost and coordinators that restart.

        Args:
            job_id: The job.
            on_update: Gets every view, the final one too.
            on_outage: Told when the coordinator cannot be reached, and when it can again.
            patience_s: How long to look for a coordinator that went away before giving up.

        Raises:
            NotFound: There is none.
            Unreachable: The coordinator was away for longer than `patience_s`.
        """
        outage = Outage(patience_s, on_outage)

        def update(view: JobView) -> None:
            outage.over()
            on_update(view)

        return await self._persistently(lambda session: session.watch(job_id, update), outage)

    # --- workers -------------------------------------------------------------------------------

    async def workers(self) -> list[WorkerView]:
        """All workers that are connected or were."""
        return list((await self._ask(messages.ListWorkers, messages.Workers)).workers)

    async def drain_worker(self, worker_id: str) -> WorkerView:
        """Give a worker nothing more, and let it finish what it has.

        Raises:
            NotFound: There is none.
        """
        return await self._control_worker(
            lambda number: messages.DrainWorker(number, worker_id), "draining workers"
        )

    async def resume_worker(self, worker_id: str) -> WorkerView:
        """Let a drained or quarantined worker work again.

        Raises:
            NotFound: There is none.
        """
        return await self._control_worker(
            lambda number: messages.ResumeWorker(number, worker_id), "resuming workers"
        )

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker; what it has is given to others.

        Raises:
            NotFound: There is none.
        """
        await self._control(
            lambda number: messages.RemoveWorker(number, worker_id),
            messages.Done,
            "removing workers",
        )

    async def _control_worker(self, make: Callable[[int], Any], what: str) -> WorkerView:
        return (await self._control(make, messages.Worker, what)).worker

    # --- tokens --------------------------------------------------------------------------------

    async def add_token(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        """Make a token; return it and its secret, which is never told again.

        Raises:
            InvalidOption: The name or the scope cannot be used.
            Conflict: The coordinator asks nobody for a token.
            Forbidden: This client may not make tokens.
        """
        reply = await self._control(
            lambda number: messages.AddToken(number, name, scope), messages.Token, "tokens"
        )
        return reply.token, reply.secret

    async def tokens(self) -> list[TokenView]:
        """All tokens that are good, and the latest that were revoked.

        Raises:
            Forbidden: This client may not see them.
        """
        return list((await self._control(messages.ListTokens, messages.Tokens, "tokens")).tokens)

    async def revoke_token(self, token_id: str) -> TokenView:
        """Let a token open nothing any more; what was begun with it ends.

        Raises:
            NotFound: There is none.
            Forbidden: This client may not revoke tokens.
        """
        reply = await self._control(
            lambda number: messages.RevokeToken(number, token_id), messages.Token, "tokens"
        )
        return reply.token

    # --- files ---------------------------------------------------------------------------------

    async def upload(self, path: Path, on_progress: OnBytes | None = None) -> str:
        """Send a source; return the upload id for `JobRequest.upload_id`.

        Raises:
            SourceMissing: There is no such file.
            Refused: The coordinator takes no file of that size.
            TransferFailed: It did not arrive whole.
        """
        try:
            size = await in_thread(self._reactor, _readable_size, path)
        except OSError as error:
            raise SourceMissing(message=f"Cannot read {path}: {error.strerror}.") from error
        session = await self._open()
        ready = await session.ask(
            lambda number: messages.BeginUpload(number, path.name, size), messages.UploadReady
        )
        await self._bulk.put(
            ready.path, path, block_bytes=session.welcome.block_bytes, on_bytes=on_progress
        )
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
            await in_thread(self._reactor, _put_in_place, partial, target)
        except BaseException:
            await in_thread(self._reactor, partial.unlink, True)
            raise

    async def close(self) -> None:
        """End the session; nothing can be asked any more."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        await self._bulk.close()

    async def _job(self, job_id: str, segments: bool) -> messages.Job:
        return await self._ask(
            lambda number: messages.GetJob(number, job_id, segments), messages.Job
        )


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
