"""What is stored of jobs beyond what the coordinator remembers: receipts, segments of old jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from ffcluster import __version__
from ffcluster.core.entries import job_entry
from ffcluster.core.job import Job
from ffcluster.core.receipts import JobReceipt, SegmentReceipt, job_receipt
from ffcluster.core.views import SegmentView
from ffcluster.store.interface import JobStore

T = TypeVar("T")


class Reader(Protocol):
    """Runs questions where the store may be used; see `ffcluster.services.ledger.Ledger`."""

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
        return tuple(_view(segment) for segment in (await self.receipt(job)).segments)


def _view(segment: SegmentReceipt) -> SegmentView:
    made, report = segment.committed, segment.report
    return SegmentView(
        first_frame=segment.frames.first,
        frame_count=len(segment.frames),
        state=segment.state,
        worker=made.worker_name if made else "",
        attempts=len(segment.attempts),
        encode_s=made.proof.encode_s if made and made.proof else None,
        size_bytes=report.size_bytes if report else None,
        encoder=made.capability.encoder if made else "",
        device=made.capability.device if made else "",
        fallback=made.fallback if made else False,
        kind=report.parameter_sets if report else "",
    )
