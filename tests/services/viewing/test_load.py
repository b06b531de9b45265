"""What workers say of their machines: shown while it is fresh, forgotten with the worker."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core.durable import Changes
from ffcluster.core.load import FRESH_S, GpuLoad, WorkerLoad
from ffcluster.core.model import WorkerId
from ffcluster.core.views import WorkerView
from ffcluster.services.viewing.load import Loads

ATTIC = WorkerId("attic")
LOAD = WorkerLoad(50.0, 10, 20, (GpuLoad("card", 99.0, 1, 2, 60.0),))
VIEW = WorkerView("attic", "attic", "Idle", "", "", "", "", 4)


@attrs.define
class Clock:
    now: float = 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changed() -> list[WorkerId]:
    return []


@pytest.fixture
def loads(clock: Clock, changed: list[WorkerId]) -> Loads:
    return Loads(lambda: clock.now, changed.append)


def test_load_is_shown_while_it_is_fresh(
    loads: Loads, clock: Clock, changed: list[WorkerId]
) -> None:
    assert loads.load_of(ATTIC) is None
    loads.told(ATTIC, LOAD)
    assert loads.load_of(ATTIC) == LOAD
    assert changed == [ATTIC]
    assert loads.completed(VIEW).load == LOAD
    clock.now += FRESH_S + 1
    assert loads.load_of(ATTIC) is None


def test_last_word_is_remembered_when_the_session_ends(loads: Loads) -> None:
    heard_at = 990.0
    loads.opened(ATTIC, lambda: heard_at)
    loads.told(ATTIC, LOAD)
    heard_at = 999.0
    assert loads.last_heard_at(ATTIC) == 999.0
    loads.closed(ATTIC)
    heard_at = 5000.0
    assert loads.last_heard_at(ATTIC) == 999.0
    assert loads.load_of(ATTIC) is None
    assert loads.completed(VIEW) == attrs.evolve(VIEW, last_heard_at=999.0)


def test_worker_that_is_removed_is_forgotten(loads: Loads) -> None:
    loads.opened(ATTIC, lambda: 1.0)
    loads.told(ATTIC, LOAD)
    loads.stored([Changes(removed_workers=(ATTIC,))])
    assert loads.load_of(ATTIC) is None
    assert loads.last_heard_at(ATTIC) is None
