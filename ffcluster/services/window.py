"""What viewers see of the cluster: the same JSON values as the REST resources."""

from __future__ import annotations

from typing import Any, Protocol

from ffcluster.converting import to_jsonable
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import NotFound
from ffcluster.web.models import Status
from ffcluster.web.showing import job_resource, worker_resource


class Described(Protocol):
    """Describes what there is; see `ffcluster.web.desk.Desk`."""

    def job(self, job_id: str) -> JobView:
        """Describe a job, or raise `NotFound`."""

    def worker(self, worker_id: str) -> WorkerView:
        """Describe a worker, or raise `NotFound`."""

    def status(self) -> Status:
        """How the cluster is doing."""


class DeskWindow:
    """See `ffcluster.services.viewers.Window`.

    Args:
        desk: Describes what there is.
    """

    def __init__(self, desk: Described) -> None:
        self._desk = desk

    def job(self, job_id: JobId) -> dict[str, Any] | None:
        """See `Window.job`."""
        try:
            view = self._desk.job(job_id)
        except NotFound:
            return None
        return _values(job_resource(view))

    def worker(self, worker_id: WorkerId) -> dict[str, Any] | None:
        """See `Window.worker`."""
        try:
            view = self._desk.worker(worker_id)
        except NotFound:
            return None
        return _values(worker_resource(view))

    def status(self) -> dict[str, Any]:
        """See `Window.status`."""
        return _values(self._desk.status())


def _values(resource: Any) -> dict[str, Any]:
    found: dict[str, Any] = to_jsonable(resource)
    return found
