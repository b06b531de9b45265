"""What viewers see of the cluster: JSON values of the REST resources, as exact as people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from ffcluster.converting import to_jsonable
from ffcluster.core.model import JobId, WorkerId
from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import NotFound
from ffcluster.web.models.status import Status
from ffcluster.web.showing import job_resource, worker_resource

# Figures that are told with three digits.
_ROUGH = frozenset({
    "fps", "average_fps", "speed", "eta_s", "eta_low_s", "eta_high_s", "elapsed_s",
    "predicted_size_bytes",
})  # fmt: skip


class Described(Protocol):
    """Describes what there is; see `ffcluster.web.desk.Desk`."""

    def job(self, job_id: str) -> JobView:
        """Describe a job, or raise `NotFound`."""

    def worker(self, worker_id: str) -> WorkerView:
        """Describe a worker, or raise `NotFound`."""

    def status(self) -> Status:
        """How the cluster is doing."""


class DeskWindow:
    """See `ffcluster.services.viewing.known.Window`.

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
        values = _values(job_resource(attrs.evolve(view, shares=())))
        del values["shares"]
        return values

    def shares(self, job_id: JobId) -> list[Mapping[str, Any]]:
        """See `Window.shares`."""
        try:
            view = self._desk.job(job_id)
        except NotFound:
            return []
        return [_values(share) for share in job_resource(view).shares]

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
    # The figures of a job that has ended change no more: the last ones are told as they are.
    rough = frozenset[str]() if found.get("ended") else _ROUGH
    for name in found.keys() & rough:
        if found[name] is not None:
            found[name] = _rough(found[name])
    return found


def _rough(value: float) -> float:
    """Three digits of a figure: those behind them change all the time and are read by nobody."""
    rounded = float(f"{value:.3g}")
    return int(rounded) if isinstance(value, int) or rounded.is_integer() else rounded
