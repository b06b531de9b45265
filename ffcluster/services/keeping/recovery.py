"""What a coordinator finds when it starts: its directory, and what earlier processes left in it.

Takes up everything that the store knows of, and removes what belongs to nobody.
"""

from __future__ import annotations

from pathlib import Path

from ffcluster.core.cluster import ClusterState
from ffcluster.core.job import Job, JobState
from ffcluster.errors import Conflict
from ffcluster.services.keeping.holdings import Holdings
from ffcluster.services.settings.config import ServerSettings
from ffcluster.store import files
from ffcluster.store.blobs import BlobStore
from ffcluster.store.dirlock import DirectoryLock

_LOCK = "coordinator.lock"
_JOBS = "jobs"


class StateDirectory:
    """The directory of everything that outlives a restart; used by one coordinator at a time.

    Everything here blocks and belongs in a thread.

    Args:
        settings: The coordinator's settings.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._path = settings.state_dir
        self._lock = DirectoryLock(self._path / _LOCK)

    def job(self, job_id: str) -> Path:
        """Where a job keeps its index and pieces."""
        return self._path / _JOBS / job_id

    def prepare(self, blobs: BlobStore) -> None:
        """Make what is needed, for this coordinator alone.

        Raises:
            Conflict: Another coordinator uses it.
            OutputUnwritable, DiskFull: It cannot be made.
        """
        files.make_private(self._path)
        try:
            taken = self._lock.take()
        except OSError as error:
            raise files.storage_error(error, self._path) from error
        if not taken:
            raise Conflict(
                message=f"Another coordinator uses {self._path}.",
                advice="Stop it, or give this one its own --state-dir.",
            )
        files.make_private(self._path / _JOBS)
        blobs.prepare()
        try:
            self._settings.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.storage_error(error, self._settings.output_dir) from error

    def remove_others(self, needed: frozenset[str]) -> None:
        """Remove the directories of all jobs but those `needed`."""
        for path in (self._path / _JOBS).iterdir():
            if path.name not in needed:
                files.remove_tree(path)

    def remove_job(self, job_id: str) -> None:
        """Remove a job's directory."""
        files.remove_tree(self.job(job_id))

    def free(self) -> None:
        """Let another coordinator use it."""
        self._lock.free()


def needed_jobs(state: ClusterState) -> list[Job]:
    """Jobs of which more is needed than their entries: those that go on, or may be retried."""
    return [job for job in state.jobs.values() if not job.ended or job.kept]


def take_hold(state: ClusterState, holdings: Holdings) -> None:
    """Hold every blob that somebody needs."""
    for job in needed_jobs(state):
        holdings.add_source(job.id, job.source)
        for segment in job.segments.values():
            made = segment.committed
            if made is not None and made.blob is not None:
                holdings.add_result(job.id, made.epoch, made.blob)
    for attempt in state.attempts.values():
        if attempt.blob is not None:
            holdings.add_result(attempt.job_id, attempt.epoch, attempt.blob)


def found_outputs(jobs: list[Job]) -> list[Job]:
    """Those completed jobs whose files are still where they were published (blocks)."""
    found = []
    for job in jobs:
        if job.outcome is not None and job.state is JobState.COMPLETED:
            path = Path(job.outcome.path)
            if path.is_file() and path.stat().st_size == job.outcome.size_bytes:
                found.append(job)
    return found


def summary(state: ClusterState) -> str:
    """What was taken up, for the log; "" when there was nothing."""
    active = list(state.active_jobs())
    if not active:
        return ""
    joining = sum(1 for job in active if job.state is JobState.COMBINING)
    segments = sum(job.segments_committed for job in active)
    return (
        f"{_count(len(active), 'job')} recovered: {len(active) - joining} "
        f"{'goes' if len(active) - joining == 1 else 'go'} on, {joining} "
        f"{'was' if joining == 1 else 'were'} being joined; "
        f"{_count(segments, 'committed segment')} kept"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
