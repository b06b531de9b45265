"""Garbage is found in time, without looking at everything that there is each time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from ffcluster.services.coordinator import garbage as garbage_module
from ffcluster.services.coordinator.garbage import Garbage


class _Ring:
    """Keeps itself alive, so that only a search finds it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    found = Garbage()
    found.begin()
    yield found
    found.end()


def test_what_lasts_is_looked_at_once_and_what_is_new_each_time(garbage: Garbage) -> None:
    lasting, new = _Ring(), _Ring()
    gone = weakref.ref(new)
    garbage.search()
    assert gone() is not None
    del new
    garbage.search()
    assert gone() is not None
    later = _Ring()
    found = weakref.ref(later)
    del later
    garbage.search()
    assert found() is None
    assert lasting.itself is lasting


def test_everything_is_looked_at_when_twice_as_much_lives(
    garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage_module, "_LEAST", 0)
    garbage.search()
    ring = _Ring()
    gone = weakref.ref(ring)
    garbage.search()
    del ring
    more = [_Ring() for _ in range(3 * gc.get_freeze_count())]
    garbage.search()
    assert gone() is not None
    garbage.search()
    assert gone() is None
    assert more


def test_python_searches_by_itself_again_when_the_coordinator_ended() -> None:
    usual, own = gc.get_threshold(), Garbage()
    own.begin()
    assert gc.get_threshold()[:2] == usual[:2]
    assert gc.get_threshold()[2] > 10**9
    own.end()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
