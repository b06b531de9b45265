"""What failures mean: the table, and how a segment's failures add up."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ffcluster.core import effects as fx
from ffcluster.core import events as ev
from ffcluster.core.cluster import Policy
from ffcluster.core.job import JobState
from ffcluster.core.judgement import (
    ENVIRONMENT_BOUND,
    LOST_BOUND,
    MAX_DELAY_S,
    Fault,
    Losses,
    culprits,
    delay_s,
    hopeless,
    meaning_of,
    tries,
)
from ffcluster.core.model import CapabilityKey, Epoch, SegmentProof, WorkerId
from ffcluster.core.segment import AttemptFailure, PostKey
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import Code, ErrorReport
from tests.core.cluster_model import Simulation, capability, facts


def failures(*each: tuple[str, Code]) -> list[AttemptFailure]:
    return [
        AttemptFailure(
            Epoch(number),
            PostKey(WorkerId(worker), CapabilityKey("libx264", "")),
            worker,
            ErrorReport(code, "boom"),
        )
        for number, (worker, code) in enumerate(each, 1)
    ]


NONE = Losses(lost=0, committed=0)
BROKEN, LOST, LATE = Code.ENCODE_FAILED, Code.WORKER_LOST, Code.TRANSFER_FAILED


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_meaning_that_is_sound_in_itself(code: Code) -> None:
    meaning = meaning_of(code)
    # Whatever does not count must be bounded, or keep its worker from failing again at once.
    assert meaning.counts or meaning.bound or meaning.rest_s
    assert not meaning.against_device or meaning.counts
    assert meaning.kept or not meaning.bound


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (Code.ENCODE_FAILED, Fault.SEGMENT),
        (Code.ENCODE_STALLED, Fault.SEGMENT),
        (Code.RESULT_INVALID, Fault.SEGMENT),
        (Code.INTERNAL, Fault.SEGMENT),
        (Code.ENCODER_BUSY, Fault.DEVICE),
        (Code.DISK_FULL, Fault.WORKER),
        (Code.WORKER_LOST, Fault.WORKER),
        (Code.TRANSFER_FAILED, Fault.ENVIRONMENT),
        (Code.HELPER_DIED, Fault.ENVIRONMENT),
        (Code.UNREACHABLE, Fault.ENVIRONMENT),
    ],
)
def test_whose_fault_a_failure_is(code: Code, fault: Fault) -> None:
    assert meaning_of(code).fault is fault


def test_failures_on_enough_different_workers_are_proof() -> None:
    two = failures(("a", BROKEN), ("b", BROKEN))
    assert not hopeless(two, max_retries=9, poison_after=3, losses=NONE)
    assert hopeless([*two, *failures(("c", BROKEN))], max_retries=9, poison_after=3, losses=NONE)
    assert list(culprits(two)) == ["a", "b"]


def test_failures_on_one_worker_are_proof_only_after_the_retries() -> None:
    assert not hopeless(failures(*[("a", BROKEN)] * 3), max_retries=3, poison_after=3, losses=NONE)
    assert hopeless(failures(*[("a", BROKEN)] * 4), max_retries=3, poison_after=3, losses=NONE)


def test_a_segment_that_takes_down_one_worker_after_the_other_is_hopeless() -> None:
    quiet = Losses(lost=0, committed=60)
    lost = failures(("a", LOST), ("b", LOST), ("c", LOST))
    assert not hopeless(lost[:2], max_retries=9, poison_after=3, losses=quiet)
    assert hopeless(lost, max_retries=9, poison_after=3, losses=quiet)
    assert hopeless([*lost[:2], *failures(("c", BROKEN))], 9, 3, quiet)


def test_losing_the_same_worker_again_is_no_further_proof_and_no_retry() -> None:
    lost = failures(*[("a", LOST)] * LOST_BOUND)
    assert tries(lost) == 0
    assert not hopeless(lost, max_retries=0, poison_after=3, losses=Losses(0, 20))


def test_where_workers_come_and_go_losses_are_put_down_to_chance_up_to_a_point() -> None:
    lost = failures(*[(name, LOST) for name in "abcdefgh"])
    churn = Losses(lost=20, committed=60)
    assert not hopeless(lost[:3], max_retries=2, poison_after=3, losses=churn)
    assert hopeless(lost, max_retries=2, poison_after=3, losses=churn)


def test_while_nothing_is_known_losses_are_put_down_to_chance_for_longer() -> None:
    lost = failures(*[(name, LOST) for name in "abcabc"])
    assert not hopeless(lost[:5], max_retries=0, poison_after=3, losses=NONE)
    assert hopeless(lost, max_retries=0, poison_after=3, losses=NONE)


def test_chance_excuses_losses_only() -> None:
    mixed = failures(("a", BROKEN), ("b", BROKEN), ("c", BROKEN), ("d", LOST))
    assert hopeless(mixed, max_retries=9, poison_after=3, losses=Losses(20, 60))


def test_losing_workers_for_ever_ends_at_last() -> None:
    lost = failures(*[("a", LOST)] * (LOST_BOUND + 1))
    assert not hopeless(lost[:-1], max_retries=3, poison_after=3, losses=NONE)
    assert hopeless(lost, max_retries=3, poison_after=3, losses=NONE)


def test_what_the_network_does_counts_against_nobody_but_is_bounded() -> None:
    names = "abcdefghij"
    torn = failures(*[(names[n % 10], LATE) for n in range(ENVIRONMENT_BOUND + 1)])
    assert not culprits(torn)
    assert tries(torn) == 0
    assert not hopeless(torn[:-1], max_retries=0, poison_after=1, losses=NONE)
    assert hopeless(torn, max_retries=0, poison_after=1, losses=NONE)


def test_more_retries_than_the_bound_raise_it() -> None:
    torn = failures(*[("a", LATE)] * (ENVIRONMENT_BOUND + 1))
    assert not hopeless(torn, max_retries=100, poison_after=3, losses=NONE)


def test_the_bound_of_one_code_does_not_count_the_others() -> None:
    mixed = failures(*[("a", LATE), ("a", Code.HELPER_DIED)] * ENVIRONMENT_BOUND)
    assert not hopeless(mixed, max_retries=3, poison_after=3, losses=NONE)


def test_delays_double_up_to_a_cap() -> None:
    delays = [delay_s(failures(*[("a", BROKEN)] * n), 5.0) for n in range(1, 7)]
    assert delays == [5.0, 10.0, 20.0, 40.0, MAX_DELAY_S, MAX_DELAY_S]
    assert delay_s(failures(*[("a", BROKEN)] * 5000), 5.0) == MAX_DELAY_S


def test_a_first_delay_beyond_the_cap_stays_as_it_is() -> None:
    assert delay_s(failures(("a", BROKEN)), 100.0) == 100.0
    assert delay_s(failures(*[("a", BROKEN)] * 3), 100.0) == 100.0


def test_a_lost_worker_delays_nothing_and_lengthens_no_later_delay() -> None:
    assert delay_s(failures(("a", LOST)), 5.0) == 0.0
    assert delay_s(failures(("a", LOST), ("b", BROKEN)), 5.0) == 5.0


# --- in the cluster ----------------------------------------------------------------------------

CUTS = tuple(range(100, 2_000, 100))
BOOM = ErrorReport(
    Code.ENCODE_FAILED,
    "ffmpeg exited with 1",
    detail={"stderr": "\n".join(f"line {number}" for number in range(50))},
    retryable=True,
)
FULL = ErrorReport(Code.DISK_FULL, "no space left on device", retryable=True)


def cluster(*names: str, **policy: object) -> Simulation:
    sim = Simulation(Policy(required_workers=len(names), retry_delay_s=1, **policy))
    for name in names:
        sim.join(name)
    return sim


def poison(first: int) -> Callable[[fx.OfferAttempt], ErrorReport | None]:
    return lambda offer: BOOM if not offer.trial and offer.frames.first == first else None


def test_a_poisonous_segment_fails_its_job_at_once_with_all_the_evidence() -> None:
    sim = cluster(*"abcde", max_retries=50)
    sim.fail = poison(300)
    job = sim.submit("j", 2_000, cut_frames=CUTS)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.message.startswith(
        "frames 300 to 399 failed 3 times on 3 different workers, last on "
    )
    evidence = job.error.detail["failures"]
    assert len({failure["worker"] for failure in evidence}) == 3
    assert {failure["code"] for failure in evidence} == {"encode_failed"}
    assert evidence[0]["stderr"].splitlines() == [f"line {number}" for number in range(40, 50)]


def test_with_fewer_workers_than_it_takes_for_proof_the_retries_decide() -> None:
    sim = cluster("a", "b", max_retries=4)
    sim.fail = poison(300)
    job = sim.submit("j", 2_000, cut_frames=CUTS)
    sim.run()
    assert job.state is JobState.FAILED
    assert len(job.error.detail["failures"]) == 5


def test_who_wants_the_rest_gets_it_without_the_segment_that_cannot_be_encoded() -> None:
    sim = cluster(*"abc")
    sim.fail = poison(300)
    job = sim.submit("j", 2_000, cut_frames=CUTS, allow_missing=True)
    sim.run()
    assert job.state is JobState.COMPLETED
    assert job.missing() == (FrameRange(300, 400),)
    assert job.outcome.missing == job.missing()
    assert job.outcome.frame_count == 1_900
    assert (300, 400) not in sim.joined[job.id]
    assert sim.joined[job.id] == sorted(sim.joined[job.id])
    assert [e.data for e in sim.store.events if e.kind == "segment.missing"]


def test_a_job_of_which_nothing_can_be_encoded_fails_also_when_it_may_miss_some() -> None:
    sim = cluster(*"abc")
    sim.fail = lambda offer: None if offer.trial else BOOM
    job = sim.submit("j", 300, cut_frames=(100, 200), allow_missing=True)
    sim.run()
    assert job.state is JobState.FAILED
    assert job.error.code is Code.ENCODE_FAILED


def test_a_segment_is_not_given_up_while_another_attempt_at_it_is_on_its_way() -> None:
    sim = cluster("a", "b", max_retries=0, lease_s=1_000.0)
    job = sim.submit("j", 4_000, cut_frames=(2_000,))
    sim.run(until_s=10)
    (first,) = sim.state.workers[WorkerId("a")].attempts
    segment = job.segments[sim.state.attempts[first].frames.first]
    sim.fail = lambda offer: BOOM if offer.frames == segment.frames else None
    sim.vanish("a")
    sim.run(until_s=200)
    assert [failure.worker_name for failure in segment.failures] == ["b"]
    assert job.state is JobState.PROCESSING
    held = ev.HeldAttempt(first, job.id, encoded=True)
    sim.post(ev.WorkerJoined(WorkerId("a"), facts("a"), (held,)))
    sim.post(ev.AttemptDelivered(first, SegmentProof(2_000)))
    sim.run()
    sim.assert_whole(job)


def test_a_worker_with_a_full_disk_rests_and_the_others_go_on_without_a_failure() -> None:
    sim = cluster("full", "well", max_retries=0)
    sim.fail = lambda o: FULL if o.worker_id == "full" and not o.trial and sim.now < 300 else None
    job = sim.submit("j", 20_000)
    sim.run()
    sim.assert_whole(job)
    assert all(not segment.failures for segment in job.segments.values())
    tried = [o for o in sim.offers if o.worker_id == "full" and not o.trial]
    assert 2 <= len(tried) <= 15


def test_alone_with_a_full_disk_a_job_waits_and_says_until_when() -> None:
    sim = cluster("a", max_retries=0)
    sim.fail = lambda offer: FULL if sim.now < 200 else None
    job = sim.submit("j", 2_000)
    sim.run(until_s=30)
    assert job.state is JobState.WAITING_FOR_CLIENTS
    assert re.fullmatch(r"a rests until \d\d:\d\d:\d\d UTC: no space left on device", job.reason)
    sim.run()
    sim.assert_whole(job)


def test_trials_on_a_full_disk_are_made_again_when_there_is_room() -> None:
    nvenc = capability("h264_nvenc", "cuda:0")
    sim = Simulation(Policy(required_workers=1, retry_delay_s=1, max_retries=0))
    sim.join("a", 50.0, 1, nvenc)
    sim.fail = lambda offer: FULL if sim.now < 100 else None
    job = sim.submit("j", 2_000)
    sim.run()
    sim.assert_whole(job)


def test_a_result_that_arrives_together_with_the_news_of_its_start_gives_the_true_rate() -> None:
    sim = cluster("a")
    job = sim.submit("j", 5_000)
    sim.run(until_s=0.12)
    (epoch,) = sim.state.attempts
    frames = len(sim.state.attempts[epoch].frames)
    sim.workers[WorkerId("a")].devices[""].queue.clear()
    sim.now += 10.0
    for event in (
        ev.AttemptStarted(epoch),
        ev.AttemptDelivered(epoch, SegmentProof(frames, encode_s=9.0)),
    ):
        sim.post(event)
    (rate,) = sim.state.workers[WorkerId("a")].rates.values()
    assert rate.fps == pytest.approx(frames / 9.0)
    sim.run()
    sim.assert_whole(job)


def test_a_result_in_no_time_teaches_no_rate() -> None:
    sim = cluster("a")
    sim.submit("j", 5_000)
    sim.run(until_s=0.12)
    (epoch,) = sim.state.attempts
    sim.now = sim.state.attempts[epoch].offered_at
    sim.post(ev.AttemptDelivered(epoch, SegmentProof(250)))
    assert not sim.state.workers[WorkerId("a")].rates


def test_what_an_absent_worker_has_is_overtaken_by_whoever_is_idle() -> None:
    sim = cluster("a", "b", lease_s=1_000.0)
    job = sim.submit("j", 4_000, cut_frames=(2_000,))
    sim.run(until_s=10)
    sim.vanish("a")
    sim.run(until_s=200)
    sim.assert_whole(job)
    assert job.retries == 0
