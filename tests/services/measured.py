"""The metrics of a simulated cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from prometheus_client.samples import Sample
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from ffcluster.core.durable import Changes, Counters
from ffcluster.services.viewing.metrics import Around, Metrics
from ffcluster.web.models.status import Disk, Status
from tests.core.cluster_model import Simulation

ENCODERS = ("libx264", "hevc_nvenc")
# What prometheus-client shows of everything that is counted: when that began.
_BEGAN = "_created"


@attrs.define
class Measured:
    """A cluster that is simulated, and what is measured of it."""

    counters: Counters = attrs.field(factory=Counters)
    max_disk_bytes: int | None = 5000
    disk: Disk = attrs.field(factory=lambda: Disk(2000, 5000, 70_000, ""))
    trouble: str = ""
    no_room: str = ""
    clock: Clock = attrs.field(factory=Clock)
    sim: Simulation = attrs.field(factory=Simulation)
    metrics: Metrics = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        around = Around(
            self._status,
            ffmpeg="7.1",
            version="0.1.0",
            min_free_bytes=1000,
            max_disk_bytes=self.max_disk_bytes,
            accepts=lambda: not (self.trouble or self.no_room),
            reachable=lambda: not self.trouble,
            viewers=lambda: 3,
        )
        state = self.sim.state
        self.metrics = Metrics(self.clock, state, self.counters, ENCODERS, around)
        put: Any = self.sim.store.put

        def noted(changes: Changes, now: float) -> None:
            put(changes, now)
            self.metrics.tallies.stored([changes])

        self.sim.store = _Noting(noted)  # type: ignore[assignment]

    async def _status(self) -> Status:
        state = self.sim.state
        jobs = Counter(job.state.value for job in state.jobs.values())
        workers = Counter(worker.state.value for worker in state.workers.values())
        return Status(
            version="0.1.0", started_at="", uptime_s=1.0, ffmpeg="7.1", required_workers=1,
            jobs=jobs, workers=workers, fps=0.0, warnings=(), token_required=False,
            last_event=0, disk=self.disk, worker_command="",
        )  # fmt: skip

    def look(self) -> None:
        """Look at everything, to the end."""
        looking = ensureDeferred(self.metrics.refresh())
        while not looking.called:
            self.clock.advance(0)

    def samples(self) -> list[Sample]:
        """Everything that is shown, in the order in which it is shown."""
        return [s for family in self.metrics.registry.collect() for s in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """One value, or None where it is not shown."""
        found: float | None = self.metrics.registry.get_sample_value(name, labels)
        return found


@attrs.frozen
class _Noting:
    put: Any


def all_series() -> dict[str, dict[str, set[str]]]:
    """Every series that a coordinator on this system may show: its labels and their values."""
    measured = Measured()
    measured.sim.join("one")
    measured.sim.submit("a", 100)
    measured.sim.run()
    measured.look()
    found: dict[str, dict[str, set[str]]] = {}
    for sample in measured.samples():
        if not sample.name.endswith(_BEGAN):
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def all_names() -> set[str]:
    """The name of every series that a coordinator on this system may show."""
    return set(all_series())
