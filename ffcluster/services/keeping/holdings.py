"""Who needs which blob, so that each is removed with the last one who does.

A result is held by its attempt, from when it arrived until the attempt came to nothing or its job
needs it no more; an uploaded source by its job, also for a while after that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread

from ffcluster.core.model import BlobRef, Epoch, JobId, Source
from ffcluster.store.blobs import BlobStore


def result_owner(epoch: Epoch) -> str:
    """Name under which an attempt holds its result."""
    return f"result/{epoch}"


def source_owner(job_id: JobId) -> str:
    """Name under which a job holds its uploaded source."""
    return f"source/{job_id}"


class Holdings:
    """What each job holds.

    Args:
        blobs: Where blobs are.
        aside: Takes care of removals that nobody waits for.
    """

    def __init__(self, blobs: BlobStore, aside: Callable[[Deferred[Any]], None]) -> None:
        self._blobs = blobs
        self._aside = aside
        self._held: dict[JobId, dict[str, BlobRef]] = {}

    def add_result(self, job_id: JobId, epoch: Epoch, ref: BlobRef) -> None:
        """A result is needed."""
        self._add(job_id, result_owner(epoch), ref)

    def add_source(self, job_id: JobId, source: Source) -> None:
        """A job's source is needed, if it is a blob."""
        if source.uploaded:
            self._add(job_id, source_owner(job_id), source_ref(source))

    def _add(self, job_id: JobId, owner: str, ref: BlobRef) -> None:
        self._blobs.hold(ref, owner)
        self._held.setdefault(job_id, {})[owner] = ref

    def drop_result(self, job_id: JobId, epoch: Epoch) -> None:
        """A result is not needed any more."""
        self._drop(job_id, [result_owner(epoch)])

    def holds_source(self, job_id: JobId) -> bool:
        """Whether a job's source is a blob that is kept for it."""
        return source_owner(job_id) in self._held.get(job_id, {})

    def drop_results(self, job_id: JobId) -> None:
        """No result of a job is needed any more; its source is."""
        source = source_owner(job_id)
        self._drop(job_id, [owner for owner in self._held.get(job_id, {}) if owner != source])

    def drop_source(self, job_id: JobId) -> Deferred[None]:
        """A job's source is not needed any more; fires when it is removed."""
        return self._drop(job_id, [source_owner(job_id)])

    def drop_all(self, job_id: JobId) -> None:
        """Nothing of a job is needed any more."""
        self._drop(job_id, list(self._held.get(job_id, {})))

    def _drop(self, job_id: JobId, owners: Sequence[str]) -> Deferred[None]:
        held = self._held.get(job_id, {})
        dropped = {owner: held.pop(owner) for owner in owners if owner in held}
        if not held:
            self._held.pop(job_id, None)
        if not dropped:
            return succeed(None)
        removing = deferToThread(self._release, dropped)
        self._aside(removing)
        return removing

    def _release(self, held: dict[str, BlobRef]) -> None:
        for owner, ref in held.items():
            self._blobs.release(ref, owner)

    def source_path(self, source: Source) -> Path:
        """Where a job's source is."""
        return self._blobs.path(source_ref(source)) if source.uploaded else Path(source.location)


def source_ref(source: Source) -> BlobRef:
    """The blob of an uploaded source. Its size is in the job's media index, and checked there."""
    return BlobRef(source.location, 0)
