"""A coordinator, a cluster and a reactor that commands can be run against without any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner, Result
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock

from ffcluster.core.durable import AttemptEnd, AttemptEntry, BlobRef
from ffcluster.core.media import VideoFormat
from ffcluster.core.model import (
    Capability,
    Epoch,
    JobId,
    JobOutcome,
    JobRequest,
    JobSpec,
    PluginSummary,
    PreRoll,
    ResultReport,
    SegmentProof,
    Source,
    WorkerId,
)
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.receipts import JobReceipt, SegmentReceipt
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.core.views import JobView, SegmentView, ShareView, WorkerView
from ffcluster.errors import Code, ErrorReport, FfclusterError, NotFound, Unreachable
from ffcluster.interfaces.cli.main import cli
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.runtime import LocalCluster, Main, Runtime
from ffcluster.net.access import Scope, TokenView
from ffcluster.web.gantt import AttemptDetail, RunningAttempt, attempt_detail
from ffcluster.web.models.plans import Plan, PlanVideo
from ffcluster.web.models.segments import SegmentDetail
from ffcluster.web.pictures import Side
from ffcluster.web.showing import segment_detail
from ffcluster.web.tokens import Link
from ffcluster.web.webhooks import WantedWebhook

JOB_ID = "job1"
CONTENT = b"an encoded film"
SECRET = "ffc_ab12_not-so-secret"
PICTURE = b"\xff\xd8 a picture"
AT = "2026-01-02T03:04:05.678Z"
LOST = ErrorReport(Code.WORKER_LOST, "its lease ended", retryable=True)


def job_spec(name: str = "out.mp4") -> JobSpec:
    return JobSpec(Profile(), Container.MP4, name, "in.mkv")


def job_view(state: str = "Processing", **changes: Any) -> JobView:
    view = JobView(
        id=JOB_ID,
        state=state,
        reason="",
        spec=job_spec(),
        encoder="libx264",
        frame_count=100,
        duration_s=4.0,
        frames_done=40,
        fps=25.0,
        speed=1.0,
        eta_s=2.4,
        elapsed_s=2.0,
        shares=(ShareView("attic", "libx264", segments=2, frames=40, running=1, fps=25.0),),
    )
    return attrs.evolve(view, **changes)


def a_plan() -> Plan:
    return Plan(
        source_name="in.mkv", output_name="out.mp4", container=Container.MP4, profile=Profile(),
        frame_count=100, duration_s=4.0, video=PlanVideo("h264", 320, 180, "yuv420p"),
        encoder="libx264", workers=("attic", "at\x1b[2Jtic"), worker_count=2, segments=3,
        estimate_s=2.0, predicted_size_bytes=1_500_000, lost=("a subtitle",), notes=("a note",),
        warnings=("an odd film",),
    )  # fmt: skip


def outcome(path: Path | str = "/srv/out.mp4", **changes: Any) -> JobOutcome:
    made = JobOutcome(path=str(path), size_bytes=15, sha256="0" * 64, frame_count=100, proven=True)
    return attrs.evolve(made, **changes)


def worker_view() -> WorkerView:
    return WorkerView(
        id="w1", name="attic", state="Idle", address="10.0.0.7", version="0.1.0",
        platform="Linux x86_64", ffmpeg="9.0.2", cpus=8,
        capabilities=(Capability("libx264", Codec.H264, slots=8),),
    )  # fmt: skip


def token_view(name: str = "attic", scope: Scope = Scope.WORKER) -> TokenView:
    return TokenView("ab12", name, scope, 1.0)


def an_attempt(
    epoch: int = 1,
    first: int = 0,
    stop: int = 50,
    end: AttemptEnd = AttemptEnd.COMMITTED,
    **changes: Any,
) -> AttemptEntry:
    """An attempt on attic's CPU that took ten seconds."""
    entry = AttemptEntry(
        Epoch(epoch), JobId(JOB_ID), FrameRange(first, stop), WorkerId("w1"), "attic",
        Capability("libx264", Codec.H264, threads=2, ffmpeg="9.0.2"), "ended", 100.0,
        started_at=101.0, delivered_at=111.0, ended_at=112.0, end=end,
        proof=SegmentProof(stop - first, argv=("ffmpeg", "-i", "piece"), ffmpeg="9.0.2",
                           encode_s=10.0, encoder="libx264"),
        blob=BlobRef("ab" * 32, 1000),
    )  # fmt: skip
    return attrs.evolve(entry, **changes)


