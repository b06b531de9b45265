"""How long the core takes for each kind of event: no processes, no network, no disk.

A fleet of machines with mixed encoders works on several films of 10,000 segments together. Each
figure is `handle` with `take_changes`, which is what holds the coordinator's loop, in time of the
processor: what other programs take from it is left out, and so is collecting cyclic garbage, which
comes at any event and depends on everything else that the process holds.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import TypeVar

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    Capability,
    Epoch,
    JobId,
    JobSpec,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.reporting import job_view, worker_view
from ffcluster.core.rivalry import slowdowns
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.timeline import TimeBase
from ffcluster.core.worker import WorkerFacts
from ffcluster.encoders.registry import Registry
from ffcluster.errors import Code, ErrorReport
from ffcluster.services.choice import RegistryJudge
from tests.bench.measure import table
from tests.core.memory_store import MemoryStore

SEGMENTS, GOP = 10_000, 250
# So many jobs take any encoder; the others name one that a fifth of the machines have.
JOBS, OPEN_JOBS = 50, 2
# More than those segments take, so that they are not its last ones.
FRAMES = 2 * SEGMENTS * GOP
_VIDEO = VideoFormat("h264", 1920, 1080, "yuv420p", TimeBase(1, 25), (25, 1))
_Answer = TypeVar("_Answer")
_BROKEN = ErrorReport(Code.ENCODE_FAILED, "exit 1", retryable=True)
_BUSY = ErrorReport(Code.ENCODER_BUSY, "out of memory (10)", retryable=True)


@attrs.define
class Times:
    """Seconds that the core held the loop for, by what it did."""

    taken: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))

    def measure(self, name: str, act: Callable[[], _Answer]) -> _Answer:
        """Do something and write down how long it took."""
        began = time.thread_time()
        answer = act()
        self.taken[name].append(time.thread_time() - began)
        return answer

    def rows(self) -> list[tuple[str, ...]]:
        """For each name: count, p50, p99 and longest in milliseconds."""
        rows = []
        for name, taken in self.taken.items():
            cuts = quantiles(taken, n=100) if len(taken) > 1 else taken * 99
            most = max(taken)
            p50, p99 = cuts[49], min(cuts[98], most)
            rows.append(
                (name, str(len(taken)), *(f"{1e3 * value:.2f}" for value in (p50, p99, most)))
            )
        return rows


@attrs.define(eq=False)
class Fleet:
    """A coordinator's core and what its services and workers would answer."""

    workers: int
    jobs: int
    state: ClusterState
    times: Times = attrs.field(factory=Times)
    store: MemoryStore | None = None
    now: float = 1_000_000.0
    offered: list[fx.OfferAttempt] = attrs.field(factory=list)
    checks: list[fx.CheckResult] = attrs.field(factory=list)

    def post(self, event: ev.Event, name: str = "") -> None:
        """Let the core take an event in, and whatever it wants to go on with at once."""
        self._handle(event, name or type(event).__name__)
        for _ in range(100_000):
            due = self.state.next_wake(self.now)
            if due is None or due > self.now:
                return
            self._handle(ev.Ticked(), "going on with what was left")

    def _handle(self, event: ev.Event, name: str) -> None:
        effects, changes = self.times.measure(
            name, lambda: (self.state.handle(event, self.now), self.state.take_changes())
        )
        if self.store is not None:
            self.store.put(changes, self.now)
        for effect in effects:
            if isinstance(effect, fx.OfferAttempt):
                self.offered.append(effect)
            elif isinstance(effect, fx.CheckResult):
                self.checks.append(effect)

    # --- what happens --------------------------------------------------------------------------

    def join_all(self, name: str) -> None:
        """Every worker says hello, with what it holds."""
        held: dict[WorkerId, list[ev.HeldAttempt]] = defaultdict(list)
        for attempt in self.state.attempts.values():
            held[attempt.worker_id].append(ev.HeldAttempt(attempt.epoch, attempt.job_id))
        for number in range(self.workers):
            worker_id = WorkerId(f"w{number:04}")
            claims = tuple(held[worker_id])
            self.post(ev.WorkerJoined(worker_id, facts(number), claims), name)

    def submit(self, number: int, frames: int) -> None:
        """A film arrives and is indexed."""
        job_id = JobId(f"j{number:02}")
        profile = Profile() if number < OPEN_JOBS else Profile(encoder="h264_vaapi")
        spec = JobSpec(profile, Container.MKV, "out.mkv", "in.mkv")
        self.post(ev.JobSubmitted(job_id, spec, priority=1 if number == 0 else 0))
        self.post(ev.SourceIndexed(job_id, film(frames)), "SourceIndexed: the job starts")

    def answer_trials(self) -> None:
        """Every trial comes through."""
        while self.offered:
            offers, self.offered = self.offered, []
            for offer in offers:
                if offer.trial:
                    self.deliver(offer.epoch, " (trial)")

    def deliver(self, epoch: Epoch, suffix: str = "") -> None:
        """A result arrives, and is found right."""
        attempt = self.state.attempts[epoch]
        frames, encoder = len(attempt.frames), attempt.capability.encoder
        proof = SegmentProof(frames, encode_s=30.0, encoder=encoder, device=attempt.device)
        if attempt.state is AttemptState.OFFERED:
            self.post(ev.AttemptStarted(epoch), f"AttemptStarted{suffix}")
        self.post(ev.AttemptDelivered(epoch, proof), f"AttemptDelivered{suffix}")
        self.post(ev.AttemptChecked(epoch, report(frames, encoder)), f"AttemptChecked{suffix}")

    def work(self, segments: int) -> None:
        """So many segments are encoded, the oldest attempts first."""
        done = 0
        while done < segments and (live := self.running()):
            for attempt in live[: segments - done]:
                if attempt.epoch in self.state.attempts:
                    self.now += 30.0 / self.workers
                    self.deliver(attempt.epoch)
                    done += 1

    def running(self) -> list[Attempt]:
        """The attempts at segments whose encoders run."""
        live = [a for a in self.state.attempts.values() if not a.trial and a.holds_slot]
        for attempt in live:
            if attempt.state is AttemptState.OFFERED:
                self.post(ev.AttemptStarted(attempt.epoch))
        return live


