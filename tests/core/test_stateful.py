"""Any events in any order: what is live and what is committed stays what a simple model says.

The model knows two things: which epochs were offered and not ended, and whose result counts for
which frames. Hypothesis looks for a sequence of events after which the core disagrees.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.invariants import validate
from ffcluster.core.job import JobState
from ffcluster.core.model import BlobRef, Epoch, JobId, JobOutcome, SegmentProof, WorkerId
from ffcluster.core.segment import AttemptState
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import FakeJudge, facts, report, spec, summary
from tests.core.memory_store import MemoryStore

JOBS = [JobId(name) for name in ("j", "k")]
WORKERS = [WorkerId(name) for name in ("a", "b", "c")]
POLICY = Policy(
    required_workers=1,
    max_retries=4,
    retry_delay_s=1.0,
    poison_after=3,
    quarantine_after=2,
    quarantine_s=20.0,
    lease_s=10.0,
)
BLOB = BlobRef("0" * 64, 1000)
GONE = ErrorReport(Code.BLOB_LOST, "the result is gone", retryable=True)

jobs = st.sampled_from(JOBS)
workers = st.sampled_from(WORKERS)
which = st.integers(0, 7)
failures = st.sampled_from(
    [
        Code.ENCODE_FAILED,
        Code.WRONG_FRAME_COUNT,
        Code.DISK_FULL,
        Code.TRANSFER_FAILED,
        Code.ENCODER_BUSY,
        Code.WORKER_LOST,
        Code.JOIN_FAILED,
    ]
)


class AnyOrder(RuleBasedStateMachine):
    """Everything that can happen; each rule is one event."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.judge = FakeJudge()
        self.state = ClusterState(POLICY, self.judge)
        self.store = MemoryStore()
        self.live: dict[Epoch, JobId] = {}
        self.trials: set[Epoch] = set()
        self.committed: dict[JobId, dict[int, tuple[int, Epoch]]] = {}
        self.joined: dict[JobId, int] = {}
        self.finished: dict[JobId, bool] = {}
        self.newest = Epoch(0)

    # --- the model -----------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        self.now += 0.01
        self.take(self.state.handle(event, self.now))

    def take(self, effects: tuple[fx.Effect, ...]) -> None:
        self.store.put(self.state.take_changes(), self.now)
        for effect in effects:
            self.note(effect)

    def note(self, effect: fx.Effect) -> None:
        match effect:
            case fx.OfferAttempt(epoch, _, job_id):
                assert epoch > self.newest
                self.newest = epoch
                self.live[epoch] = job_id
                if effect.trial:
                    self.trials.add(epoch)
            case fx.DiscardAttempt(epoch, job_id, committed):
                self.discard(epoch, job_id, committed=committed)
            case fx.JoinSegment(job_id, epoch, frames):
                assert self.committed[job_id][frames.first] == (frames.stop, epoch)
                assert frames.first >= self.joined.get(job_id, 0)
                self.joined[job_id] = frames.stop
            case fx.RestartJoin(job_id):
                self.joined[job_id], self.finished[job_id] = 0, False
            case fx.IndexSource(job_id):
                # After a restart the file that was joined before may still be published.
                self.joined[job_id] = 0
            case fx.FinishJoin(job_id):
                assert self.joined[job_id] == 400 or self.state.jobs[job_id].frames_missing
                self.finished[job_id] = True
            case fx.Publish(job_id, outcome):
                assert self.finished[job_id], "what was never joined whole is published"
                assert self.state.jobs[job_id].publication == outcome

    def discard(self, epoch: Epoch, job_id: JobId, *, committed: bool) -> None:
        ours = self.committed.setdefault(job_id, {})
        if not committed and self.live.pop(epoch, None) is None:
            (lost,) = [first for first, (_, made) in ours.items() if made == epoch]
            del ours[lost]
        elif committed:
            del self.live[epoch]
            assert epoch not in self.trials
            frames = self.state.jobs[job_id].segments
            (first,) = [f for f, s in frames.items() if s.committed and s.committed.epoch == epoch]
            assert first not in ours, "these frames were committed before"
            ours[first] = (frames[first].frames.stop, epoch)

    def pick(self, number: int, *states: AttemptState) -> Epoch | None:
        found = [e for e, a in self.state.attempts.items() if a.state in states]
        return found[number % len(found)] if found else None

    @initialize(missing=st.booleans(), cut=st.booleans())
    def begin(self, missing: bool, cut: bool) -> None:
        for worker_id in WORKERS[:2]:
            self.join(worker_id, 1, holds=False)
        self.submit(JOBS[0], missing, cut)
        self.index(JOBS[0])

    # --- jobs ----------------------------------------------------------------------------------

    @rule(job_id=jobs, missing=st.booleans(), cut=st.booleans())
    def submit(self, job_id: JobId, missing: bool, cut: bool) -> None:
        cuts = (100, 200, 300) if cut else ()
        self.post(ev.JobSubmitted(job_id, spec(allow_missing=missing, cut_frames=cuts)))

    @rule(job_id=jobs)
    def index(self, job_id: JobId) -> None:
        self.post(ev.SourceIndexed(job_id, summary(400)))

    @rule(
        job_id=jobs,
        wish=st.sampled_from(
            [ev.JobPaused, *[ev.JobResumed] * 3, *[ev.JobRetried] * 3, ev.JobCancelled]
        ),
    )
    def control(self, job_id: JobId, wish: type) -> None:
        job = self.state.jobs.get(job_id)
        over = job is not None and job.state in (JobState.FAILED, JobState.CANCELLED)
        if wish is ev.JobRetried and over and not job.kept:
            self.committed.pop(job_id, None)
        self.post(wish(job_id))

    @precondition(lambda self: any(job.ended for job in self.state.jobs.values()))
    @rule(job_id=jobs, forget=st.booleans())
    def expire(self, job_id: JobId, forget: bool) -> None:
        job = self.state.jobs.get(job_id)
        if job is not None and job.ended and (forget or job.kept):
            self.committed.pop(job_id, None)
            self.post(ev.JobRemoved(job_id) if forget else ev.ResultsExpired(job_id))

    @rule(job_id=jobs, code=failures)
    def fail_join(self, job_id: JobId, code: Code) -> None:
        self.post(ev.JoinFailed(job_id, ErrorReport(code, "the join failed", retryable=True)))

    @rule(job_id=jobs, number=which)
    def lose_result(self, job_id: JobId, number: int) -> None:
        there = sorted(self.committed.get(job_id, {}))
        if there:
            self.post(ev.SegmentLost(job_id, there[number % len(there)], GONE))

    @rule(tell=st.booleans())
    def verify(self, tell: bool) -> None:
        """What can be verified is, and (if `tell`) published."""
        for job in list(self.state.jobs.values()):
            if job.state is not JobState.COMBINING or not job.source_ready:
                continue
            missing = job.missing()
            outcome = JobOutcome("out", 1, "0" * 64, job.frames_committed, True, missing=missing)
            self.post(ev.JobVerified(job.id, outcome))
            if tell and job.publication is not None:
                self.post(ev.JobPublished(job.id, outcome))
                assert job.state is JobState.COMPLETED

    # --- workers -------------------------------------------------------------------------------

    @rule(worker_id=workers, slots=st.integers(1, 2), holds=st.booleans())
    def join(self, worker_id: WorkerId, slots: int, holds: bool) -> None:
        held = tuple(
            ev.HeldAttempt(epoch, attempt.job_id)
            for epoch, attempt in self.state.attempts.items()
            if attempt.worker_id == worker_id and holds
        )
        self.post(ev.WorkerJoined(worker_id, facts(worker_id, slots), held))

    @rule(worker_id=workers, forgets=st.booleans(), ago_s=st.sampled_from([0.0, 5.0, 50.0]))
    def leave(self, worker_id: WorkerId, forgets: bool, ago_s: float) -> None:
        heard_at = max(0.0, self.now - ago_s)
        self.post(ev.WorkerLeft(worker_id, heard_at=heard_at, forgets=forgets))

    @rule(
        worker_id=workers,
        wish=st.sampled_from([ev.WorkerDraining, *[ev.WorkerResumed] * 3, ev.WorkerRemoved]),
    )
    def operate(self, worker_id: WorkerId, wish: type) -> None:
        self.post(wish(worker_id))

    # --- attempts ------------------------------------------------------------------------------

    @rule(number=which)
    def start(self, number: int) -> None:
        epoch = self.pick(number, AttemptState.OFFERED)
        if epoch is not None:
            self.post(ev.AttemptStarted(epoch))
            self.post(ev.AttemptProgressed(epoch, 5, 25.0))

    @rule(number=which)
    def deliver(self, number: int) -> None:
        epoch = self.pick(number, AttemptState.OFFERED, AttemptState.RUNNING)
        if epoch is not None:
            self.post(ev.AttemptDelivered(epoch, SegmentProof(1), BLOB))

    @rule(rounds=st.integers(1, 4), tell=st.booleans())
    def all_goes_well(self, rounds: int, tell: bool) -> None:
        for _ in range(rounds):
            self.wait(2.0)
            for epoch in list(self.state.attempts):
                self.post(ev.AttemptStarted(epoch))
                self.post(ev.AttemptDelivered(epoch, SegmentProof(1), BLOB))
                attempt = self.state.attempts.get(epoch)
                if attempt is not None and attempt.state is AttemptState.CHECKING:
                    self.post(ev.AttemptChecked(epoch, report(len(attempt.frames))))
        self.verify(tell)

    @rule(number=which)
    def accept(self, number: int) -> None:
        epoch = self.pick(number, AttemptState.CHECKING)
        if epoch is not None:
            frames = len(self.state.attempts[epoch].frames)
            self.post(ev.AttemptChecked(epoch, report(frames)))

    @rule(number=which, code=failures)
    def fail(self, number: int, code: Code) -> None:
        epoch = self.pick(number, *AttemptState)
        if epoch is not None:
            self.post(ev.AttemptFailed(epoch, ErrorReport(code, "it failed", retryable=True)))

    @rule(number=which)
    def give_back(self, number: int) -> None:
        epoch = self.pick(number, AttemptState.OFFERED, AttemptState.RUNNING)
        if epoch is not None:
            self.post(ev.AttemptReturned(epoch))

    @rule(epoch=st.integers(1, 60))
    def say_something_of_an_attempt_that_is_over(self, epoch: int) -> None:
        if epoch in self.live:
            return
        before = dict(self.live)
        for event in (
            ev.AttemptStarted(Epoch(epoch)),
            ev.AttemptDelivered(Epoch(epoch), SegmentProof(1), BLOB),
            ev.AttemptChecked(Epoch(epoch), report(100)),
            ev.AttemptReturned(Epoch(epoch)),
        ):
            self.post(event)
        assert before.items() <= self.live.items() or self.now > 10.0

    # --- time ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 2.0, 15.0, 90.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.post(ev.Ticked())

    @rule()
    def crash(self) -> None:
        """The coordinator dies when everything is stored, and starts again."""
        before = {job.id: job.state for job in self.state.jobs.values() if job.ended}
        self.state = ClusterState.restored(POLICY, self.judge, self.store.saved())
        assert not self.store.differences(self.state)
        for epoch in self.trials & set(self.live):
            del self.live[epoch]
        self.take(self.state.resume(self.now))
        after = {job.id: job.state for job in self.state.jobs.values()}
        assert before.items() <= after.items()

    # --- what must hold ------------------------------------------------------------------------

    @invariant()
    def is_sound(self) -> None:
        validate(self.state)
        assert not self.store.differences(self.state)

    @invariant()
    def lives_what_was_offered_and_has_not_ended(self) -> None:
        assert set(self.live) == set(self.state.attempts)

    @invariant()
    def is_committed_what_was_accepted(self) -> None:
        for job in self.state.jobs.values():
            if job.state is JobState.COMPLETED:
                continue
            there = {
                first: (segment.frames.stop, segment.committed.epoch)
                for first, segment in job.segments.items()
                if segment.committed is not None
            }
            assert there == self.committed.get(job.id, {})


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
)
