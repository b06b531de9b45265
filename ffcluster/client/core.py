"""The client itself, for programs that run in Twisted's reactor. The other faces forward to it.

Says what can be asked of a coordinator; how it is asked is `ffcluster.net`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ffcluster.client.cluster import ClusterMethods
from ffcluster.client.details import DetailMethods, job_path
from ffcluster.client.model import read
from ffcluster.client.stream import Stream
from ffcluster.client.submission import job_body, submit_told
from ffcluster.core.model import Fallback, JobRequest
from ffcluster.core.profile import Profile
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView
from ffcluster.encoders.params import ProfileOptions, build_profile
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.api_client import ApiClient
from ffcluster.net.client import CoordinatorClient
from ffcluster.net.outage import OnOutage, nobody
from ffcluster.net.threads import in_thread
from ffcluster.web.models.plans import Plan
from ffcluster.web.webhooks import WantedWebhook

DEFAULT_URL = "ws://localhost:5001"
# Told how many bytes of how many were sent or fetched.
OnBytes = Callable[[int, int], None]
OnJob = Callable[[JobView], None]

_Self = TypeVar("_Self", bound="DeferredClient")


def _ignore(_: JobView) -> None:
    """Show nobody a view."""


class DeferredClient(ClusterMethods, DetailMethods):
    """A client of one coordinator, for Twisted: its methods are coroutines that await Deferreds.

    Use it with `async with`, or `close` it. A session that was lost is replaced by a new one when
    the next thing is asked; every method may raise `Unreachable`, `Unauthorized` and `Refused`.

    Args:
        reactor: The reactor that the caller runs in.
        url: The coordinator, as `ws://HOST:PORT`.
        token: The coordinator's token, where it wants one.
        timeout_s: How long to wait for a session.

    Raises:
        InvalidOption: `url` is no address.
    """

    def __init__(
        self,
        reactor: Any,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        address = CoordinatorAddress.parse(url)
        self._reactor = reactor
        self._session = CoordinatorClient(reactor, address, token, timeout_s)
        self._api = ApiClient(reactor, address, token)

    async def open(self) -> None:
        """Open a session now, rather than when the first thing is asked.

        Raises:
            Unreachable: Nothing answers, or it is no coordinator.
            Unauthorized: The token is missing or wrong.
            Refused: The coordinator does not speak our protocol.
        """
        await self._session.open()

    async def close(self) -> None:
        """End the session; nothing can be asked any more."""
        await self._session.close()
        await self._api.close()

    async def __aenter__(self: _Self) -> _Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- jobs ----------------------------------------------------------------------------------

    async def submit(
        self,
        source: str | os.PathLike[str],
        output_name: str | None = None,
        *,
        on_server: bool = False,
        profile: Profile | ProfileOptions | None = None,
        exactly: bool | None = None,
        allow_damaged: bool = False,
        cut_frames: Sequence[int] = (),
        mix: bool = False,
        fallback: Fallback = Fallback.STRICT,
        hardware_decode: bool = False,
        allow_missing: bool = False,
        priority: int = 0,
        idempotency_key: str = "",
        webhook: WantedWebhook | None = None,
        on_progress: OnBytes | None = None,
    ) -> JobView:
        """Upload a film and have a job made of it, once, even when the answer is lost.

        Args:
            source: The film here; with `on_server` an absolute path that the coordinator reads.
            output_name: File name of the output, whose suffix chooses the container; None for the
                coordinator's default.
            on_server: Upload nothing.
            profile: Settings of the output; None for the coordinator's default.
            exactly: Prove every frame by decoding; None for the coordinator's default.
            allow_damaged: Encode what is there of a damaged source.
            cut_frames: Begin segments at exactly these frames.
            mix: Let encoders that write different headers share the file.
            fallback: Whether software may stand in for hardware.
            hardware_decode: Let devices that can also decode and scale.
            allow_missing: Publish without segments that no worker can encode.
            priority: -1000 to 1000; jobs with a higher one get workers first.
            idempotency_key: Your own name for this request: asking again with it makes no second
                job.
            webhook: Who is told what becomes of the job.
            on_progress: Told how much of the film was sent.

        Raises:
            SourceMissing: There is no such file here.
            InvalidOption, NotFound, Refused: The coordinator does not accept it, and why.
            TransferFailed: The film did not arrive whole.
            Conflict: The idempotency key belongs to another request.
        """
        if isinstance(profile, ProfileOptions):
            # The settings are checked by the installed plugins, which are read from disk.
            profile = await in_thread(self._reactor, build_profile, profile)
        request = JobRequest(
            source_name=Path(source).name,
            server_path=os.fspath(source) if on_server else None,
            upload_id=None if on_server else await self.upload(source, on_progress),
            profile=profile,
            output_name=output_name,
            exactly=exactly,
            allow_damaged=allow_damaged,
            cut_frames=tuple(cut_frames),
            mix=mix,
            fallback=fallback,
            hardware_decode=hardware_decode,
            allow_missing=allow_missing,
            priority=priority,
            idempotency_key=idempotency_key,
        )
        return await self.request(request, webhook=webhook)

    async def request(
        self, request: JobRequest, *, webhook: WantedWebhook | None = None
    ) -> JobView:
        """Have a job made as `request` says, once; `submit` is for people.

        Args:
            request: What is wanted.
            webhook: Who is told what becomes of the job.

        Raises:
            InvalidOption, NotFound, Refused: The coordinator does not accept it, and why.
            Conflict: The idempotency key belongs to another request.
        """
        if webhook is None:
            return await self._session.submit(request)
        job_id = await submit_told(self._reactor, self._api, request, webhook)
        return await self._session.job(job_id)

    async def plan(self, request: JobRequest) -> Plan:
        """What the coordinator would make of `request`, without doing it.

        Raises:
            InvalidOption, NotFound, Refused: It would not accept it, and why.
            SourceError: The film cannot be read there.
            NoUsableEncoder: No encoder can do it.
        """
        return read(Plan, await self._api.post("/plan", job_body(request)))

    async def upload(
        self, source: str | os.PathLike[str], on_progress: OnBytes | None = None
    ) -> str:
        """Send a film; answers the id for `JobRequest.upload_id`.

        Raises:
            SourceMissing: There is no such file.
            Refused: The coordinator takes no file of that size.
            TransferFailed: It did not arrive whole.
        """
        return await self._session.upload(Path(source), on_progress)

    async def jobs(self) -> list[JobView]:
        """All jobs, oldest first."""
        return list(await self._session.jobs())

    async def job(self, job_id: str, *, segments: bool = False) -> JobView:
        """One job, with all its segments if `segments`.

        Raises:
            NotFound: There is none.
        """
        return await self._session.job(job_id, segments=segments)

    async def wait(
        self,
        job_id: str,
        on_update: OnJob | None = None,
        *,
        on_outage: OnOutage | None = None,
        patience_s: float = 0.0,
    ) -> JobView:
        """Follow a job until it ends; answers its last view, whether it failed or not.

        Args:
            job_id: The job.
            on_update: Gets every view, the last one too.
            on_outage: Told when the coordinator cannot be reached, and when it can again.
            patience_s: How long to look for a coordinator that went away before giving up.

        Raises:
            NotFound: There is none.
            Unreachable: The coordinator was away for longer than `patience_s`.
        """
        return await self._session.watch(
            job_id, on_update or _ignore, on_outage=on_outage or nobody, patience_s=patience_s
        )

    def watch(
        self, job_id: str, *, on_outage: OnOutage | None = None, patience_s: float = 0.0
    ) -> Stream[JobView]:
        """Iterate over the views of a job until it ends; the last one shows how.

        Whoever is slow gets the newest view next, and misses those before. What it takes and
        raises is that of `wait`.
        """

        async def produce(stream: Stream[JobView]) -> None:
            await self.wait(job_id, stream.offer, on_outage=on_outage, patience_s=patience_s)

        return Stream(self._reactor, produce)

    async def download(
        self, job_id: str, target: str | os.PathLike[str], on_progress: OnBytes | None = None
    ) -> None:
        """Fetch a completed job's file to `target`, which appears only when it is whole.

        Raises:
            NotFound: There is no such job.
            Conflict: It is not completed.
            TransferFailed: The file did not arrive whole.
        """
        await self._session.download(job_id, Path(target), on_progress)

    async def cancel(self, job_id: str) -> JobView:
        """End a job; nothing of it is kept.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        return await self._session.cancel(job_id)

    async def pause(self, job_id: str) -> JobView:
        """Start nothing more of a job; what runs is finished.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        return await self._session.pause(job_id)

    async def resume(self, job_id: str) -> JobView:
        """Go on with a paused job.

        Raises:
            NotFound: There is none.
            Conflict: It is not paused.
        """
        return await self._session.resume(job_id)

    async def retry(self, job_id: str) -> JobView:
        """Go on with a job that failed or was cancelled, from what is kept of it or anew.

        Raises:
            NotFound: There is none.
            Conflict: It did not end like that, or its uploaded film is not kept any more.
        """
        return await self._session.retry(job_id)

    async def prioritise(self, job_id: str, priority: int) -> JobView:
        """Give a job another priority, -1000 to 1000; the higher one gets workers first.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        return await self._session.prioritise(job_id, priority)

    async def remove(self, job_id: str) -> None:
        """Forget an ended job; its published file stays.

        Raises:
            NotFound: There is none.
            Conflict: It has not ended.
        """
        await self._session.remove(job_id)

    async def receipt(self, job_id: str) -> JobReceipt:
        """Everything about how a job was made.

        Raises:
            NotFound: There is none.
        """
        return await self._session.receipt(job_id)

    async def report(self, job_id: str) -> str:
        """How a job that is over was made, for people: one HTML file that needs nothing else.

        Raises:
            NotFound: There is none.
            Conflict: It is not over.
        """
        page = await self._api.get_bytes(job_path(job_id, "report"))
        return page.decode()
