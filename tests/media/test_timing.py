"""Times of packets from times of frames."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ffcluster.media.timing import decode_time, ranks, reorder_delay, rescale, to_seconds


def test_ranks_and_delay_of_a_pyramid() -> None:
    times = [0, 8, 4, 2, 6]
    assert ranks(times) == [0, 4, 2, 1, 3]
    assert reorder_delay(ranks(times)) == 2


@given(st.permutations(range(12)), st.lists(st.integers(1, 500), min_size=12, max_size=12))
def test_decoding_times_ascend_and_never_exceed_presentation(
    order: list[int], gaps: list[int]
) -> None:
    shown = [sum(gaps[: n + 1]) for n in range(12)]
    delay = reorder_delay(order)
    dts = [decode_time(shown, n, delay, 7) for n in range(12)]
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(time <= shown[rank] for time, rank in zip(dts, order, strict=True))


def test_rescaling_rounds_halves_away_from_zero() -> None:
    millisecond, tick = Fraction(1, 1000), Fraction(1, 90000)
    assert rescale(33, millisecond, tick) == 2970
    assert rescale(45, tick, millisecond) == 1
    assert rescale(-45, tick, millisecond) == -1
    assert rescale(44, tick, millisecond) == 0


def test_seconds_stay_exact() -> None:
    assert Fraction(to_seconds(Fraction(1, 2), Fraction(1001, 30000))) == Fraction(1001, 60000)
