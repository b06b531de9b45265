"""How commands reach the world: the reactor, the coordinator, a cluster of their own.

Tests put fakes in place of all three, so no command imports them by itself.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ffcluster.core.model import JobRequest, PluginSummary
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import Unreachable
from ffcluster.interfaces.cli.output import Exit, Output

if TYPE_CHECKING:
    from ffcluster.client.stream import Stream
    from ffcluster.encoders.registry import Registry
    from ffcluster.media.verify import ComparisonReport
    from ffcluster.net.access import Scope, TokenView
    from ffcluster.services.jobs.dryrun import FilmPlan
    from ffcluster.services.local.reproduction import Reproduction, Wish
    from ffcluster.services.machine.benchmark import (
        BenchmarkReport,
        BenchmarkRequest,
        BenchmarkStep,
    )
    from ffcluster.services.machine.doctor import Findings
    from ffcluster.web.gantt import AttemptDetail
    from ffcluster.web.models.catalogue import NamedProfile
    from ffcluster.web.models.plans import Plan
    from ffcluster.web.models.segments import SegmentDetail
    from ffcluster.web.models.status import Me, Status
    from ffcluster.web.pictures import Side
    from ffcluster.web.stream import LoggedEvent
    from ffcluster.web.tokens import Link
    from ffcluster.web.webhooks import CreatedWebhook, Delivery, WantedWebhook, Webhook

Main = Callable[[Any], Coroutine[Any, Any, Exit]]
TransferProgress = Callable[[int, int], None]
StartLocal = Callable[[Any, Path, int, Sequence[str], bool], Coroutine[Any, Any, "LocalCluster"]]


class Client(Protocol):
    """What commands ask of a coordinator."""

    async def request(
        self, request: JobRequest, *, webhook: WantedWebhook | None = None
    ) -> JobView:
        """Have a job made, and a webhook told of it."""

    async def plan(self, request: JobRequest) -> Plan:
        """What the coordinator would make of a request."""

    async def upload(self, path: Path, on_progress: TransferProgress | None = None) -> str:
        """Send a source; answers the upload's id."""

    async def jobs(self) -> Sequence[JobView]:
        """List all jobs."""

    async def job(self, job_id: str, *, segments: bool = False) -> JobView:
        """Look at one job."""

    async def cancel(self, job_id: str) -> JobView:
        """End a job."""

    async def pause(self, job_id: str) -> JobView:
        """Start nothing more of a job."""

    async def resume(self, job_id: str) -> JobView:
        """Go on with a paused job."""

    async def retry(self, job_id: str) -> JobView:
        """Go on with a job that failed or was cancelled."""

    async def prioritise(self, job_id: str, priority: int) -> JobView:
        """Give a job another priority."""

    async def remove(self, job_id: str) -> None:
        """Forget an ended job."""

    async def receipt(self, job_id: str) -> JobReceipt:
        """How a job was made."""

    async def report(self, job_id: str) -> str:
        """How a job that is over was made, as one HTML file."""

    async def segment(self, job_id: str, first_frame: int) -> SegmentDetail:
        """One segment with its attempts."""

    async def attempt(self, job_id: str, epoch: int) -> AttemptDetail:
        """One attempt."""

    async def thumbnail(self, job_id: str, frame: int, *, height: int) -> bytes:
        """A small picture of the source."""

    async def preview(self, job_id: str, at_s: float, *, side: Side, height: int) -> bytes:
        """A picture of the source or of the result."""

    async def link(self, job_id: str, what: str) -> Link:
        """A URL that works without a token."""

    async def workers(self) -> Sequence[WorkerView]:
        """List all workers."""

    async def drain_worker(self, worker_id: str) -> WorkerView:
        """Give a worker nothing more."""

    async def resume_worker(self, worker_id: str) -> WorkerView:
        """Let a drained or quarantined worker work again."""

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker."""

    async def add_token(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        """Make a token; answers it and its secret."""

    async def tokens(self) -> Sequence[TokenView]:
        """List all tokens."""

    async def revoke_token(self, token_id: str) -> TokenView:
        """Let a token open nothing any more."""

    async def status(self) -> Status:
        """How the cluster is doing."""

    async def me(self) -> Me:
        """Who this client is to the coordinator, and what its token opens."""

    async def profiles(self) -> Sequence[NamedProfile]:
        """The coordinator's profiles."""

    async def plugins(self) -> Sequence[PluginSummary]:
        """The coordinator's plugins."""

    async def webhooks(self, *, job_id: str | None = None) -> Sequence[Webhook]:
        """List webhooks."""

    async def add_webhook(
        self, url: str, *, kinds: Sequence[str] = (), secret: str | None = None
    ) -> CreatedWebhook:
        """Have a URL told of events."""

    async def remove_webhook(self, webhook_id: str) -> None:
        """Tell a webhook nothing more."""

    async def deliveries(self, webhook_id: str) -> Sequence[Delivery]:
        """What a webhook was told."""

    def events(
        self,
        *,
        job_id: str | None = None,
        after: int | None = None,
        follow: bool = True,
        on_outage: Callable[[Unreachable | None], None] | None = None,
        patience_s: float = 0.0,
    ) -> Stream[LoggedEvent]:
        """What happens, one by one."""

    async def wait(
        self,
        job_id: str,
        on_update: Callable[[JobView], None],
        *,
        on_outage: Callable[[Unreachable | None], None],
        patience_s: float,
    ) -> JobView:
        """Follow a job to its end, through outages; answers its last view."""

    async def download(
        self, job_id: str, target: Path, on_progress: TransferProgress | None = None
    ) -> None:
        """Fetch a published file whole, or leave nothing."""

    async def close(self) -> None:
        """End the session."""


