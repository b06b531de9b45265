"""A cluster without processes: drives the real core with a fake clock and simulated workers.

`Simulation` plays the services' part: it answers every effect with the event that the real ones
would post, after a simulated time. Used by scenario tests, property tests and benchmarks.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Sequence

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.invariants import validate
from ffcluster.core.job import Job, JobState
from ffcluster.core.judge import Candidate
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    Capability,
    Epoch,
    Fallback,
    JobId,
    JobOutcome,
    JobSpec,
    ResultReport,
    SegmentProof,
    WorkerId,
)
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.reporting import contributions
from ffcluster.core.timeline import TimeBase
from ffcluster.core.worker import WorkerFacts
from ffcluster.errors import Code, ErrorReport
from tests.core.memory_store import MemoryStore

BUSY = ErrorReport(Code.ENCODER_BUSY, "out of memory (10)", retryable=True)
VIDEO = VideoFormat("h264", 1280, 720, "yuv420p", TimeBase(1, 25), (25, 1))


def summary(frames: int, gop: int = 50) -> MediaSummary:
    """A film at 25 fps with a keyframe every `gop` frames."""
    return MediaSummary(VIDEO, frames, 0, frames, range(0, frames, gop))


def spec(**changes: object) -> JobSpec:
    return attrs.evolve(JobSpec(Profile(), Container.MKV, "out.mkv", "in.mkv"), **changes)


def capability(
    encoder: str = "libx264", device: str = "", slots: int = 1, **changes: object
) -> Capability:
    """An H.264 capability; hardware ranks higher, as with the real plugins."""
    made = Capability(encoder, Codec.H264, device=device, slots=slots, rank=100 if device else 50)
    return attrs.evolve(made, **changes)


def facts(name: str, slots: int = 1, *more: Capability) -> WorkerFacts:
    return WorkerFacts(name, (capability(slots=slots), *more))


def report(frames: int, sets: str = "sets") -> ResultReport:
    return ResultReport(frames, frames * 1000, "h264", 1280, 720, "yuv420p", sets, 2)


@attrs.define
class FakeJudge:
    """Everything can do everything, unless a test says otherwise.

    Attributes:
        refuses: Capabilities that cannot do the job, by encoder.
        verdicts: (encoder, encoder) -> whether they join whatever they write.
        no_mixture: Why the container holds no mixture, or "".
    """

    refuses: set[str] = attrs.field(factory=set)
    verdicts: dict[tuple[str, str], bool] = attrs.field(factory=dict)
    no_mixture: str = ""

    def candidates(
        self, spec: JobSpec, video: VideoFormat, offered: Sequence[Capability]
    ) -> Sequence[Candidate] | ErrorReport:
        pinned = spec.profile.encoder
        found = [
            Candidate(c, c.rank, fallback=pinned is not None and c.encoder != pinned)
            for c in offered
            if c.encoder not in self.refuses
            and (pinned in (None, c.encoder) or (spec.fallback is Fallback.ALLOW and not c.device))
        ]
        if found:
            return found
        return ErrorReport(Code.NO_USABLE_ENCODER, "nothing to encode with", retryable=True)

    def joins(self, spec: JobSpec, one: Capability, other: Capability) -> bool | None:
        pair = (one.encoder, other.encoder)
        return self.verdicts.get(pair, self.verdicts.get(pair[::-1]))

    def carries_mixture(self, spec: JobSpec) -> str:
        return self.no_mixture


@attrs.define
class SimulatedDevice:
    """Encodes at a fixed rate per slot; attempts queue behind its slots.

    `sessions` are those that its driver allows; asked for more, it says that it is busy.
    """

    rate_fps: float
    slots: int = 1
    sessions: int = 1000
    queue: list[fx.OfferAttempt] = attrs.field(factory=list)
    running: dict[Epoch, float] = attrs.field(factory=dict)


@attrs.define
class SimulatedWorker:
    """A machine: its devices, and what each of its encoders writes."""

    id: WorkerId
    devices: dict[str, SimulatedDevice]
    sets: dict[str, str] = attrs.field(factory=dict)

    @property
    def running(self) -> dict[Epoch, float]:
        return {e: at for device in self.devices.values() for e, at in device.running.items()}


class Simulation:
    """The real `ClusterState` with a fake clock; `validate` runs after every event."""

    def __init__(self, policy: Policy | None = None, seed: int = 0) -> None:
        self.now = 0.0
        self.judge = FakeJudge()
        self.state = ClusterState(policy or Policy(required_workers=1), self.judge)
        self.store = MemoryStore()
        self.workers: dict[WorkerId, SimulatedWorker] = {}
        self.films: dict[JobId, int] = {}
        self.joined: dict[JobId, list[tuple[int, int]]] = {}
        self.joined_sets: dict[JobId, list[str]] = {}
        self.offers: list[fx.OfferAttempt] = []
        self.random = random.Random(seed)
        self.fail: Callable[[fx.OfferAttempt], ErrorReport | None] = lambda offer: None
        self.check_s: Callable[[fx.OfferAttempt], float] = lambda offer: 0.02
        self._offered: dict[Epoch, fx.OfferAttempt] = {}
        self._written: dict[Epoch, str] = {}
        self._timeline: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- what a test does ----------------------------------------------------------------------

    def submit(self, job_id: str, frames: int, **changes: object) -> Job:
        self.films[JobId(job_id)] = frames
        self.post(ev.JobSubmitted(JobId(job_id), spec(**changes)))
        return self.state.jobs[JobId(job_id)]

    def join(
        self,
        name: str,
        rate_fps: float = 50.0,
        slots: int = 1,
        *more: Capability,
        rates: dict[str, float] | None = None,
        sets: dict[str, str] | None = None,
        sessions: int = 1000,
        changes: dict[str, object] | None = None,
        software: bool = True,
    ) -> WorkerId:
        """A worker with x264 on its CPU (unless not `software`) and `more`.

        Args:
            name: Its name and id.
            rate_fps: Rate of a slot of each device that `rates` does not name.
            slots: Slots of its CPU.
            more: Further capabilities.
            rates: Rate of a slot by device.
            sets: What its encoders write, by encoder; the others write the same everywhere.
            sessions: How many the drivers of its devices other than the CPU allow.
            changes: Further facts.
            software: Whether it has x264.
        """
        worker_id = WorkerId(name)
        said = facts(name, slots, *more)
        capabilities = said.capabilities if software else more
        devices = {
            c.device: SimulatedDevice(
                (rates or {}).get(c.device, rate_fps), c.slots, sessions if c.device else 1000
            )
            for c in capabilities
        }
        self.workers[worker_id] = SimulatedWorker(worker_id, devices, sets or {})
        said = attrs.evolve(said, capabilities=capabilities, **(changes or {}))
        self.post(ev.WorkerJoined(worker_id, said))
        return worker_id

    def kill(self, name: str) -> None:
        """A worker dies with all that it has, and that is known at once."""
        self.workers.pop(WorkerId(name), None)
        self.post(ev.WorkerLeft(WorkerId(name), forgets=True))

    def vanish(self, name: str) -> None:
        """A worker's session ends; what it holds is its own until the lease ends."""
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
        self.store.put(self.state.take_changes(), self.now)
        validate(self.state)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.IndexSource(job_id):
                film = summary(self.films[job_id])
                self.later(0.1, lambda: self.post(ev.SourceIndexed(job_id, film)))
            case fx.OfferAttempt():
                self.offers.append(effect)
                self._offered[effect.epoch] = effect
                self._written[effect.epoch] = self.written(effect)
                device = self.device(effect)
                if device is not None:
                    device.queue.append(effect)
                    self.later(0.05, lambda: self.start(effect))
            case fx.RevokeAttempt(epoch):
                device = self.device(self._offered[epoch])
                if device is not None:
                    device.queue = [o for o in device.queue if o.epoch != epoch]
                    device.running.pop(epoch, None)
                    self.later(0.0, lambda: self.start(self._offered[epoch]))
            case fx.CheckResult(epoch, _, _, frames):
                written = report(len(frames), self._written[epoch])
                check_s = self.check_s(self._offered[epoch])
                self.later(check_s, lambda: self.post(ev.AttemptChecked(epoch, written)))
            case fx.JoinSegment(job_id, _, frames, found):
                self.joined_sets.setdefault(job_id, []).append(found.parameter_sets)
                self.joined.setdefault(job_id, []).append((frames.first, frames.stop))
            case fx.RestartJoin(job_id):
                self.joined[job_id], self.joined_sets[job_id] = [], []
            case fx.FinishJoin(job_id):
                outcome = self.outcome(self.state.jobs[job_id])
                self.later(0.1, lambda: self.post(ev.JobVerified(job_id, outcome)))
            case fx.Publish(job_id, outcome):
                self.later(0.0, lambda: self.post(ev.JobPublished(job_id, outcome)))

    def outcome(self, job: Job) -> JobOutcome:
        frames = sum(stop - first for first, stop in self.joined[job.id])
        made_by, missing = contributions(job), job.missing()
        return JobOutcome("out", 1, "0" * 64, frames, True, made_by=made_by, missing=missing)

    def device(self, offer: fx.OfferAttempt) -> SimulatedDevice | None:
        worker = self.workers.get(offer.worker_id)
        return worker.devices.get(offer.device) if worker else None

    def written(self, offer: fx.OfferAttempt) -> str:
        """The parameter sets that the offered encoder writes."""
        worker = self.workers.get(offer.worker_id)
        own = worker.sets.get(offer.encoder) if worker else None
        return own or hashlib.sha256(offer.encoder.encode()).hexdigest()

    def start(self, wake: fx.OfferAttempt) -> None:
        """Start what waits on the device of `wake` as far as there are slots."""
        device = self.device(wake)
        while device is not None and device.queue and len(device.running) < device.slots:
            offer = device.queue.pop(0)
            if len(device.running) >= device.sessions:
                self.later(0.1, lambda o=offer: self.post(ev.AttemptFailed(o.epoch, BUSY)))
                continue
            device.running[offer.epoch] = self.now
            self.post(ev.AttemptStarted(offer.epoch))
            self.later(1.0, lambda o=offer: self.progress(o))
            seconds = len(offer.frames) / device.rate_fps
            self.later(seconds, lambda o=offer: self.end(o))

    def progress(self, offer: fx.OfferAttempt) -> None:
        device = self.device(offer)
        if device is None or offer.epoch not in device.running:
            return
        frames = int((self.now - device.running[offer.epoch]) * device.rate_fps)
        self.post(ev.AttemptProgressed(offer.epoch, frames, device.rate_fps))
        self.later(1.0, lambda: self.progress(offer))

    def end(self, offer: fx.OfferAttempt) -> None:
        device = self.device(offer)
        if device is None or device.running.pop(offer.epoch, None) is None:
            return
        error = self.fail(offer)
        if error is None:
            proof = SegmentProof(
                len(offer.frames),
                encode_s=len(offer.frames) / device.rate_fps,
                encoder=offer.encoder,
                device=offer.device,
            )
            self.post(ev.AttemptDelivered(offer.epoch, proof))
        else:
            self.post(ev.AttemptFailed(offer.epoch, error))
        self.start(offer)

    # --- what a test asks ----------------------------------------------------------------------

    def assert_whole(self, job: Job) -> None:
        """Every frame was joined exactly once, in order."""
        assert job.state is JobState.COMPLETED, (job.state, job.error, job.reason)
        assert not self.store.differences(self.state)
        frontier = 0
        for first, stop in self.joined[job.id]:
            assert first == frontier
            frontier = stop
        assert frontier == self.films[job.id]
        assert sum(made.frames for made in contributions(job)) == self.films[job.id]