def facts(number: int) -> WorkerFacts:
    """Half of the machines have hardware beside their CPU, of two makers."""
    x264 = Capability("libx264", Codec.H264, pix_fmts=("yuv420p",), rank=50, ffmpeg="7.1")
    nvenc = attrs.evolve(
        x264, encoder="h264_nvenc", backend="nvenc", device="cuda:0", slots=3, rank=110
    )
    vaapi = attrs.evolve(
        x264, encoder="h264_vaapi", backend="vaapi", device="/dev/dri/renderD128", rank=105
    )
    more = {5: (nvenc,), 6: (nvenc,), 7: (nvenc,), 8: (vaapi,), 9: (vaapi,)}.get(number % 10, ())
    return WorkerFacts(f"machine-{number:04}", (x264, *more), cpus=8)


def film(frames: int) -> MediaSummary:
    """A film with a keyframe every ten seconds."""
    return MediaSummary(_VIDEO, frames, 0, frames, range(0, frames, GOP))


def report(frames: int, encoder: str) -> ResultReport:
    """What is found in a result."""
    return ResultReport(frames, frames * 1000, "h264", 1920, 1080, "yuv420p", encoder, 2)


def _fleet(workers: int, jobs: int, saved: MemoryStore | None = None) -> Fleet:
    judge = RegistryJudge(Registry.load())
    policy = Policy(required_workers=1)
    if saved is None:
        return Fleet(workers, jobs, ClusterState(policy, judge))
    return Fleet(workers, jobs, ClusterState.restored(policy, judge, saved.saved()))


def _begin(fleet: Fleet) -> None:
    fleet.join_all("WorkerJoined, no jobs")
    for number in range(fleet.jobs):
        fleet.submit(number, FRAMES)
    fleet.answer_trials()


def _progress(fleet: Fleet) -> None:
    for attempt in fleet.running():
        fleet.post(ev.AttemptProgressed(attempt.epoch, 100, 8.0))
        fleet.now += 1.0 / fleet.workers


def _trouble(fleet: Fleet) -> None:
    live = fleet.running()
    for attempt in live[:20]:
        fleet.post(ev.AttemptFailed(attempt.epoch, _BROKEN))
    for attempt in live[20:40]:
        fleet.post(ev.AttemptFailed(attempt.epoch, _BUSY), "AttemptFailed (device is full)")
    for attempt in live[40:60]:
        fleet.post(ev.AttemptReturned(attempt.epoch))
    fleet.now += 100.0
    fleet.post(ev.Ticked())


