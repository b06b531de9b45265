"""What is stored of jobs beyond what the coordinator remembers: receipts, segments of old jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeVar

import orjson
from twisted.internet.threads import deferToThread

from ffcluster import __version__
from ffcluster.converting import in_words
from ffcluster.core.durable import AttemptEntry, SegmentEntry
from ffcluster.core.entries import job_entry
from ffcluster.core.job import Job
from ffcluster.core.model import JobId
from ffcluster.core.receipts import JobReceipt, SegmentReceipt, job_receipt
from ffcluster.core.timeline import FrameRange
from ffcluster.core.views import SegmentView
from ffcluster.services.keeping.receiptfile import receipt_document
from ffcluster.store.interface import JobStore

T = TypeVar("T")

# Rows that one visit to the database reads.
_PORTION = 500
_MOST_ATTEMPTS = 500


class Reader(Protocol):
    """Runs questions where the store may be used, as `ffcluster.services.keeping.ledger` does."""

    def read(self, question: Callable[[JobStore], T]) -> Awaitable[T]:
        """Ask the store, after everything that was put before is stored."""


class Past:
    """Reads what was written down of jobs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def receipt(self, job: Job) -> JobReceipt:
        """Tell how a job was made, segment by segment and attempt by attempt."""
        entry = job_entry(job)
        segments, attempts = await self._reader.read(
            lambda store: (store.segments(job.id), store.attempts(job.id))
        )
        return job_receipt(entry, segments, attempts, coordinator=__version__)

    async def segments(self, job: Job) -> tuple[SegmentView, ...]:
        """Describe the segments of a job that ended before the coordinator was started."""
        segments = (await self.receipt(job)).segments
        return tuple(_view(each, each.committed, len(each.attempts)) for each in segments)

    async def segments_behind(
        self, job_id: JobId, states: Collection[str], after: int, limit: int
    ) -> list[SegmentView]:
        """At most `limit` stored segments that begin behind frame `after`, in order.

        Args:
            job_id: The job.
            states: Only those in one of these states; () for all.
            after: A frame, -1 for the beginning.
            limit: How many at most.
        """
        found: list[SegmentView] = []
        while len(found) < limit:
            portion = await self._reader.read(_views_behind(job_id, after, limit))
            if not portion:
                break
            found += [view for view in portion if not states or view.state in states]
            after = portion[-1].first_frame
        return found[:limit]

    async def attempts_at(self, job_id: JobId, frames: FrameRange) -> tuple[AttemptEntry, ...]:
        """The attempts at a segment, the first one first; of very many the earlier ones."""
        found: list[AttemptEntry] = []
        async for portion in self._attempts(job_id):
            found += [a for a in portion if frames.first <= a.frames.first < frames.stop]
            if len(found) >= _MOST_ATTEMPTS:
                break
        return tuple(found[:_MOST_ATTEMPTS])

    async def receipt_document(self, job: Job) -> bytes:
        """A receipt as JSON, written without holding anybody up."""
        entry, segments = job_entry(job), list[SegmentEntry]()
        while portion := await self._reader.read(_segments_behind(job.id, segments)):
            segments += portion
        attempts = [attempt async for some in self._attempts(job.id) for attempt in some]

        def written() -> bytes:
            receipt = job_receipt(entry, segments, attempts, coordinator=__version__)
            return orjson.dumps(in_words(receipt_document(receipt)))

        return await deferToThread(written)

    async def _attempts(self, job_id: JobId) -> AsyncIterator[tuple[AttemptEntry, ...]]:
        """Every attempt for a job in portions, so that others are served in between."""
        after = -1
        while True:
            portion = await self._reader.read(_attempts_behind(job_id, after))
            if not portion:
                return
            yield portion
            after = portion[-1].epoch


def _attempts_behind(job_id: JobId, after: int) -> Callable[[JobStore], tuple[AttemptEntry, ...]]:
    return lambda store: store.attempts(job_id, after, _PORTION)


def _segments_behind(
    job_id: JobId, known: Sequence[SegmentEntry]
) -> Callable[[JobStore], tuple[SegmentEntry, ...]]:
    after = known[-1].frames.first if known else -1
    return lambda store: store.segments(job_id, after, _PORTION)


def _views_behind(
    job_id: JobId, after: int, limit: int
) -> Callable[[JobStore], tuple[SegmentView, ...]]:
    """Reads stored segments of a job behind frame `after`, each with the attempt that counts."""

    def read(store: JobStore) -> tuple[SegmentView, ...]:
        return tuple(
            _view(segment, _committed(store, segment), segment.tried)
            for segment in store.segments(job_id, after, limit)
        )

    return read


def _committed(store: JobStore, segment: SegmentEntry) -> AttemptEntry | None:
    if segment.committed is None:
        return None
    found = store.attempts(segment.job_id, segment.committed - 1, 1)
    return found[0] if found and found[0].epoch == segment.committed else None


def _view(
    segment: SegmentEntry | SegmentReceipt, made: AttemptEntry | None, attempts: int
) -> SegmentView:
    """Describe a stored segment; `made` is the attempt whose result counts, of so many."""
    report = segment.report
    return SegmentView(
        first_frame=segment.frames.first,
        frame_count=len(segment.frames),
        state=segment.state,
        worker=made.worker_name if made else "",
        attempts=attempts,
        encode_s=made.proof.encode_s if made and made.proof else None,
        size_bytes=report.size_bytes if report else None,
        encoder=made.capability.encoder if made else "",
        device=made.capability.device if made else "",
        fallback=made.fallback if made else False,
        kind=report.parameter_sets if report else "",
        border_psnr_db=report.border_psnr_db if report else None,
    )
