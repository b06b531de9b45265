"""A cluster without processes: drives the real core with a fake clock and simulated workers.

`Simulation` plays the services' part: it answers every effect with the event that the real ones
would post, after a simulated time. Used by scenario tests, property tests and benchmarks.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.invariants import validate
from ffcluster.core.job import Job, JobState
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    Capability,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.timeline import TimeBase
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import Code, ErrorReport

VIDEO = VideoFormat("h264", 1280, 720, "yuv420p", TimeBase(1, 25), (25, 1))


def summary(frames: int, gop: int = 50) -> MediaSummary:
    """A film at 25 fps with a keyframe every `gop` frames."""
    return MediaSummary(VIDEO, frames, 0, frames, range(0, frames, gop))


def spec(**changes: object) -> JobSpec:
    return attrs.evolve(JobSpec(Profile(), Container.MKV, "out.mkv", "in.mkv"), **changes)


def facts(name: str, slots: int = 1, encoder: str = "libx264") -> WorkerFacts:
    return WorkerFacts(name, (Capability(encoder, Codec.H264, slots=slots),))


def report(frames: int) -> ResultReport:
    return ResultReport(frames, frames * 1000, "h264", 1280, 720, "yuv420p", "sets", 2)


def choose_first(_: JobSpec, __: VideoFormat, offers: object) -> str | ErrorReport:
    names = [capability.encoder for offer in offers for capability in offer]  # type: ignore[attr-defined]
    if names:
        return names[0]
    return ErrorReport(Code.NO_USABLE_ENCODER, "nothing to encode with", retryable=True)


@attrs.define
class SimulatedWorker:
    """Encodes at a fixed rate; attempts queue behind its slots."""

    id: WorkerId
    rate_fps: float
    slots: int = 1
    queue: list[fx.OfferAttempt] = attrs.field(factory=list)
    running: dict[Epoch, float] = attrs.field(factory=dict)


class Simulation:
    """The real `ClusterState` with a fake clock; `validate` runs after every event."""

    def __init__(self, policy: Policy | None = None, seed: int = 0) -> None:
        self.now = 0.0
        self.state = ClusterState(policy or Policy(required_workers=1), choose_first)
        self.workers: dict[WorkerId, SimulatedWorker] = {}
        self.films: dict[JobId, int] = {}
        self.joined: dict[JobId, list[tuple[int, int]]] = {}
        self.offers = 0
        self.random = random.Random(seed)
        self.fail: Callable[[fx.OfferAttempt], ErrorReport | None] = lambda offer: None
        self._timeline: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- what a test does ----------------------------------------------------------------------

    def submit(self, job_id: str, frames: int, **changes: object) -> Job:
        self.films[JobId(job_id)] = frames
        self.post(ev.JobSubmitted(JobId(job_id), spec(**changes)))
        return self.state.jobs[JobId(job_id)]

    def join(self, name: str, rate_fps: float = 50.0, slots: int = 1) -> WorkerId:
        worker_id = WorkerId(name)
        self.workers[worker_id] = SimulatedWorker(worker_id, rate_fps, slots)
        self.post(ev.WorkerJoined(worker_id, facts(name, slots)))
        return worker_id

    def kill(self, name: str) -> None:
        self.workers.pop(WorkerId(name), None)
        self.post(ev.WorkerLeft(WorkerId(name)))

    def run(self, until_s: float = 1e6) -> None:
        """Let time pass until nothing is left to happen."""
        while self._timeline and self._timeline[0][0] <= until_s:
            self.now, _, act = heapq.heappop(self._timeline)
            act()
            due = self.state.next_wake(self.now)
            if not self._timeline and due is not None:
                self.later(due - self.now, lambda: self.post(ev.Ticked()))

    # --- the world -----------------------------------------------------------------------------

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timeline, (self.now + delay_s, next(self._order), act))

    def post(self, event: ev.Event) -> None:
        effects = self.state.handle(event, self.now)
        validate(self.state)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.IndexSource(job_id):
                film = summary(self.films[job_id])
                self.later(0.1, lambda: self.post(ev.SourceIndexed(job_id, film)))
            case fx.OfferAttempt():
                self.offers += 1
                worker = self.workers.get(effect.worker_id)
                if worker is not None:
                    worker.queue.append(effect)
                    self.later(0.05, lambda: self.start(effect.worker_id))
            case fx.RevokeAttempt(epoch, worker_id):
                worker = self.workers.get(worker_id)
                if worker is not None:
                    worker.queue = [o for o in worker.queue if o.epoch != epoch]
                    worker.running.pop(epoch, None)
                    self.later(0.0, lambda: self.start(worker_id))
            case fx.CheckResult(epoch, _, frames):
                checked = ev.AttemptChecked(epoch, report(len(frames)))
                self.later(0.02, lambda: self.post(checked))
            case fx.JoinSegment(job_id, _, frames, _):
                self.joined.setdefault(job_id, []).append((frames.first, frames.stop))
            case fx.FinishJoin(job_id):
                outcome = JobOutcome("out", 1, "0" * 64, self.films[job_id], True)
                self.later(0.1, lambda: self.post(ev.JobPublished(job_id, outcome)))

    def start(self, worker_id: WorkerId) -> None:
        worker = self.workers.get(worker_id)
        while worker is not None and worker.queue and len(worker.running) < worker.slots:
            offer = worker.queue.pop(0)
            worker.running[offer.epoch] = self.now
            self.post(ev.AttemptStarted(offer.epoch))
            self.later(1.0, lambda o=offer: self.progress(worker_id, o))
            seconds = len(offer.frames) / worker.rate_fps
            self.later(seconds, lambda o=offer: self.end(worker_id, o))

    def progress(self, worker_id: WorkerId, offer: fx.OfferAttempt) -> None:
        worker = self.workers.get(worker_id)
        if worker is None or offer.epoch not in worker.running:
            return
        frames = int((self.now - worker.running[offer.epoch]) * worker.rate_fps)
        self.post(ev.AttemptProgressed(offer.epoch, frames, worker.rate_fps))
        self.later(1.0, lambda: self.progress(worker_id, offer))

    def end(self, worker_id: WorkerId, offer: fx.OfferAttempt) -> None:
        worker = self.workers.get(worker_id)
        if worker is None or worker.running.pop(offer.epoch, None) is None:
            return
        error = self.fail(offer)
        if error is None:
            proof = SegmentProof(len(offer.frames), encode_s=len(offer.frames) / worker.rate_fps)
            self.post(ev.AttemptDelivered(offer.epoch, proof))
        else:
            self.post(ev.AttemptFailed(offer.epoch, error))
        self.start(worker_id)

    # --- what a test asks ----------------------------------------------------------------------

    def assert_whole(self, job: Job) -> None:
        """Every frame was joined exactly once, in order."""
        assert job.state is JobState.COMPLETED, (job.state, job.error, job.reason)
        frontier = 0
        for first, stop in self.joined[job.id]:
            assert first == frontier
            frontier = stop
        assert frontier == self.films[job.id]
