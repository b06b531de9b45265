"""What failures mean: the table, and how a segment's failures add up."""

from __future__ import annotations

import pytest

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
from ffcluster.core.model import CapabilityKey, Epoch, WorkerId
from ffcluster.core.segment import AttemptFailure, PostKey
from ffcluster.errors import Code, ErrorReport


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
