"""Have a coordinator do one call of ffmpeg: send the source, follow the job, fetch the file.

Says how it ended; `ffcluster.interfaces.dropin.main` decides what then becomes of the call.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from ffcluster.core.model import JobRequest
from ffcluster.core.views import JobView
from ffcluster.errors import Code, ErrorReport, FfclusterError, Refused, Unauthorized
from ffcluster.interfaces.cli.files import publish
from ffcluster.interfaces.dropin.arguments import Call, plain_path
from ffcluster.interfaces.dropin.faststart import put_index_first
from ffcluster.interfaces.dropin.reporting import Reporter, State
from ffcluster.interfaces.dropin.selection import Source, frames_missing
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.client import CoordinatorClient
from ffcluster.services.watch.onefile import plain_name

_CONNECT_S = 5.0
# How long a job may wait for workers before the local ffmpeg does it.
_WORKERS_S = 30.0
# How long a coordinator that went away in the middle is looked for.
_PATIENCE_S = 600.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@attrs.frozen(kw_only=True)
class Address:
    """Where the coordinator is, and how it gets the source.

    Attributes:
        url: The coordinator.
        token: Its token, or None.
        on_server: Whether it reads the source by its path; None tries that on this machine only.
    """

    url: str
    token: str | None = attrs.field(default=None, repr=False)
    on_server: bool | None = None

    @property
    def names_paths(self) -> bool:
        """Whether to name the source's path first, rather than to send it."""
        if self.on_server is not None:
            return self.on_server
        return CoordinatorAddress.parse(self.url).host in _LOOPBACK


@attrs.define
class Ended:
    """How it ended with a call.

    Attributes:
        done: Whether the output is where it belongs.
        began: Whether a frame was encoded; the local ffmpeg then does not begin again.
        error: What went wrong, or None.
    """

    done: bool = False
    began: bool = False
    error: ErrorReport | None = None


class _NotHere(Exception):
    """The call is one for the local ffmpeg after all; the text says why."""