@attrs.frozen(kw_only=True)
class LocalCluster:
    """A coordinator and workers that live inside this process.

    Attributes:
        client: Connected to the coordinator.
        broken: A Deferred that fails when a worker cannot work at all.
        close: Stops everything and removes every file of it.
    """

    client: Client
    broken: Any
    close: Callable[[], Coroutine[Any, Any, None]]


async def _connect(reactor: Any, url: str, token: str | None) -> Client:
    from ffcluster.client.core import DeferredClient

    client = DeferredClient(reactor, url, token=token)
    return await client.__aenter__()


async def _start_local(
    reactor: Any, folder: Path, workers: int, ffmpegs: Sequence[str], exactly: bool
) -> LocalCluster:
    from ffcluster.services.local.embedded import EmbeddedCluster

    cluster = EmbeddedCluster(reactor, folder, workers=workers, ffmpegs=ffmpegs, exactly=exactly)
    await cluster.start()
    try:
        client = await _connect(reactor, cluster.url, cluster.token)
    except BaseException:
        await cluster.close()
        raise

    async def close() -> None:
        await client.close()
        await cluster.close()

    return LocalCluster(client=client, broken=cluster.broken, close=close)


async def _plan(
    reactor: Any, source: Path, request: JobRequest, ffmpegs: Sequence[str], trial_s: float
) -> FilmPlan:
    from ffcluster.services.jobs.dryrun import DryRun

    return await DryRun(reactor, ffmpegs=ffmpegs, trial_s=trial_s).plan(source, request)


async def _compare(
    reactor: Any, source: Path, output: Path, *, ffmpeg: str | None, pictures: bool
) -> ComparisonReport:
    from ffcluster.services.local.comparison import compare

    return await compare(reactor, source, output, ffmpeg=ffmpeg, pictures=pictures)


async def _reproduce(reactor: Any, receipt: JobReceipt, wish: Wish) -> Reproduction:
    from ffcluster.services.local.reproduce import reproduce

    return await reproduce(reactor, receipt, wish)


async def _examine(
    reactor: Any,
    ffmpegs: Sequence[str],
    registry: Registry,
    state_dir: Path | None,
    *,
    fresh: bool,
) -> Findings:
    from ffcluster.services.machine.doctor import examine

    return await examine(reactor, ffmpegs, registry, state_dir, fresh=fresh)


async def _benchmark(
    reactor: Any,
    request: BenchmarkRequest,
    registry: Registry,
    on_step: Callable[[BenchmarkStep], None],
) -> BenchmarkReport:
    from ffcluster.services.machine.benchmark import benchmark

    return await benchmark(reactor, request, registry, on_step)


def run_reactor(main: Main, output: Output) -> Exit:
    """Run one coroutine in the reactor and answer the process's exit code.

    The first Ctrl-C or SIGTERM cancels it, and it cleans up; a second one stops without waiting.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from ffcluster.services.clock import keep_steady

    reactor: Any = installed
    keep_steady(reactor)
    _start_logging(output)
    codes: list[Exit] = []
    tasks: list[Deferred[Any]] = []

    def failed(failure: Failure) -> None:
        error = failure.value or RuntimeError("it failed without saying why")
        # What fails after an interrupt fails because of it: sessions close, waits are cancelled.
        codes.append(Exit.INTERRUPTED if interrupts else output.fail(error))

    interrupts: list[int] = []

    def interrupt(number: int) -> None:
        interrupts.append(number)
        if len(interrupts) > 1:
            reactor.stop()
        else:
            output.say("Stopping. Once more stops at once.")
            tasks[0].cancel()

    def start() -> None:
        for number in _stop_signals():
            signal.signal(number, lambda got, _: reactor.callFromThread(interrupt, got))
        task = Deferred.fromCoroutine(main(reactor))
        tasks.append(task)
        task.addCallbacks(codes.append, failed)
        task.addBoth(lambda _: reactor.running and len(interrupts) < 2 and reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    return codes[0] if codes else Exit.INTERRUPTED


def _stop_signals() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _start_logging(output: Output) -> None:
    """Log to stderr for `--debug`; else drop what the services say, as errors come back typed."""
    from twisted.logger import globalLogBeginner, textFileLogObserver

    observers: list[Any] = [textFileLogObserver(sys.stderr)] if output.debug else [_drop]
    globalLogBeginner.beginLoggingTo(
        observers, discardBuffer=not output.debug, redirectStandardIO=False
    )


def _drop(_event: object) -> None:
    """Take a log event and forget it."""


@attrs.frozen
class Runtime:
    """The ways out of a command, replaceable by tests.

    Attributes:
        run: Runs a coroutine to its exit code.
        connect: Opens a session with the coordinator at a URL.
        start_local: Starts a cluster inside this process.
        plan: Finds out what encoding a film here would do.
        examine: Finds out what this machine can encode with.
        benchmark: Measures what its encoders achieve.
        compare: Compares two files frame by frame.
        reproduce: Makes one segment of a job again.
    """

    run: Callable[[Main, Output], Exit] = run_reactor
    connect: Callable[[Any, str, str | None], Coroutine[Any, Any, Client]] = _connect
    start_local: Callable[
        [Any, Path, int, Sequence[str], bool], Coroutine[Any, Any, LocalCluster]
    ] = _start_local
    plan: Callable[..., Coroutine[Any, Any, FilmPlan]] = _plan
    examine: Callable[..., Coroutine[Any, Any, Findings]] = _examine
    benchmark: Callable[..., Coroutine[Any, Any, BenchmarkReport]] = _benchmark
    compare: Callable[..., Coroutine[Any, Any, ComparisonReport]] = _compare
    reproduce: Callable[..., Coroutine[Any, Any, Reproduction]] = _reproduce
