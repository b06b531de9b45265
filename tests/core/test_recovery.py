"""What outlives a session, and what outlives the coordinator: leases, adoption, restoring."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import ClusterState, Policy
from ffcluster.core.invariants import validate
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import (
    BlobRef,
    Epoch,
    JobId,
    JobOutcome,
    SegmentProof,
    Source,
    WorkerId,
)
from ffcluster.core.segment import AttemptState
from ffcluster.core.worker import WorkerFacts, WorkerState
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import FakeJudge, capability, report, spec, summary
from tests.core.memory_store import MemoryStore

J = JobId("j")
NVENC = capability("h264_nvenc", "cuda:0")
OUTCOME = JobOutcome("out.mkv", 1, "0" * 64, 400, True)
PUBLISHED = Policy(required_workers=1, lease_s=30.0, retry_delay_s=5.0)


class Desk:
    """Drives the core by hand, storing what it says must be stored."""

    def __init__(self, policy: Policy = PUBLISHED) -> None:
        self.policy = policy
        self.now = 1000.0
        self.state = ClusterState(policy, FakeJudge())
        self.store = MemoryStore()
        self.done: list[fx.Effect] = []

    def post(self, event: ev.Event, after_s: float = 0.0) -> tuple[fx.Effect, ...]:
        self.now += after_s
        effects = self.state.handle(event, self.now)
        self.store.put(self.state.take_changes(), self.now)
        validate(self.state)
        assert not self.store.differences(self.state)
        self.done += effects
        return effects

    def restart(self, after_s: float = 0.0) -> tuple[fx.Effect, ...]:
        """A coordinator that was killed comes back."""
        self.now += after_s
        self.state = ClusterState.restored(self.policy, FakeJudge(), self.store.saved())
        validate(self.state)
        assert not self.store.differences(self.state)
        return self.state.resume(self.now)

    def job(self) -> Job:
        return self.state.jobs[J]

    def join(self, name: str, *held: ev.HeldAttempt) -> tuple[fx.Effect, ...]:
        return self.post(ev.WorkerJoined(WorkerId(name), facts(name), held))

    def submit(self, frames: int = 400, cuts: tuple[int, ...] = (100, 200, 300)) -> None:
        self.post(ev.JobSubmitted(J, spec(cut_frames=cuts), Source("film.mkv")))
        self.index(frames)

    def index(self, frames: int = 400) -> tuple[fx.Effect, ...]:
        return self.post(ev.SourceIndexed(J, summary(frames)))

    def offers(self, worker: str) -> list[Epoch]:
        """Live attempts of a worker that it has to do."""
        held = self.state.workers[WorkerId(worker)].attempts.values()
        return [attempt.epoch for attempt in held if attempt.holds_slot]

    def deliver(self, epoch: Epoch) -> None:
        attempt = self.state.attempts[epoch]
        self.post(ev.AttemptStarted(epoch))
        proof = SegmentProof(len(attempt.frames), encode_s=1.0, encoder="libx264")
        blob = BlobRef(f"{epoch:064x}", 1000)
        self.post(ev.AttemptDelivered(epoch, proof, blob), 1.0)

    def commit(self, epoch: Epoch) -> tuple[fx.Effect, ...]:
        frames = self.state.attempts[epoch].frames
        self.deliver(epoch)
        return self.post(ev.AttemptChecked(epoch, report(len(frames), "sets")))


def facts(name: str) -> WorkerFacts:
    return WorkerFacts(name, (capability(),))


def of(kind: type, effects: tuple[fx.Effect, ...]) -> list[fx.Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


@pytest.fixture
def desk() -> Desk:
    """One worker encodes the first segment of four."""
    desk = Desk()
    desk.join("a")
    desk.submit()
    return desk


def running(desk: Desk, worker: str = "a") -> Epoch:
    (epoch, *_) = desk.offers(worker)
    desk.post(ev.AttemptStarted(epoch))
    return epoch


# --- leases -------------------------------------------------------------------------------------


def test_a_worker_that_comes_back_in_time_goes_on(desk: Desk) -> None:
    epoch = running(desk)
    desk.post(ev.WorkerLeft(WorkerId("a"), "gone", desk.now), 2.0)
    assert desk.state.workers[WorkerId("a")].state is WorkerState.ABSENT
    assert desk.offers("a") == [epoch]
    desk.now += 20.0
    effects = desk.join("a", ev.HeldAttempt(epoch, J))
    (resumed,) = of(fx.ResumeAttempt, effects)
    assert resumed.epoch == epoch
    assert not of(fx.RevokeAttempt, effects)
    assert desk.job().retries == 0
    desk.commit(epoch)
    assert desk.job().frames_committed == 100


def test_what_a_lease_covered_is_given_again_when_it_ends_and_the_late_result_is_refused(
    desk: Desk,
) -> None:
    epoch = running(desk)
    heard_at = desk.now
    desk.post(ev.WorkerLeft(WorkerId("a"), "gone", heard_at), 10.0)
    assert desk.state.next_wake(desk.now) == heard_at + 30.0
    desk.post(ev.Ticked(), 20.5)
    assert desk.offers("a") == []
    assert desk.state.counters.lease_expirations == 1
    effects = desk.join("a", ev.HeldAttempt(epoch, J, encoded=True))
    assert [effect.epoch for effect in of(fx.RevokeAttempt, effects)] == [epoch]
    assert desk.state.counters.superseded_results == 1
    desk.post(ev.AttemptDelivered(epoch, SegmentProof(100)))
    assert desk.job().frames_committed == 0


def test_an_idle_worker_overtakes_an_absent_one_only_when_nothing_else_is_left() -> None:
    desk = Desk()
    desk.join("a")
    desk.submit(200, (100,))
    epoch = running(desk)
    desk.post(ev.WorkerLeft(WorkerId("a"), "gone", desk.now))
    desk.join("b")
    # The trial of the newcomer, then the segment that nobody has.
    for _ in range(4):
        for offer in desk.offers("b"):
            desk.commit(offer)
    assert desk.job().state is JobState.COMBINING
    assert epoch not in desk.state.attempts


def test_a_worker_that_forgot_loses_its_attempts_at_once(desk: Desk) -> None:
    epoch = running(desk)
    desk.join("a")
    assert epoch not in desk.state.attempts
    assert desk.job().retries == 1


def test_what_was_only_offered_is_nobodys_failure(desk: Desk) -> None:
    (epoch, *_) = desk.offers("a")
    desk.join("a")
    assert epoch not in desk.state.attempts
    assert desk.job().retries == 0


def test_a_forged_claim_is_refused(desk: Desk) -> None:
    epoch = running(desk)
    effects = desk.join("b", ev.HeldAttempt(epoch, J), ev.HeldAttempt(Epoch(999), J))
    assert [effect.epoch for effect in of(fx.RevokeAttempt, effects)] == [epoch, 999]
    effects = desk.join("a", ev.HeldAttempt(epoch, JobId("other")))
    assert not of(fx.ResumeAttempt, effects)


# --- restarts -----------------------------------------------------------------------------------


def test_after_a_restart_committed_segments_are_kept_and_running_attempts_adopted(
    desk: Desk,
) -> None:
    desk.commit(running(desk))
    second = running(desk)
    (index,) = of(fx.IndexSource, desk.restart(3600.0))
    assert index.job_id == J
    # The worker may be back before the source is open; it is told when it is.
    assert not of(fx.ResumeAttempt, desk.join("a", ev.HeldAttempt(second, J)))
    effects = desk.index()
    assert [effect.epoch for effect in of(fx.ResumeAttempt, effects)] == [second]
    assert [effect.frames.first for effect in of(fx.JoinSegment, effects)] == [0]
    desk.commit(second)
    while desk.job().state is not JobState.COMBINING:
        desk.commit(desk.offers("a")[0])
    assert desk.job().retries == 0
    assert desk.state.counters.lease_expirations == 0


def test_a_worker_that_never_comes_back_after_a_restart_has_a_whole_lease(desk: Desk) -> None:
    running(desk)
    desk.restart(3600.0)
    desk.index()
    assert desk.state.next_wake(desk.now) == desk.now + 30.0
    assert desk.job().reason == "waiting for a to come back"
    desk.post(ev.Ticked(), 31.0)
    assert not desk.offers("a")


def test_a_result_that_was_being_checked_is_checked_again(desk: Desk) -> None:
    epoch = running(desk)
    desk.deliver(epoch)
    assert desk.state.attempts[epoch].state is AttemptState.CHECKING
    desk.restart()
    (check,) = of(fx.CheckResult, desk.index())
    assert check.epoch == epoch
    desk.post(ev.AttemptChecked(epoch, report(100, "sets")))
    assert desk.job().frames_committed == 100


def finish(desk: Desk) -> None:
    while desk.job().state is not JobState.COMBINING:
        desk.commit(desk.offers("a")[0])


def test_a_half_done_join_is_done_anew(desk: Desk) -> None:
    finish(desk)
    desk.restart()
    effects = desk.index()
    assert [effect.frames.first for effect in of(fx.JoinSegment, effects)] == [0, 100, 200, 300]
    assert len(of(fx.FinishJoin, effects)) == 1


def test_a_verified_file_is_published_without_another_join(desk: Desk) -> None:
    finish(desk)
    assert of(fx.Publish, desk.post(ev.JobVerified(J, OUTCOME)))
    desk.restart()
    effects = desk.index()
    assert [effect.outcome for effect in of(fx.Publish, effects)] == [OUTCOME]
    assert not of(fx.JoinSegment, effects)
    desk.post(ev.JobPublished(J, OUTCOME))
    assert desk.job().state is JobState.COMPLETED
    desk.restart()
    assert desk.job().state is JobState.COMPLETED
    assert desk.job().frames_committed == 400


def test_nothing_is_published_that_was_not_written_down_first(desk: Desk) -> None:
    finish(desk)
    desk.post(ev.JobPublished(J, OUTCOME))
    assert desk.job().state is JobState.COMBINING


def both(desk: Desk) -> None:
    """Two workers that write different kinds, so that trials decide."""
    desk.post(ev.WorkerJoined(WorkerId("a"), WorkerFacts("a", (capability(), NVENC))))
    desk.join("b")


def test_a_restart_in_mid_trial_begins_with_the_trials_again() -> None:
    desk = Desk(attrs.evolve(PUBLISHED, required_workers=2))
    both(desk)
    desk.submit()
    assert desk.job().trials
    desk.restart()
    desk.index()
    assert not desk.job().started
    both(desk)
    assert desk.job().trials


# --- the join ------------------------------------------------------------------------------------


def test_a_join_that_failed_for_want_of_space_waits_for_it_as_long_as_it_takes(desk: Desk) -> None:
    finish(desk)
    full = ErrorReport(Code.DISK_FULL, "no space left", retryable=True)
    for _ in range(10):
        assert of(fx.RestartJoin, desk.post(ev.JoinFailed(J, full)))
        assert "no space left" in desk.job().reason
        effects = desk.post(ev.Ticked(), 10.0)
        assert len(of(fx.JoinSegment, effects)) == 4
        assert len(of(fx.FinishJoin, effects)) == 1
    assert desk.job().state is JobState.COMBINING


def test_a_join_that_keeps_failing_fails_its_job(desk: Desk) -> None:
    finish(desk)
    broken = ErrorReport(Code.JOIN_FAILED, "it broke", retryable=True)
    for _ in range(4):
        desk.post(ev.JoinFailed(J, broken), 10.0)
        desk.post(ev.Ticked(), 10.0)
    assert desk.job().state is JobState.FAILED


def test_a_committed_result_that_was_lost_is_made_again(desk: Desk) -> None:
    finish(desk)
    lost = ErrorReport(Code.RESULT_INVALID, "the blob is gone", retryable=True)
    effects = desk.post(ev.SegmentLost(J, 100, lost))
    assert of(fx.RestartJoin, effects)
    assert desk.job().state is JobState.PROCESSING
    (epoch,) = desk.offers("a")
    assert desk.state.attempts[epoch].frames.first == 100
    effects = desk.commit(epoch)
    assert [e.frames.first for e in of(fx.JoinSegment, effects)] == [100, 200, 300]
    assert of(fx.FinishJoin, effects)


# --- control -------------------------------------------------------------------------------------


def test_a_paused_job_finishes_what_runs_and_starts_nothing(desk: Desk) -> None:
    epoch = running(desk)
    desk.post(ev.JobPaused(J))
    desk.commit(epoch)
    assert desk.offers("a") == []
    assert desk.job().reason == "paused"
    desk.restart()
    desk.join("a")
    desk.index()
    assert desk.job().paused
    assert desk.offers("a") == []
    desk.post(ev.JobResumed(J))
    assert desk.offers("a")


def test_a_failed_job_goes_on_from_what_was_committed(desk: Desk) -> None:
    desk.commit(running(desk))
    effects = desk.post(ev.JobFailed(J, ErrorReport(Code.SOURCE_MISSING, "gone")))
    assert of(fx.CloseJob, effects) == [fx.CloseJob(J, keep=True)]
    desk.restart()
    assert of(fx.IndexSource, desk.post(ev.JobRetried(J)))
    desk.join("a")
    desk.index()
    assert desk.job().frames_committed == 100
    finish(desk)


def test_a_retry_stores_nothing_of_the_segments_that_it_leaves_as_they_are(desk: Desk) -> None:
    desk.commit(running(desk))
    desk.post(ev.JobFailed(J, ErrorReport(Code.SOURCE_MISSING, "gone")))
    desk.state.handle(ev.JobRetried(J), desk.now)
    assert 0 not in {entry.frames.first for entry in desk.state.take_changes().segments}


def test_a_cancelled_job_that_is_retried_begins_from_the_start(desk: Desk) -> None:
    desk.commit(running(desk))
    assert of(fx.CloseJob, desk.post(ev.JobCancelled(J))) == [fx.CloseJob(J, keep=False)]
    desk.post(ev.JobRetried(J))
    desk.index()
    assert desk.job().frames_committed == 0
    finish(desk)


def test_kept_results_expire(desk: Desk) -> None:
    desk.commit(running(desk))
    desk.post(ev.JobFailed(J, ErrorReport(Code.SOURCE_MISSING, "gone")))
    assert of(fx.ForgetJob, desk.post(ev.ResultsExpired(J)))
    desk.post(ev.JobRetried(J))
    desk.index()
    assert desk.job().frames_committed == 0


def test_a_removed_job_is_gone_for_good(desk: Desk) -> None:
    desk.post(ev.JobRemoved(J))
    assert J in desk.state.jobs
    desk.post(ev.JobCancelled(J))
    assert of(fx.ForgetJob, desk.post(ev.JobRemoved(J)))
    desk.restart()
    assert not desk.state.jobs


def test_the_job_with_the_higher_priority_gets_the_workers() -> None:
    desk = Desk()
    desk.submit()
    other = JobId("urgent")
    desk.post(ev.JobSubmitted(other, spec(cut_frames=(100,)), Source("b"), priority=5))
    desk.post(ev.SourceIndexed(other, summary(200)))
    desk.join("a")
    assert {desk.state.attempts[e].job_id for e in desk.offers("a")} == {other}
    desk.post(ev.JobPrioritised(J, 9))
    for epoch in desk.offers("a"):
        desk.commit(epoch)
    assert J in {desk.state.attempts[e].job_id for e in desk.offers("a")}


def test_an_operators_drain_outlives_session_and_restart(desk: Desk) -> None:
    worker = WorkerId("a")
    epoch = running(desk)
    desk.post(ev.WorkerDraining(worker, by_operator=True))
    desk.commit(epoch)
    assert desk.offers("a") == []
    desk.restart()
    desk.index()
    desk.join("a")
    assert desk.state.workers[worker].draining
    assert desk.offers("a") == []
    desk.post(ev.WorkerResumed(worker))
    assert desk.offers("a")


def test_a_removed_worker_is_dismissed_and_its_work_is_given_to_others(desk: Desk) -> None:
    first = running(desk)
    desk.commit(first)
    second = running(desk)
    effects = desk.post(ev.WorkerRemoved(WorkerId("a")))
    assert of(fx.DismissWorker, effects) == [fx.DismissWorker(WorkerId("a"))]
    assert second not in desk.state.attempts
    assert WorkerId("a") not in desk.state.workers
    desk.restart()
    desk.index()
    desk.join("b")
    assert desk.offers("b")


def test_nothing_is_offered_while_there_is_no_room(desk: Desk) -> None:
    epoch = running(desk)
    desk.post(ev.SpaceChanged("the state directory is full"))
    desk.commit(epoch)
    for waiting in desk.offers("a"):
        desk.post(ev.AttemptReturned(waiting))
    assert desk.offers("a") == []
    assert desk.job().reason == "the state directory is full"
    desk.post(ev.SpaceChanged(""))
    assert desk.offers("a")


def test_duplicates_and_replays_change_nothing(desk: Desk) -> None:
    epoch = running(desk)
    desk.commit(epoch)
    before = desk.store.segments.copy()
    for event in (
        ev.AttemptStarted(epoch),
        ev.AttemptDelivered(epoch, SegmentProof(100)),
        ev.AttemptChecked(epoch, report(100, "other")),
        ev.AttemptFailed(epoch, ErrorReport(Code.ENCODE_FAILED, "late")),
        ev.AttemptReturned(epoch),
    ):
        desk.post(event)
    assert desk.store.segments == before


def test_events_are_numbered_without_gaps_over_restarts(desk: Desk) -> None:
    desk.commit(running(desk))
    desk.restart()
    desk.index()
    desk.join("a")
    desk.post(ev.JobCancelled(J))
    numbers = [event.number for event in desk.store.events]
    assert numbers == list(range(1, len(numbers) + 1))
    kinds = [event.kind for event in desk.store.events]
    assert kinds.count("worker.joined") == 2
    assert ("state", "Cancelled") in desk.store.events[-1].data
