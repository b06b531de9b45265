"""The coordinator's process around the real core, as it stands between two crashes.

Plays the services' part with nothing but their promises: changes are stored before their effects
are carried out, in order; results and verified files outlive the process, nothing else does.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core import quarantine
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.durable import Changes
from ffcluster.core.invariants import validate
from ffcluster.core.job import Job
from ffcluster.core.model import Epoch, JobId, SegmentProof, Source, WorkerId
from ffcluster.core.quarantine import Place
from ffcluster.core.segment import Attempt, AttemptState
from ffcluster.core.worker import WorkerState
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import FakeJudge, report, spec, summary
from tests.core.memory_store import MemoryStore
from tests.sim.disk import Disk
from tests.sim.joins import Joins
from tests.sim.machines import Machine
from tests.sim.timeline import Timeline

_ACCIDENTS = (Code.TRANSFER_FAILED, Code.HELPER_DIED, Code.ENCODE_FAILED, Code.WRONG_FRAME_COUNT)


@attrs.define(eq=False)
class World:
    """Everything that there is.

    Attributes:
        policy: The coordinator's settings.
        rng: All chance.
        check_every: Compare what is stored with what is known after so many events.
        validate_every: Check the invariants after so many events.
        faults: How likely faults are now: 1.0 as given, 0.0 none any more.
        films: Frames of each job's film.
        poison: A frame of a job that nobody can encode.
        injected: Why attempts failed, as the machines said.
        lost: Names of workers that were ever cut off or died.
        crashes: How often the coordinator died.
    """

    policy: Policy
    rng: random.Random
    check_every: int = 1
    validate_every: int = 1
    faults: float = 1.0
    timeline: Timeline = attrs.field(factory=Timeline)
    judge: FakeJudge = attrs.field(factory=FakeJudge)
    disk: Disk = attrs.field(factory=Disk)
    store: MemoryStore = attrs.field(factory=MemoryStore)
    machines: dict[WorkerId, Machine] = attrs.field(factory=dict)
    films: dict[JobId, int] = attrs.field(factory=dict)
    poison: dict[JobId, int] = attrs.field(factory=dict)
    injected: dict[Epoch, ErrorReport] = attrs.field(factory=dict)
    lost: set[str] = attrs.field(factory=set)
    crashes: int = 0
    events: int = 0
    offered: Epoch = Epoch(0)  # noqa: RUF009
    _boot: int = 0
    _state: ClusterState | None = None
    _shadow: MemoryStore = attrs.field(factory=MemoryStore)
    _joins: Joins = attrs.field(init=False)
    _ledger: deque[tuple[Changes, Sequence[fx.Effect]]] = attrs.field(factory=deque)
    _sessions: dict[WorkerId, int] = attrs.field(factory=dict)
    _last_session: int = 0
    _armed: int = 0

    def __attrs_post_init__(self) -> None:
        self._joins = Joins(self)
        self.start()

    # --- the process ---------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.timeline.now

    @property
    def up(self) -> bool:
        return self._state is not None

    @property
    def state(self) -> ClusterState:
        assert self._state is not None
        return self._state

    @property
    def jobs(self) -> dict[JobId, Job]:
        return self.state.jobs if self.up else {}

    def start(self) -> None:
        """Start the coordinator from what is stored."""
        if self.up:
            return
        self._state = ClusterState.restored(self.policy, self.judge, self.store.saved())
        self._shadow = self.store.copy()
        self._compare()
        validate(self.state)
        self._put(self.state.resume(self.now))
        self._arm()

    def crash(self) -> None:
        """The coordinator is killed: what was not stored never happened."""
        if not self.up:
            return
        self._boot += 1
        self.crashes += 1
        self._state = None
        self._ledger.clear()
        self._joins = Joins(self)
        self._sessions.clear()
        for machine in self.machines.values():
            machine.disconnected()
        self.later(self.rng.choice([0.1, 1.0, 5.0, 40.0]), self.start)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later, come what may."""
        self.timeline.later(delay_s, act)

    def soon(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later, unless this process has died by then."""
        boot = self._boot
        self.later(delay_s, lambda: act() if self._boot == boot and self.up else None)

    def now_and_then(self, chance: float) -> bool:
        return self.faults > 0 and self.rng.random() < chance * self.faults

    def accident(self) -> ErrorReport | None:
        """A failure without any reason that lasts."""
        if not self.now_and_then(0.04):
            return None
        return ErrorReport(self.rng.choice(_ACCIDENTS), "by accident", retryable=True)

    # --- the loop ------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        """Let the core take an event in."""
        if not self.up:
            return
        effects = self.state.handle(event, self.now)
        self.events += 1
        if self.events % self.validate_every == 0:
            validate(self.state)
        self._watch(effects)
        self._put(effects)
        if self.up and self.events % self.check_every == 0:
            self._compare()
        self._arm()

    def _watch(self, effects: Sequence[fx.Effect]) -> None:
        """What no state alone can show: leases end in time, and who rests is left alone."""
        for worker in self.state.workers.values():
            absent = worker.state is WorkerState.ABSENT
            assert not absent or worker.lease_until > self.now, f"{worker.id} is waited for"
        for effect in effects:
            if isinstance(effect, fx.OfferAttempt) and effect.epoch in self.state.attempts:
                self._may_be_given(self.state.attempts[effect.epoch])

    def _may_be_given(self, attempt: Attempt) -> None:
        worker, place = self.state.workers[attempt.worker_id], Place.of(attempt.capability)
        known = worker.quarantines
        assert not quarantine.resting(known, attempt.capability), f"{place} rests"
        if quarantine.on_probation(known, attempt.capability):
            there = [a for a in worker.attempts.values() if Place.of(a.capability) == place]
            assert there == [attempt], f"{place} is on probation"

    def _compare(self) -> None:
        different = self._shadow.differences(self.state)
        assert not different, different[:3]

    def _put(self, effects: Sequence[fx.Effect]) -> None:
        changes = self.state.take_changes()
        self._shadow.put(changes, self.now)
        if not changes and not self._ledger:
            self._carry_out(effects)
            return
        self._ledger.append((changes, effects))
        if len(self._ledger) == 1:
            self.soon(self.rng.choice([0.0, 0.0, 0.005, 0.2]), self._flush)

    def _flush(self) -> None:
        """Everything that waits is stored at once, then its effects are carried out."""
        if self.now_and_then(0.002):
            self.crash()
            return
        stored, self._ledger = list(self._ledger), deque()
        for changes, _ in stored:
            self.store.put(changes, self.now)
        boot = self._boot
        for _, effects in stored:
            if self._boot == boot:
                self._carry_out(effects)

    def _carry_out(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.JobChanged | fx.WorkerChanged):
                continue
            if self.now_and_then(0.001):
                self.crash()
                return
            self._do(effect)

    def _arm(self) -> None:
        """Wake up when the next thing is due, and at no other time, as the real loop does."""
        self._armed += 1
        armed = self._armed
        due = self.state.next_wake(self.now) if self.up else None
        if due is not None:
            delay_s = max(0.05, due - self.now)
            self.soon(delay_s, lambda: self.post(ev.Ticked()) if self._armed == armed else None)

    # --- effects -------------------------------------------------------------------------------

    def _do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.IndexSource(job_id):
                indexed = ev.SourceIndexed(job_id, summary(self.films[job_id]))
                self.soon(self.rng.uniform(0.05, 2.0), lambda: self.post(indexed))
            case fx.OfferAttempt():
                assert effect.epoch > self.offered, "an epoch was given twice"
                self.offered = effect.epoch
                self._tell(effect.worker_id, effect)
            case fx.ResumeAttempt() | fx.RevokeAttempt():
                self._tell(effect.worker_id, effect)
            case fx.CheckResult():
                self._accepted(effect)
                self.soon(self.rng.uniform(0.01, 0.3), lambda: self._checked(effect))
            case fx.DiscardAttempt(epoch, _, committed):
                if not committed:
                    self.disk.blobs.pop(epoch, None)
            case fx.ForgetJob(job_id):
                self.disk.drop_job(job_id)
            case fx.DismissWorker(worker_id):
                self._dismiss(worker_id)
            case _:
                self._joins.do(effect)

    def _tell(
        self,
        worker_id: WorkerId,
        effect: fx.OfferAttempt | fx.ResumeAttempt | fx.RevokeAttempt,
    ) -> None:
        machine = self.machines[worker_id]
        if machine.session is not None and self.is_open(machine, machine.session):
            machine.hear(effect)

    def _accepted(self, check: fx.CheckResult) -> None:
        self.machines[check.worker_id].accepted(check.epoch)

    def _checked(self, check: fx.CheckResult) -> None:
        if self.now_and_then(0.02):
            error = ErrorReport(Code.RESULT_INVALID, "by accident", retryable=True)
            self.injected[check.epoch] = error
            self.post(ev.AttemptFailed(check.epoch, error))
            return
        attempt = self.state.attempts.get(check.epoch)
        if attempt is None:
            return
        assert attempt.trial or check.epoch in self.disk.blobs, "a result that counts is gone"
        found = report(len(check.frames), attempt.capability.encoder)
        self.post(ev.AttemptChecked(check.epoch, found))

    # --- workers -------------------------------------------------------------------------------

    def open_session(self, machine: Machine) -> int:
        self._last_session += 1
        self._sessions[machine.id] = self._last_session
        return self._last_session

    def is_open(self, machine: Machine, session: int) -> bool:
        return self._sessions.get(machine.id) == session

    def left(self, machine: Machine, session: int, heard_at: float | None = None) -> None:
        """A session ended, and the coordinator noticed."""
        if self.is_open(machine, session):
            del self._sessions[machine.id]
            self.post(ev.WorkerLeft(machine.id, heard_at=heard_at))
            if machine.session == session and machine.alive and machine.linked:
                machine.disconnected()

    def _dismiss(self, worker_id: WorkerId) -> None:
        self._sessions.pop(worker_id, None)
        self.machines[worker_id].disconnected()

    def received(self, machine: Machine, epoch: Epoch, proof: SegmentProof) -> None:
        """A result has arrived, whole."""
        if not self.up:
            return
        attempt = self.state.attempts.get(epoch)
        if attempt is None or attempt.worker_id != machine.id:
            self.post(ev.ResultSuperseded(machine.id, epoch))
            machine.accepted(epoch)
            return
        if attempt.state is AttemptState.CHECKING:
            return
        blob = None if attempt.trial else self.disk.deliver(attempt.job_id, epoch)
        self.post(ev.AttemptDelivered(epoch, proof, blob))

    # --- clients -------------------------------------------------------------------------------

    def submit(self, job_id: JobId, **changes: object) -> None:
        """Have a job made; told until it is stored, as clients do."""
        if job_id not in self.store.jobs:
            if self.up and job_id not in self.state.jobs:
                self.post(ev.JobSubmitted(job_id, spec(**changes), Source(f"{job_id}.mkv")))
            self.later(1.0, lambda: self.submit(job_id, **changes))

    def is_poisonous(self, offer: fx.OfferAttempt) -> bool:
        frame = self.poison.get(offer.job_id)
        return frame is not None and offer.frames.first <= frame < offer.frames.stop

    def ended(self) -> bool:
        """Whether every job has ended, and that is stored."""
        return self.up and not self._ledger and all(job.ended for job in self.jobs.values())
