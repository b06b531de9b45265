"""What workers said last of their machines, and when they were last heard; in memory only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from ffcluster.core.durable import Changes
from ffcluster.core.load import FRESH_S, WorkerLoad
from ffcluster.core.model import WorkerId
from ffcluster.core.views import WorkerView


class Loads:
    """Knows the load of every connected worker that tells it.

    Args:
        seconds: The coordinator's clock.
        changed: Called when a worker's load is another one.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        changed: Callable[[WorkerId], None] = lambda worker_id: None,
    ) -> None:
        self._seconds = seconds
        self._changed = changed
        self._loads: dict[WorkerId, tuple[float, WorkerLoad]] = {}
        # Of those with a session: where to ask; of others: when it was.
        self._heard: dict[WorkerId, Callable[[], float]] = {}

    def opened(self, worker_id: WorkerId, heard_at: Callable[[], float]) -> None:
        """A worker's session begins; `heard_at` tells when something of it arrived last."""
        self._heard[worker_id] = heard_at

    def told(self, worker_id: WorkerId, load: WorkerLoad) -> None:
        """A worker says how its machine is."""
        self._loads[worker_id] = (self._seconds(), load)
        self._changed(worker_id)

    def closed(self, worker_id: WorkerId) -> None:
        """A worker's session ended."""
        self._loads.pop(worker_id, None)
        heard_at = self._heard.get(worker_id)
        if heard_at is not None:
            last = heard_at()
            self._heard[worker_id] = lambda: last

    def stored(self, changes: Sequence[Changes]) -> None:
        """Forget the workers that are remembered no more."""
        for one in changes:
            for worker_id in one.removed_workers:
                self._loads.pop(worker_id, None)
                self._heard.pop(worker_id, None)

    def load_of(self, worker_id: WorkerId) -> WorkerLoad | None:
        """How a worker's machine is now; None where that is not known."""
        at, load = self._loads.get(worker_id, (0.0, None))
        return load if self._seconds() - at <= FRESH_S else None

    def last_heard_at(self, worker_id: WorkerId) -> float | None:
        """When a worker was last heard; None: not since the coordinator was started."""
        heard_at = self._heard.get(worker_id)
        return None if heard_at is None else heard_at()

    def completed(self, view: WorkerView) -> WorkerView:
        """A view of a worker, with its load and when it was last heard."""
        worker_id = WorkerId(view.id)
        load, heard_at = self.load_of(worker_id), self.last_heard_at(worker_id)
        return attrs.evolve(view, load=load, last_heard_at=heard_at)
