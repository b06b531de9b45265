"""What was tried for jobs: read in portions, kept up to date, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed

from ffcluster.core.durable import AttemptEnd, AttemptEntry, Changes
from ffcluster.core.model import Capability, Epoch, JobId, WorkerId
from ffcluster.core.profile import Codec
from ffcluster.core.timeline import FrameRange
from ffcluster.services.viewing import spans as module
from ffcluster.services.viewing.spans import Spans
from ffcluster.store.opening import open_store
from ffcluster.store.relational import RelationalStore
from tests.store.entries import segment
from tests.store.store_contract import job

T = TypeVar("T")
A, B = JobId("a"), JobId("b")


def attempt(epoch: int, job_id: JobId = A, **fields: Any) -> AttemptEntry:
    return AttemptEntry(
        Epoch(epoch), job_id, FrameRange(0, 10), WorkerId("w"), "attic",
        Capability("libx264", Codec.H264), "running", 1.0, **fields,
    )  # fmt: skip


class Reader:
    """Asks the store at once, or when the test says so."""

    def __init__(self, store: RelationalStore) -> None:
        self.store = store
        self.asked = 0
        self.held: Deferred[None] | None = None

    def read(self, question: Callable[[RelationalStore], T]) -> Deferred[T]:
        self.asked += 1
        found = question(self.store)
        if self.held is None:
            return succeed(found)
        held, self.held = self.held, None
        return held.addCallback(lambda _: found)


@pytest.fixture
def reader(tmp_path: Any) -> Iterator[Reader]:
    store: Any = open_store("sqlite:///jobs.db", tmp_path)
    store.open()
    yield Reader(store)
    store.close()


@pytest.fixture
def spans(reader: Reader) -> Spans:
    return Spans(reader)  # type: ignore[arg-type]


def made(spans: Spans, job_id: JobId = A) -> dict[int, str]:
    """Epochs and ends of a job's attempts."""
    asked = ensureDeferred(spans.attempts(job_id))
    return {span.epoch: span.end for span in asked.result}  # type: ignore[union-attr]


def test_attempts_are_read_once_in_portions(
    spans: Spans, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION", 2)
    reader.store.apply([Changes(jobs=(job("a"),), attempts=tuple(map(attempt, range(1, 6))))])
    assert sorted(made(spans)) == [1, 2, 3, 4, 5]
    assert reader.asked == 4
    assert sorted(made(spans)) == [1, 2, 3, 4, 5]
    assert reader.asked == 4


def test_what_is_stored_later_is_told(spans: Spans, reader: Reader) -> None:
    reader.store.apply([Changes(jobs=(job("a"),), attempts=(attempt(1),))])
    assert made(spans) == {1: "live"}
    failed = attempt(1, end=AttemptEnd.FAILED)
    spans.stored([Changes(attempts=(failed, attempt(2), attempt(3, B)))])
    assert made(spans) == {1: "failed", 2: "live"}


def test_what_is_told_while_it_is_read_is_the_newer(spans: Spans, reader: Reader) -> None:
    reader.store.apply([Changes(jobs=(job("a"),), attempts=(attempt(1), attempt(2)))])
    held = reader.held = Deferred()
    one, other = (ensureDeferred(spans.attempts(A)) for _ in range(2))
    spans.stored([Changes(attempts=(attempt(2, end=AttemptEnd.COMMITTED), attempt(3)))])
    held.callback(None)
    for asked in (one, other):
        ends = {span.epoch: span.end for span in asked.result}  # type: ignore[union-attr]
        assert ends == {1: "live", 2: "committed", 3: "live"}
    assert reader.asked == 2


def test_all_who_wait_are_told_when_it_cannot_be_read(spans: Spans, reader: Reader) -> None:
    held = reader.held = Deferred()
    asked = [ensureDeferred(spans.attempts(A)) for _ in range(2)]
    held.errback(OSError("gone"))
    for one in asked:
        with pytest.raises(OSError, match="gone"):
            one.result.raiseException()  # type: ignore[union-attr]
        one.addErrback(lambda _: None)
    assert made(spans) == {}


def test_job_that_is_removed_is_forgotten(spans: Spans, reader: Reader) -> None:
    reader.store.apply([Changes(jobs=(job("a"),), attempts=(attempt(1),))])
    assert made(spans) == {1: "live"}
    removed = Changes(removed_jobs=(A,))
    reader.store.apply([removed])
    spans.stored([removed])
    assert made(spans) == {}


def test_jobs_that_nobody_looks_at_make_room(
    spans: Spans, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_SPANS", 3)
    attempts = (attempt(1), attempt(2), attempt(3, B), attempt(4, B))
    reader.store.apply([Changes(jobs=(job("a"), job("b")), attempts=attempts)])
    assert sorted(made(spans)) == [1, 2]
    assert sorted(made(spans, B)) == [3, 4]
    before = reader.asked
    assert sorted(made(spans, B)) == [3, 4]
    assert reader.asked == before
    assert sorted(made(spans)) == [1, 2]
    assert reader.asked > before


def test_film_that_is_over_is_read_with_who_made_it(
    spans: Spans, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION", 1)
    segments = [
        attrs.evolve(segment("a", first), state="committed", committed=epoch, tried=tried)
        for first, epoch, tried in ((0, 2, 2), (10, 3, 1))
    ]
    attempts = (
        attempt(1, end=AttemptEnd.FAILED),
        attempt(2, end=AttemptEnd.COMMITTED, speculative=True),
        attempt(3, end=AttemptEnd.COMMITTED),
    )
    reader.store.apply([Changes(jobs=(job("a"),), segments=tuple(segments), attempts=attempts)])
    film: Any = ensureDeferred(spans.film(A)).result
    assert [(s.first, s.stop, s.worker, s.retries, s.speculative) for s in film] == [
        (0, 10, "attic", 1, True),
        (10, 20, "attic", 0, False),
    ]


def test_single_attempt_is_found_by_its_number_and_job(spans: Spans, reader: Reader) -> None:
    reader.store.apply([Changes(jobs=(job("a"), job("b")), attempts=(attempt(5), attempt(7, B)))])

    def found(job_id: JobId, epoch: int) -> Any:
        return ensureDeferred(spans.attempt(job_id, epoch)).result

    assert found(A, 5) == attempt(5)
    assert found(A, 4) is None
    assert found(A, 7) is None
    assert found(B, 7) == attempt(7, B)