def _people(fleet: Fleet) -> None:
    job_id = JobId("j00")
    for priority in (2, 1):
        fleet.post(ev.JobPrioritised(job_id, priority))
    for reason in ("the disk is full", ""):
        fleet.post(ev.SpaceChanged(reason))
    for number in range(min(20, fleet.workers)):
        worker_id = WorkerId(f"w{number:04}")
        fleet.post(ev.WorkerDraining(worker_id, by_operator=True))
        fleet.post(ev.WorkerResumed(worker_id))
    fleet.post(ev.JobPaused(job_id))
    fleet.post(ev.JobResumed(job_id))
    fleet.post(ev.Ticked())
    if fleet.jobs > 1:
        last = JobId(f"j{fleet.jobs - 1:02}")
        fleet.post(ev.JobCancelled(last))
        fleet.post(ev.JobRetried(last))
        fleet.post(ev.JobCancelled(last))
        fleet.post(ev.JobRemoved(last))


def _comings_and_goings(fleet: Fleet) -> None:
    some = [WorkerId(f"w{number:04}") for number in range(max(1, fleet.workers // 5))]
    for worker_id in some:
        fleet.post(ev.WorkerLeft(worker_id))
    for number, worker_id in enumerate(some[: len(some) // 2]):
        held = fleet.state.workers[worker_id].attempts.values()
        claims = tuple(ev.HeldAttempt(a.epoch, a.job_id) for a in held)
        fleet.post(ev.WorkerJoined(worker_id, facts(number), claims), "WorkerJoined, it was away")
    fleet.now += 40.0
    fleet.post(ev.Ticked(), "Ticked: a tenth's leases end")
    for number, worker_id in list(enumerate(some))[len(some) // 2 :]:
        fleet.post(ev.WorkerJoined(worker_id, facts(number)), "WorkerJoined, its lease was over")
    fleet.post(ev.WorkerRemoved(some[0]))


def _views(fleet: Fleet) -> None:
    job, workers = fleet.state.jobs[JobId("j00")], fleet.state.workers.values()
    jobs = fleet.state.jobs.values()
    for _ in range(20):
        fleet.times.measure("view of a job", lambda: job_view(job, fleet.now, most_shares=50))
        fleet.times.measure("who slows whom", lambda: slowdowns(jobs, fleet.state.workers))
        fleet.times.measure("views of all workers", lambda: [worker_view(w, 0.0) for w in workers])


def _tail(workers: int, times: Times) -> None:
    """The last segments of a film, when machines fall idle one after the other."""
    fleet = _fleet(workers, 1)
    fleet.join_all("")
    fleet.submit(0, 3 * workers * GOP)
    fleet.answer_trials()
    job = fleet.state.jobs[JobId("j00")]
    while live := fleet.running():
        fleet.times = times if not job.uncarved else Times()
        for attempt in live[: max(1, len(live) // 2)]:
            if attempt.epoch in fleet.state.attempts:
                fleet.now += 30.0 / workers
                fleet.deliver(attempt.epoch, " at a film's end")


def _restart(store: MemoryStore, workers: int, jobs: int, times: Times) -> None:
    """The coordinator is started again, and everybody comes back at once."""
    began: list[Fleet] = []
    times.measure("restoring", lambda: began.append(_fleet(workers, jobs, store)))
    (fleet,) = began
    fleet.times = times
    times.measure("resuming", lambda: fleet.state.resume(fleet.now))
    fleet.state.take_changes()
    fleet.join_all("WorkerJoined, after a restart")
    for job in list(fleet.state.active_jobs()):
        fleet.post(ev.SourceIndexed(job.id, film(FRAMES)), "SourceIndexed, after a restart")


def run_scale(workers: int, jobs: int, segments: int) -> Times:
    """Let a fleet of that size live through everything."""
    fleet = _fleet(workers, jobs)
    fleet.store = MemoryStore()
    _begin(fleet)
    fleet.work(segments)
    _progress(fleet)
    _views(fleet)
    _trouble(fleet)
    _people(fleet)
    _comings_and_goings(fleet)
    _restart(fleet.store, workers, jobs, fleet.times)
    _tail(workers, fleet.times)
    return fleet.times


def core(scales: Sequence[tuple[int, int]] = ((10, 300), (100, 300), (1000, SEGMENTS))) -> str:
    """Tables of all kinds of events, for each number of workers and segments that they make."""
    gc.disable()
    return "\n".join(
        table(
            f"Milliseconds in the core: {workers} workers, {JOBS} jobs, {segments} segments made",
            ("what", "times", "p50", "p99", "most"),
            run_scale(workers, JOBS, segments).rows(),
        )
        for workers, segments in scales
    )
