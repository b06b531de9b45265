"""What was tried for the jobs that somebody looks at: read once, and kept up to date from then on.

The database is read in small portions, so that what is decided meanwhile is stored between them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ffcluster.core.durable import AttemptEntry, Changes, SegmentEntry
from ffcluster.core.model import JobId
from ffcluster.core.picturing import AttemptSpan, Stretch, span_of, stored_stretches
from ffcluster.services.keeping.past import Reader
from ffcluster.store.interface import JobStore

# Rows that one visit to the database reads.
_PORTION = 500
# Attempts that are remembered of all jobs that somebody looked at.
_MAX_SPANS = 300_000
_MAX_FILMS = 8


@attrs.define(eq=False)
class _Tried:
    """A job's attempts by epoch; `whole` fires once all that were stored earlier are among them."""

    spans: dict[int, AttemptSpan] = attrs.field(factory=dict)
    whole: Deferred[None] = attrs.field(factory=Deferred)


class Spans:
    """Attempts and segments as they are stored.

    Args:
        reader: Where they are stored; whoever owns this tells `stored` of every change.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tried: OrderedDict[JobId, _Tried] = OrderedDict()
        self._films: OrderedDict[JobId, list[Stretch]] = OrderedDict()

    def stored(self, changes: Sequence[Changes]) -> None:
        """These changes are stored now."""
        for one in changes:
            for attempt in one.attempts:
                tried = self._tried.get(attempt.job_id)
                if tried is not None:
                    tried.spans[attempt.epoch] = span_of(attempt)
            for job_id in (*one.removed_jobs, *(segment.job_id for segment in one.segments)):
                self._films.pop(job_id, None)
            for job_id in one.removed_jobs:
                self._tried.pop(job_id, None)

    async def attempts(self, job_id: JobId) -> list[AttemptSpan]:
        """Every attempt for a job that was ever made, in any order."""
        tried = self._tried.get(job_id)
        if tried is None:
            tried = self._tried[job_id] = _Tried()
            try:
                await self._read(job_id, tried)
            except BaseException:
                self._tried.pop(job_id, None)
                tried.whole.errback(Failure())
                tried.whole.addErrback(lambda _: None)
                raise
            tried.whole.callback(None)
            self._make_room(job_id)
        else:
            await _waited(tried.whole)
        if job_id in self._tried:
            self._tried.move_to_end(job_id)
        return list(tried.spans.values())

    async def film(self, job_id: JobId) -> list[Stretch]:
        """The segments of a job that is over, in order."""
        film = self._films.get(job_id)
        if film is None:
            segments = await self._segments(job_id)
            film = stored_stretches(segments, await self.attempts(job_id))
            self._films[job_id] = film
            while len(self._films) > _MAX_FILMS:
                self._films.popitem(last=False)
        return film

    async def attempt(self, job_id: JobId, epoch: int) -> AttemptEntry | None:
        """One attempt for a job, or None when there was none of that number."""
        found = await self._reader.read(lambda store: store.attempts(job_id, epoch - 1, 1))
        return found[0] if found and found[0].epoch == epoch else None

    async def _segments(self, job_id: JobId) -> list[SegmentEntry]:
        def read(store: JobStore, after: int) -> tuple[SegmentEntry, ...]:
            return store.segments(job_id, after, _PORTION)

        found: list[SegmentEntry] = []
        portion: tuple[SegmentEntry, ...] | None = None
        while portion is None or portion:
            after = portion[-1].frames.first if portion else -1
            portion = await self._reader.read(partial(read, after=after))
            found += portion
        return found

    async def each_attempt(self, job_id: JobId, look: Callable[[AttemptEntry], None]) -> None:
        """Show `look` every attempt for a job, in order of epochs, in the database's thread."""

        def portion(store: JobStore, after: int) -> int | None:
            entries = store.attempts(job_id, after, _PORTION)
            for entry in entries:
                look(entry)
            return entries[-1].epoch if entries else None

        after: int | None = -1
        while after is not None:
            after = await self._reader.read(partial(portion, after=after))

    async def _read(self, job_id: JobId, tried: _Tried) -> None:
        def portion(store: JobStore, after: int) -> list[AttemptSpan]:
            return [span_of(entry) for entry in store.attempts(job_id, after, _PORTION)]

        spans: list[AttemptSpan] | None = None
        while spans is None or spans:
            after = spans[-1].epoch if spans else -1
            spans = await self._reader.read(partial(portion, after=after))
            for span in spans:
                # What was told meanwhile is newer than what was read.
                tried.spans.setdefault(span.epoch, span)

    def _make_room(self, job_id: JobId) -> None:
        """Forget the jobs that nobody looked at for longest."""
        held = sum(len(tried.spans) for tried in self._tried.values())
        for other in [known for known in self._tried if known != job_id]:
            if held <= _MAX_SPANS:
                return
            if self._tried[other].whole.called:
                held -= len(self._tried.pop(other).spans)


def _waited(whole: Deferred[None]) -> Deferred[None]:
    """Like `whole`, for one of several who wait for it."""
    told: Deferred[None] = Deferred()

    def tell(outcome: Failure | None) -> Failure | None:
        if isinstance(outcome, Failure):
            told.errback(outcome)
        else:
            told.callback(None)
        return outcome

    whole.addBoth(tell)
    return told
