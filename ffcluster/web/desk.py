"""What the REST API needs of the coordinator; see `ffcluster.services.coordinator.webdesk`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from ffcluster.core.durable import AttemptEntry
from ffcluster.core.job import Job
from ffcluster.core.model import JobRequest, PluginSummary
from ffcluster.core.profile import Container, Profile
from ffcluster.core.views import JobView, SegmentView, WorkerView
from ffcluster.core.worker import Worker
from ffcluster.net.bulk_server import Readable
from ffcluster.web.models.plans import Plan, Upload
from ffcluster.web.models.status import Status
from ffcluster.web.webhooks import WantedWebhook


class JobDesk(Protocol):
    """Jobs. Whatever changes something is durable when it returns."""

    def jobs(self) -> Collection[Job]:
        """All jobs; they are only looked at."""

    def job(self, job_id: str) -> JobView:
        """Describe a job, or raise `NotFound`."""

    def output_name(self, source_name: str, container: Container) -> str:
        """A file name for the output of a film, with the suffix of a container."""

    async def submit(self, request: JobRequest, webhook: WantedWebhook | None) -> str:
        """Make a job; return its id. Raises as `Intake.submit` does."""

    async def cancel(self, job_id: str) -> None:
        """End a job; raises `NotFound` or `Conflict`, as all that follow."""

    async def pause(self, job_id: str) -> None:
        """Start nothing more of a job."""

    async def resume(self, job_id: str) -> None:
        """Go on with a paused job."""

    async def retry(self, job_id: str) -> None:
        """Go on with a job that failed or was cancelled."""

    async def prioritise(self, job_id: str, priority: int) -> None:
        """Give a job another priority."""

    async def remove(self, job_id: str) -> None:
        """Forget an ended job."""

    async def segments(
        self, job_id: str, states: Collection[str], after: int, limit: int
    ) -> list[SegmentView]:
        """At most `limit` segments behind frame `after`, in order; () of states means every one."""

    async def segment(
        self, job_id: str, first_frame: int
    ) -> tuple[SegmentView, tuple[AttemptEntry, ...]]:
        """A segment with the attempts at it, or raise `NotFound`."""

    async def receipt(self, job_id: str) -> bytes:
        """How a job was made, as JSON."""

    async def result(self, job_id: str) -> Readable:
        """The file of a completed job; raises `Conflict` before, `NotFound` when it is gone."""


class WorkerDesk(Protocol):
    """Workers. Whatever changes something is durable when it returns."""

    def workers(self) -> Collection[Worker]:
        """All workers; they are only looked at."""

    def worker(self, worker_id: str) -> WorkerView:
        """Describe a worker, or raise `NotFound`."""

    async def drain(self, worker_id: str) -> None:
        """Give a worker nothing more."""

    async def resume_worker(self, worker_id: str) -> None:
        """Let a drained or quarantined worker work again."""

    async def forget(self, worker_id: str) -> None:
        """Forget a worker; what it has is given to others."""


class CatalogueDesk(Protocol):
    """What the coordinator was set to."""

    def profiles(self) -> Mapping[str, Profile]:
        """Profiles by name."""

    def default_profile(self) -> Profile | None:
        """What jobs get that ask for none, or None for ffcluster's own."""

    def plugins(self) -> tuple[PluginSummary, ...]:
        """The coordinator's plugins."""


class ClusterDesk(Protocol):
    """The cluster as a whole, and films that no job has yet."""

    async def fresh_status(self) -> Status:
        """How the cluster is doing."""

    async def begin_upload(self, name: str, size_bytes: int) -> Upload:
        """Make room for an upload; raises as `Intake.begin_upload` does."""

    async def plan(self, request: JobRequest) -> Plan:
        """Find out what would become of a film, without doing it."""


class Desk(JobDesk, WorkerDesk, CatalogueDesk, ClusterDesk, Protocol):
    """All of it."""