class ClusterCall:
    """One call, from the connection to the file.

    Args:
        reactor: Twisted's reactor.
        call: What is to be done.
        source: What is known of the source.
        address: The coordinator.
        reporter: Where to tell how far it is.
    """

    def __init__(
        self, reactor: Any, call: Call, source: Source, address: Address, reporter: Reporter
    ) -> None:
        self._reactor = reactor
        self._call = call
        self._source = source
        self._address = address
        self._reporter = reporter
        self._path = Path(plain_path(call.source) or call.source).absolute()
        self._target = Path(plain_path(call.target) or call.target).absolute()
        self._state = State()
        self._view: JobView | None = None
        self._waiting: Any = None
        self._following: Deferred[JobView] | None = None
        self._why = ""

    async def run(self, ended: Ended, connected: Callable[[], None]) -> None:
        """Do it.

        Args:
            ended: Is told how it went, also when this is cancelled.
            connected: Called once the coordinator answers.
        """
        address = self._address
        try:
            client = await CoordinatorClient.connect(
                self._reactor, address.url, token=address.token, timeout_s=_CONNECT_S
            )
        except FfclusterError as error:
            ended.error = ErrorReport.of(error)
            return
        connected()
        telling = LoopingCall(self._tell)
        telling.clock = self._reactor
        telling.start(self._call.period_s, now=True).addErrback(lambda _: None)
        try:
            await self._made(client, ended)
        except _NotHere as reason:
            ended.error = ErrorReport(Code.REFUSED, str(reason))
        except FfclusterError as error:
            ended.error = ErrorReport.of(error)
        finally:
            telling.stop()
            ended.began = self._state.frames > 0
            await client.close()

    def _tell(self) -> None:
        self._reporter.tell(self._state)

    async def _made(self, client: CoordinatorClient, ended: Ended) -> None:
        request = self._request()
        if self._address.names_paths:
            try:
                view = await self._job(client, attrs.evolve(request, server_path=str(self._path)))
            except Unauthorized:
                raise
            except Refused:
                if self._address.on_server:
                    raise
                view = None
            # The coordinator may be behind a door to another machine.
            unread = view is None or (view.error and view.error.code is Code.SOURCE_MISSING)
            if view is not None and not (unread and self._address.on_server is None):
                await self._finish(client, view, ended)
                return
        upload_id = await client.upload(self._path)
        view = await self._job(client, attrs.evolve(request, upload_id=upload_id))
        await self._finish(client, view, ended)

    def _request(self) -> JobRequest:
        stem = PurePath(plain_name(self._target.name)).stem
        return JobRequest(
            source_name=plain_name(self._path.name),
            profile=self._call.profile,
            output_name=f"{stem}.{self._call.container.value}",
            idempotency_key=f"ffmpeg-{secrets.token_hex(16)}",
        )

    async def _job(self, client: CoordinatorClient, request: JobRequest) -> JobView:
        """Have a job made and follow it to its end; cancel it when nobody wants it any more."""
        view = await client.submit(request)
        following: Deferred[JobView] = Deferred.fromCoroutine(
            client.watch(view.id, self._look, patience_s=_PATIENCE_S)
        )
        self._following = following
        try:
            return await following
        except CancelledError:
            await self._cancel(client, view.id)
            if self._why:
                raise _NotHere(self._why) from None
            raise
        finally:
            self._following = None
            self._stop_waiting()

    async def _cancel(self, client: CoordinatorClient, job_id: str) -> None:
        try:
            await client.cancel(job_id)
        except FfclusterError as error:
            self._reporter.say(f"ffcluster-ffmpeg: job {job_id} goes on: {error.message}", 24)

    def _give_up(self, why: str) -> None:
        self._why = why
        if self._following is not None:
            # Not from within its own callback.
            self._reactor.callLater(0, self._following.cancel)

    def _look(self, view: JobView) -> None:
        """Take in how a job is."""
        first = self._view is None or self._view.frame_count is None
        self._view = view
        if view.frame_count and view.duration_s is not None:
            part = view.frames_done / view.frame_count
            self._state = State(view.frames_done, view.fps, view.duration_s * part, view.speed)
            varies = frames_missing(self._source, view.frame_count, view.duration_s)
            if first and varies and not self._call.keeps_times:
                self._give_up("the source's frame rate varies, and ffmpeg would fill its gaps")
        if view.state != "WaitingForClients" or view.frames_done:
            self._stop_waiting()
        elif self._waiting is None:
            reason = view.reason or "no worker came"
            self._waiting = self._reactor.callLater(_WORKERS_S, self._give_up, reason)

    def _stop_waiting(self) -> None:
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self._waiting = None

    async def _finish(self, client: CoordinatorClient, view: JobView, ended: Ended) -> None:
        if view.outcome is None:
            report = view.error or ErrorReport(Code.CANCELLED, f"Job {view.id} was cancelled.")
            ended.error = report
            return
        folder = self._target.parent
        with tempfile.TemporaryDirectory(prefix=".ffcluster-", dir=folder) as scratch:
            made = Path(scratch) / f"made.{self._call.container.value}"
            await client.download(view.id, made)
            made = await deferToThread(self._arranged, made)
            made.chmod(0o666 & ~_umask())
            publish(made, self._target, overwrite=bool(self._call.overwrite))
        ended.done = True
        self._state = attrs.evolve(
            self._state,
            frames=view.outcome.frame_count,
            time_s=view.duration_s or 0.0,
            size_bytes=view.outcome.size_bytes,
            fps=view.outcome.frame_count / view.elapsed_s if view.elapsed_s else 0.0,
            speed=(view.duration_s or 0.0) / view.elapsed_s if view.elapsed_s else 0.0,
        )
        self._reporter.tell(self._state, last=True)

    def _arranged(self, made: Path) -> Path:
        """The file as the call wants it laid out."""
        target = made.with_stem("arranged")
        if self._call.faststart and put_index_first(made, target):
            return target
        return made


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