def a_receipt(**changes: Any) -> JobReceipt:
    """Two segments; the first needed a second attempt, the second one is not made yet."""
    failed = an_attempt(
        1, end=AttemptEnd.FAILED, worker_name="cellar", error=LOST, proof=None, blob=None,
        delivered_at=None,
    )  # fmt: skip
    report = ResultReport(50, 1000, "h264", 320, 180, "yuv420p", "cd" * 32, 2)
    receipt = JobReceipt(
        id=JOB_ID, state="Processing", spec=job_spec(), source=Source("/films/in.mkv"),
        source_size_bytes=5000, frame_count=100,
        video=VideoFormat("h264", 320, 180, "yuv420p", TimeBase(1, 1000)),
        submitted_at=90.0, history=(("Queued", 95.0),), ended_at=None, coordinator="0.1.0",
        retries=1, error=None, outcome=None,
        segments=(
            SegmentReceipt(0, FrameRange(0, 50), "committed", PreRoll.KEYFRAME, report,
                           BlobRef("ab" * 32, 1000), (failed, an_attempt(2))),
            SegmentReceipt(1, FrameRange(50, 100), "pending", PreRoll.KEYFRAME),
        ),
    )  # fmt: skip
    return attrs.evolve(receipt, **changes)


@attrs.define
class FakeClient:
    """A coordinator that says what it was told to say."""

    final: JobView = attrs.field(
        factory=lambda: job_view("Completed", frames_done=100, outcome=outcome())
    )
    error: FfclusterError | None = None
    hangs: bool = False
    while_watching: Callable[[], object] = lambda: None
    publish_to: Path | None = None
    outages: Sequence[Unreachable | None] = ()
    written: JobReceipt = attrs.field(factory=lambda: a_receipt())
    staff: Sequence[WorkerView] = attrs.field(factory=lambda: [worker_view()])
    issued: Sequence[TokenView] = attrs.field(factory=lambda: [token_view()])
    patience_s: float | None = None
    said: list[str] = attrs.field(factory=list)
    requests: list[JobRequest] = attrs.field(factory=list)
    told: list[WantedWebhook | None] = attrs.field(factory=list)
    tried: AttemptEntry = attrs.field(factory=lambda: an_attempt(7))

    async def request(
        self, request: JobRequest, *, webhook: WantedWebhook | None = None
    ) -> JobView:
        self._say("submit")
        self.requests.append(request)
        self.told.append(webhook)
        return job_view("Queued", frames_done=0)

    async def upload(
        self, path: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> str:
        self._say("upload")
        if on_progress is not None:
            on_progress(5, 10)
            on_progress(10, 10)
        return "upload1"

    async def jobs(self) -> Sequence[JobView]:
        self._say("jobs")
        return [job_view(), self.final]

    async def job(self, job_id: str, *, segments: bool = False) -> JobView:
        self._say("job")
        if job_id != JOB_ID:
            raise NotFound(message=f"There is no job {job_id}.")
        rows = (SegmentView(0, 50, "committed", "attic", 1), SegmentView(50, 50, "pending"))
        return job_view(segments=rows if segments else ())

    async def cancel(self, job_id: str) -> JobView:
        self._say("cancel")
        return job_view("Cancelled")

    async def pause(self, job_id: str) -> JobView:
        return await self._change("pause", job_id, paused=True)

    async def resume(self, job_id: str) -> JobView:
        return await self._change("resume", job_id)

    async def retry(self, job_id: str) -> JobView:
        return await self._change("retry", job_id)

    async def prioritise(self, job_id: str, priority: int) -> JobView:
        return await self._change("prioritise", job_id, priority=priority)

    async def remove(self, job_id: str) -> None:
        await self._change("remove", job_id)

    async def receipt(self, job_id: str) -> JobReceipt:
        self._say("receipt")
        return self.written

    async def report(self, job_id: str) -> str:
        self._say("report")
        return f"<!DOCTYPE html>job {job_id}\n"

    async def plan(self, request: JobRequest) -> Plan:
        self._say("plan")
        self.requests.append(request)
        return a_plan()

    async def segment(self, job_id: str, first_frame: int) -> SegmentDetail:
        self._say(f"segment {job_id} {first_frame}")
        failed, made = (an_attempt(1, end=AttemptEnd.FAILED, error=LOST), an_attempt(2))
        view = SegmentView(first_frame, 50, "committed", "attic", 2, encoder="libx264")
        return segment_detail(view, (failed, made))

    async def attempt(self, job_id: str, epoch: int) -> AttemptDetail:
        self._say(f"attempt {job_id} {epoch}")
        return attempt_detail(RunningAttempt(self.tried))

    async def thumbnail(self, job_id: str, frame: int, *, height: int) -> bytes:
        self._say(f"thumbnail {job_id} {frame} {height}")
        return PICTURE

    async def preview(self, job_id: str, at_s: float, *, side: Side, height: int) -> bytes:
        self._say(f"preview {job_id} {at_s} {side.value} {height}")
        return PICTURE

    async def link(self, job_id: str, what: str) -> Link:
        self._say(f"link {job_id} {what}")
        return Link(f"http://host:5001/api/v1/jobs/{job_id}/{what}?ticket=t", AT)

    async def plugins(self) -> Sequence[PluginSummary]:
        self._say("plugins")
        return [
            PluginSummary("soft", "ffcluster", "0.1.0", ("software",)),
            PluginSummary("odd", enabled=False, error="it cannot be imported"),
        ]

    async def _change(self, what: str, job_id: str, **changes: Any) -> JobView:
        self._say(f"{what} {job_id}")
        return job_view(**changes)

    async def workers(self) -> Sequence[WorkerView]:
        self._say("workers")
        return self.staff

    async def drain_worker(self, worker_id: str) -> WorkerView:
        self._say(f"drain {worker_id}")
        return attrs.evolve(worker_view(), draining=True, drained_by_operator=True)

    async def resume_worker(self, worker_id: str) -> WorkerView:
        self._say(f"resume {worker_id}")
        return worker_view()

    async def remove_worker(self, worker_id: str) -> None:
        self._say(f"remove {worker_id}")

    async def add_token(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        self._say(f"add token {name} {scope.value}")
        return token_view(name, scope), SECRET

    async def tokens(self) -> Sequence[TokenView]:
        self._say("tokens")
        return self.issued

    async def revoke_token(self, token_id: str) -> TokenView:
        self._say(f"revoke {token_id}")
        return attrs.evolve(token_view(), id=token_id, revoked_at=2.0)

    async def wait(
        self,
        job_id: str,
        on_update: Callable[[JobView], None],
        *,
        on_outage: Callable[[Unreachable | None], None],
        patience_s: float,
    ) -> JobView:
        self._say("wait")
        self.patience_s = patience_s
        on_update(job_view("WaitingForClients", frames_done=0, reason="1 of 2 workers"))
        on_update(job_view())
        for outage in self.outages:
            on_outage(outage)
        self.while_watching()
        if self.hangs:
            await Deferred()
        if self.publish_to is not None and self.final.outcome is not None:
            made = self.publish_to / "made.mp4"
            made.write_bytes(CONTENT)
            self.final = attrs.evolve(self.final, outcome=outcome(made))
        on_update(self.final)
        return self.final

    async def download(
        self, job_id: str, target: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._say("download")
        target.write_bytes(CONTENT)

    async def close(self) -> None:
        self.said.append("close")

    def _say(self, what: str) -> None:
        self.said.append(what)
        if self.error is not None:
            raise self.error


def run_at_once(main: Main, output: Output, *, interrupt: bool = False) -> Exit:
    """Run a command's coroutine without a reactor; `interrupt` cancels it once it waits."""
    answers: list[Any] = []
    task = Deferred.fromCoroutine(main(MemoryReactorClock()))
    task.addBoth(answers.append)
    if interrupt:
        assert not answers, "it was to be interrupted, but did not wait"
        task.cancel()
    (answer,) = answers
    if isinstance(answer, Exit):
        return answer
    if answer.check(CancelledError):
        return Exit.INTERRUPTED
    return output.fail(answer.value)


def runtime_with(
    client: FakeClient, *, interrupt: bool = False, closed: list[Path] | None = None
) -> Runtime:
    """A runtime whose coordinator and embedded cluster are `client`."""

    async def connect(reactor: Any, url: str, token: str | None) -> FakeClient:
        client.said.append(f"connect {url} {token}")
        return client

    async def start_local(
        reactor: Any, folder: Path, workers: int, ffmpegs: Sequence[str], exactly: bool
    ) -> LocalCluster:
        client.said.append(f"start {workers}")
        client.publish_to = folder

        async def close() -> None:
            for leftover in folder.iterdir():
                leftover.unlink()
            folder.rmdir()
            if closed is not None:
                closed.append(folder)

        return LocalCluster(client=client, broken=Deferred(), close=close)

    return Runtime(
        run=lambda main, output: run_at_once(main, output, interrupt=interrupt),
        connect=connect,
        start_local=start_local,
    )


def invoke(client: FakeClient, *arguments: str | Path, **options: Any) -> Result:
    """Run a command of the CLI against `client`."""
    runtime = runtime_with(client, **options)
    return CliRunner().invoke(cli, [str(a) for a in arguments], obj=runtime)


def objects(result: Result) -> list[dict[str, Any]]:
    """The NDJSON that a command wrote to stdout."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def failed(error: FfclusterError) -> JobView:
    """The last view of a job that failed."""
    return job_view("Failed", error=ErrorReport.of(error))
