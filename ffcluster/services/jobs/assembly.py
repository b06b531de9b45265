"""From committed results to the published file: the join, its verification, and its place.

Carries out what the cluster asks of the join of each job. Decides nothing about segments.
"""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet.defer import ensureDeferred

from ffcluster.core import reporting
from ffcluster.core.cluster import ClusterState
from ffcluster.core.effects import FinishJoin, JoinSegment, Publish, RestartJoin
from ffcluster.core.events import (
    Event,
    JobPublished,
    JobVerified,
    JoinFailed,
    SegmentLost,
)
from ffcluster.core.job import Job
from ffcluster.core.model import JobId, JobOutcome
from ffcluster.encoders.registry import Registry
from ffcluster.errors import BlobDamaged, BlobLost, ErrorReport
from ffcluster.net.bulk_server import Readable
from ffcluster.services.background import Background
from ffcluster.services.jobs import making
from ffcluster.services.jobs.openjobs import OpenJobs
from ffcluster.services.jobs.publication import PlaceTaken
from ffcluster.services.keeping.shelf import TicketShelf
from ffcluster.steps import Step, reached


class Assembly:
    """Joins, verifies and publishes.

    Args:
        state: The cluster's state; only read here.
        jobs: The media side of every job.
        shelf: Where outputs are fetched.
        registry: The plugins, which know what an encoder has no setting for.
        background: Where work goes on.
    """

    def __init__(
        self,
        state: ClusterState,
        jobs: OpenJobs,
        shelf: TicketShelf,
        registry: Registry,
        background: Background,
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._shelf = shelf
        self._registry = registry
        self._background = background

    def append(self, effect: JoinSegment) -> None:
        """Append a committed result to its job's join."""
        self._background.start(self._append(effect), lambda error: JoinFailed(effect.job_id, error))

    async def _append(self, effect: JoinSegment) -> Event | None:
        media, job = self._jobs[effect.job_id], self._job(effect.job_id)
        mixes = job.spec.mix and len({kind for crew in job.crews for kind in crew.kinds}) > 1
        try:
            if effect.blob is None:
                raise BlobLost(message=f"It is not known where the result of {effect.frames} is.")
            appending = media.append(
                effect.epoch, effect.frames, effect.report, effect.blob, mixes=mixes
            )
            await media.within(appending)
        except (BlobLost, BlobDamaged) as error:
            return _lost(effect.job_id, error, effect.frames.first)
        return None

    def restart(self, effect: RestartJoin) -> None:
        """Throw away what was joined of a job."""
        media = self._jobs.get(effect.job_id)
        if media is not None:
            self._background.aside(ensureDeferred(media.restart_join()))

    def finish(self, effect: FinishJoin) -> None:
        """End a job's join, verify the file, and choose its place."""
        self._background.start(self._finish(effect), lambda error: JoinFailed(effect.job_id, error))

    async def _finish(self, effect: FinishJoin) -> Event:
        media, job = self._jobs[effect.job_id], self._job(effect.job_id)
        committed = [s.committed for s in job.segments.values() if s.committed is not None]
        proofs = [attempt.proof for attempt in committed if attempt.proof is not None]
        made_by = reporting.contributions(job)
        used = dict.fromkeys(attempt.capability for attempt in committed)
        notes = making.notes(job.spec.profile, made_by, used, proofs, self._registry)
        try:
            finishing = media.finish(proofs, made_by, notes, missing=job.missing())
            outcome = await media.within(finishing)
        except (BlobLost, BlobDamaged) as error:
            return _lost(effect.job_id, error, 0)
        return JobVerified(effect.job_id, attrs.evolve(outcome, borders=_borders(job)))

    def publish(self, effect: Publish) -> None:
        """Give a verified file its place, which is written down by now."""
        reached(Step.PLACE_CHOSEN)
        self._background.start(
            self._publish(effect), lambda error: JoinFailed(effect.job_id, error)
        )

    async def _publish(self, effect: Publish) -> Event:
        media = self._jobs[effect.job_id]
        try:
            outcome = await media.within(media.publish(effect.outcome))
        except PlaceTaken as taken:
            return JobVerified(effect.job_id, taken.outcome)
        # As soon as the job is seen to be completed, somebody may ask for its file.
        self.show(effect.job_id, outcome)
        return JobPublished(effect.job_id, outcome)

    def show(self, job_id: JobId, outcome: JobOutcome) -> None:
        """Let a published file be fetched."""
        output = Readable(Path(outcome.path), outcome.size_bytes, outcome.sha256)
        self._shelf.show_output(job_id, output)

    def _job(self, job_id: JobId) -> Job:
        return self._state.jobs[job_id]


def _borders(job: Job) -> tuple[int, float | None]:
    """How many ends of segments were compared with the source, and the worst that was found."""
    reports = [s.report for s in job.segments.values() if s.report is not None]
    found = [r.border_psnr_db for r in reports if r.border_psnr_db is not None]
    return 2 * len(found), min(found, default=None)


def _lost(job_id: JobId, error: BlobLost | BlobDamaged, first_frame: int) -> SegmentLost:
    """Which segment must be made again; the error knows when it was not the one in hand."""
    first = int(error.detail.get("first_frame", first_frame))
    return SegmentLost(job_id, first, ErrorReport.of(error))
