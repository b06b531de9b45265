"""Which pictures are taken for the source's, on pictures made up of a few samples."""

from __future__ import annotations

import random

import pytest

from ffcluster.media.likeness import Picture, least_db, objection

_OFFSETS = (-3, -2, -1, 1, 2, 3)


def picture(*samples: int) -> Picture:
    """A picture of 64 samples that repeats these."""
    fine = bytes(samples[n % len(samples)] for n in range(64))
    return Picture(fine, fine)


def moving(frames: int, step: int = 24) -> dict[int, Picture]:
    """A bar that moves on, a few samples a frame."""
    return {
        k: Picture(*2 * (bytes(90 if (n - k * step) % 64 < 16 else 50 for n in range(64)),))
        for k in range(frames)
    }


def noisy(one: Picture, amount: int, seed: int = 1) -> Picture:
    chance = random.Random(seed)
    fine = bytes(min(255, max(0, s + chance.randint(-amount, amount))) for s in one.fine)
    # Noise averages out in the coarse picture.
    return Picture(fine, one.coarse)


def taken(source: dict[int, Picture], first: int, count: int, off: int) -> dict[int, Picture]:
    """What a result shows for `count` frames from `first` on when it is `off` frames off."""
    return {k: source[k + off] for k in range(first, first + count)}


def test_equal_pictures_are_right() -> None:
    source = moving(12)
    result = taken(source, 4, 4, 0)
    assert objection(result, source, _OFFSETS) is None
    assert least_db(result, source) == 100.0


@pytest.mark.parametrize("off", _OFFSETS)
def test_shift_at_a_moving_scene_is_noticed(off: int) -> None:
    source = moving(12, step=2)
    found = objection(taken(source, 4, 4, off), source, _OFFSETS)
    assert found is not None
    assert (found.frame, found.resembles) == (4, 4 + off)


@pytest.mark.parametrize("off", _OFFSETS)
def test_shift_of_a_standing_picture_is_not_held_against_it(off: int) -> None:
    source = {k: noisy(picture(30, 200, 90), 1, seed=k) for k in range(12)}
    assert objection(taken(source, 4, 4, off), source, _OFFSETS) is None


def test_poor_quality_is_no_reason_to_refuse() -> None:
    source = moving(12, step=2)
    result = {k: noisy(source[k], 60, seed=k) for k in range(4, 8)}
    assert objection(result, source, _OFFSETS) is None
    assert least_db(result, source) < 20  # type: ignore[operator]


def test_shift_shows_through_poor_quality() -> None:
    source = moving(12, step=4)
    result = {k: noisy(source[k + 1], 10, seed=k) for k in range(4, 8)}
    assert objection(result, source, _OFFSETS) is not None


def test_picture_that_is_repeated_to_save_bits_is_right() -> None:
    """At very low rates an encoder leaves the picture as it was for some frames."""
    source = moving(12, step=2)
    result = {4: source[4], 5: source[4], 6: source[4], 7: source[4]}
    assert objection(result, source, _OFFSETS) is None


def test_blinking_pictures_of_which_some_are_passed_over_are_right() -> None:
    one, other = picture(20, 220), picture(220, 20)
    source = {k: other if k % 2 else one for k in range(12)}
    result = dict.fromkeys(range(4, 8), one)
    # Half of them are far off singly, so only the others are asked about here.
    assert objection(result, {k: source[k] for k in (3, 4, 6, 8)}, _OFFSETS) is None


def test_other_scene_is_refused_without_knowing_which() -> None:
    source = moving(12)
    other = picture(220, 220, 220, 20, 20, 20, 20)
    found = objection(dict.fromkeys(range(4, 8), other), source, ())
    assert found is not None
    assert found.resembles is None


def test_one_black_picture_in_a_bright_scene_is_refused() -> None:
    source = dict.fromkeys(range(12), picture(150, 180, 160))
    result = taken(source, 4, 4, 0) | {5: picture(0)}
    found = objection(result, source, _OFFSETS)
    assert found is not None
    assert found.frame == 5


def test_exchanged_segment_is_told_by_the_frames_that_it_shows() -> None:
    face, other = picture(100, 120, 140, 120), picture(100, 120, 140, 150)
    source = dict.fromkeys(range(4, 8), face) | dict.fromkeys(range(104, 108), other)
    result = {k: noisy(other, 2, seed=k) for k in range(4, 8)}
    assert objection(result, source, _OFFSETS) is None
    found = objection(result, source, (100,))
    assert found is not None
    assert found.resembles == 104


def test_frames_before_the_segment_are_not_needed() -> None:
    source = {k: p for k, p in moving(12, step=4).items() if k >= 4}
    assert objection(taken(moving(12, step=4), 4, 4, -1), source, _OFFSETS) is not None


def test_too_few_pictures_say_nothing_of_a_shift() -> None:
    source = {k: p for k, p in moving(12, step=2).items() if k in (4, 5, 6)}
    result = {4: source[4], 5: source[4], 6: source[5], 7: source[5]}
    assert objection(result, source, (-1,)) is None


def test_nothing_to_compare_is_no_likeness() -> None:
    assert least_db({1: picture(1)}, {2: picture(1)}) is None
    assert objection({1: picture(1)}, {2: picture(1)}, _OFFSETS) is None
