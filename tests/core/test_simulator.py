"""A few hundred simulated worlds; `python -m tests.sim` runs as many as one likes."""

from __future__ import annotations

import pytest

from tests.sim.runs import Scale, run

_SMALL = Scale(check_every=5)
_TIGHT = Scale(machines=3, jobs=3, frames=1500, pause_s=2.0, check_every=5)
_LARGE = Scale(
    machines=120,
    jobs=4,
    frames=15_000,
    chaos_s=60.0,
    pause_s=0.5,
    check_every=200,
    validate_every=50,
)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_whatever_goes_wrong_every_job_ends_whole_or_for_a_true_reason(first: int) -> None:
    for seed in range(first, first + 20):
        run(seed, _SMALL)


@pytest.mark.parametrize("first", range(1000, 1100, 20))
def test_trouble_upon_trouble_loses_nothing(first: int) -> None:
    for seed in range(first, first + 20):
        run(seed, _TIGHT)


def test_a_hundred_machines_lose_nothing() -> None:
    story = run(1, _LARGE)
    assert story.crashes
    assert story.completed


def test_the_same_seed_tells_the_same_story() -> None:
    assert run(7, _SMALL) == run(7, _SMALL)
