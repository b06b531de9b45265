"""What outlives the coordinator's process besides its store: results, partial and whole outputs."""

from __future__ import annotations

import hashlib

import attrs

from ffcluster.core.model import BlobRef, Epoch, JobId
from ffcluster.core.timeline import FrameRange


@attrs.frozen
class Film:
    """The content of an output: which attempt made which of its frames, in order."""

    pieces: tuple[tuple[FrameRange, Epoch], ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr(self.pieces).encode()).hexdigest()


@attrs.define
class Disk:
    """Attributes:
    blobs: Results that were delivered, by attempt.
    partial: Verified outputs under their temporary names.
    outputs: What was published, by path.
    """

    blobs: dict[Epoch, JobId] = attrs.field(factory=dict)
    partial: dict[JobId, Film] = attrs.field(factory=dict)
    outputs: dict[str, Film] = attrs.field(factory=dict)

    def deliver(self, job_id: JobId, epoch: Epoch) -> BlobRef:
        self.blobs[epoch] = job_id
        return BlobRef(hashlib.sha256(str(epoch).encode()).hexdigest(), 1000)

    def drop_job(self, job_id: JobId) -> None:
        self.partial.pop(job_id, None)
        for epoch in [e for e, owner in self.blobs.items() if owner == job_id]:
            del self.blobs[epoch]

    def free_path(self, job_id: JobId) -> str:
        number = 0
        while (path := f"{job_id}-{number}.mkv") in self.outputs:
            number += 1
        return path
