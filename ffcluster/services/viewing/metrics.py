"""What the coordinator measures of the cluster and of itself, by the names that Prometheus sees.

Owns a registry of its own. Labels are states, never the name of a job, worker or file. Steers
nothing.
"""

from __future__ import annotations

import platform
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import attrs
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ffcluster.core.cluster import ClusterState
from ffcluster.core.durable import Counters
from ffcluster.core.job import Job, JobState
from ffcluster.core.segment import AttemptState
from ffcluster.core.worker import Worker, WorkerState
from ffcluster.net.site import Traffic
from ffcluster.services.viewing.tallies import Tallies
from ffcluster.web.models.status import Status
from ffcluster.web.resource import Pauses

_DELAY_EVERY_S = 0.5
_NOT_BEGUN = frozenset({JobState.QUEUED, JobState.WAITING_FOR_CLIENTS})


@attrs.define
class _Seen:
    """What was seen of the cluster when it was looked at last."""

    jobs: dict[str, int] = attrs.field(factory=dict)
    jobs_paused: int = 0
    queue_depth: int = 0
    waiting_segments: int = 0
    remaining_frames: int = 0
    attempts: dict[str, int] = attrs.field(factory=dict)
    workers: dict[str, int] = attrs.field(factory=dict)
    workers_draining: int = 0
    slots_busy: int = 0
    slots_free: int = 0
    disk_used: int | None = None
    disk_free: int | None = None


@attrs.frozen
class Around:
    """Where the metrics look.

    Attributes:
        status: How the cluster is doing, its disk too.
        ffmpeg: Version of the coordinator's ffmpeg.
        version: Version of the coordinator.
        min_free_bytes: Space that is kept free.
        max_disk_bytes: Space that may be used, or None.
        accepts: Whether anything new is begun.
        reachable: Whether what changes can be stored.
        viewers: How many watch.
    """

    status: Callable[[], Awaitable[Status]]
    ffmpeg: str
    version: str
    min_free_bytes: int
    max_disk_bytes: int | None
    accepts: Callable[[], bool]
    reachable: Callable[[], bool]
    viewers: Callable[[], int]


class Metrics(Collector):
    """Everything that is measured.

    Args:
        reactor: Measured too, and lets others go on while a large cluster is looked at.
        state: The cluster's state; only read here.
        counters: The counters as they were stored.
        encoders: Encoders that may be named; all others are one.
        around: Where else to look.

    Attributes:
        registry: What is shown.
        tallies: What is counted as it happens.
        traffic: Where the coordinator's port counts bytes.
    """

    def __init__(
        self,
        reactor: Any,
        state: ClusterState,
        counters: Counters,
        encoders: Iterable[str],
        around: Around,
    ) -> None:
        self.registry = CollectorRegistry()
        self.traffic = Traffic()
        self._reactor = reactor
        self._state = state
        self.tallies = Tallies(self.registry, counters, encoders)
        self._around = around
        self._seen = _Seen()
        self._look: Any = None
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # --- how late the reactor is ---------------------------------------------------------------

    def start(self) -> None:
        """Begin to measure the reactor."""
        due_s = self._reactor.seconds() + _DELAY_EVERY_S
        self._look = self._reactor.callLater(_DELAY_EVERY_S, self._called, due_s)

    def stop(self) -> None:
        """Measure it no more."""
        if self._look is not None and self._look.active():
            self._look.cancel()

    def _called(self, due_s: float) -> None:
        self.tallies.delay_s.observe(max(0.0, self._reactor.seconds() - due_s))
        self.start()

    # --- what is looked at when somebody asks --------------------------------------------------

    async def refresh(self) -> None:
        """Look at all jobs, workers and attempts, letting others go on in between."""
        status = await self._around.status()
        seen = _Seen(
            jobs=dict(status.jobs),
            workers=dict(status.workers),
            disk_used=status.disk.used_bytes,
            disk_free=status.disk.free_bytes,
        )
        pauses = Pauses(self._reactor)
        for job in list(self._state.active_jobs()):
            _look_at_job(seen, job)
            await pauses.due()
        for worker in list(self._state.workers.values()):
            _look_at_worker(seen, worker)
            await pauses.due()
        await pauses.due()
        seen.attempts = dict(Tally(a.state.value for a in self._state.attempts.values()))
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Everything that is not counted as it happens, as it was seen last."""
        yield from self._of_jobs()
        yield from self._of_workers()
        yield from self._of_store()
        around, counters = self._around, self.tallies.counters
        yield _counter(
            "ffcluster_lease_expirations",
            "Attempts whose worker was not heard of for too long, since the cluster began.",
            counters.lease_expirations,
        )
        yield _counter(
            "ffcluster_superseded_results",
            "Results that came too late to count, since the cluster began.",
            counters.superseded_results,
        )
        yield _counter(
            "ffcluster_events", "Events written down since the cluster began.",
            counters.next_event - 1,
        )  # fmt: skip
        moved = CounterMetricFamily(
            "ffcluster_transfer_bytes",
            "Bytes in bodies of HTTP requests (received) and of answers (sent).",
            labels=["direction"],
        )
        moved.add_metric(["received"], self.traffic.received_bytes)
        moved.add_metric(["sent"], self.traffic.sent_bytes)
        yield moved
        yield _gauge("ffcluster_viewers", "Open streams of live events.", around.viewers())
        facts = {
            "version": around.version,
            "python": platform.python_version(),
            "ffmpeg": around.ffmpeg,
        }
        yield InfoMetricFamily("ffcluster_build", "What the coordinator is made of.", facts)

    def _of_jobs(self) -> Iterator[Metric]:
        seen = self._seen
        yield _by_state(
            "ffcluster_jobs", "Jobs that are remembered, ended ones among them.",
            JobState, seen.jobs,
        )  # fmt: skip
        yield _gauge("ffcluster_jobs_paused", "Jobs that are paused.", seen.jobs_paused)
        yield _gauge(
            "ffcluster_queue_depth",
            "Jobs of which nothing is encoded yet: the source is indexed, or they wait.",
            seen.queue_depth,
        )
        yield _gauge(
            "ffcluster_waiting_segments",
            "Segments that were given before and must be given again.",
            seen.waiting_segments,
        )
        yield _gauge(
            "ffcluster_remaining_frames",
            "Frames of unfinished jobs that are in no committed segment.",
            seen.remaining_frames,
        )
        live = [state for state in AttemptState if state is not AttemptState.ENDED]
        yield _by_state("ffcluster_live_attempts", "Attempts under way.", live, seen.attempts)

    def _of_workers(self) -> Iterator[Metric]:
        seen = self._seen
        yield _by_state("ffcluster_workers", "Workers by state.", WorkerState, seen.workers)
        yield _gauge(
            "ffcluster_workers_draining",
            "Connected workers that are given nothing more.",
            seen.workers_draining,
        )
        slots = GaugeMetricFamily(
            "ffcluster_worker_slots",
            "Slots of connected workers: those that encode, and those that could.",
            labels=["state"],
        )
        slots.add_metric(["busy"], seen.slots_busy)
        slots.add_metric(["free"], seen.slots_free)
        yield slots

    def _of_store(self) -> Iterator[Metric]:
        around, seen = self._around, self._seen
        yield _gauge(
            "ffcluster_store_reachable",
            "Whether what changes can be stored: 1 or 0.",
            int(around.reachable()),
        )
        yield _gauge(
            "ffcluster_accepting_work",
            "Whether anything new is begun (room on the disk, store reachable): 1 or 0.",
            int(around.accepts()),
        )
        if seen.disk_used is not None:
            yield _gauge(
                "ffcluster_disk_used_bytes", "Space that uploads and results take up.",
                seen.disk_used,
            )  # fmt: skip
        if seen.disk_free is not None:
            yield _gauge(
                "ffcluster_disk_free_bytes", "Free space where the state directory is.",
                seen.disk_free,
            )  # fmt: skip
        yield _gauge(
            "ffcluster_disk_reserve_bytes", "Free space below which nothing new is begun.",
            around.min_free_bytes,
        )  # fmt: skip
        if around.max_disk_bytes is not None:
            yield _gauge(
                "ffcluster_disk_limit_bytes", "Space that uploads and results may take up.",
                around.max_disk_bytes,
            )  # fmt: skip


def _look_at_job(seen: _Seen, job: Job) -> None:
    seen.jobs_paused += job.paused
    seen.queue_depth += job.state in _NOT_BEGUN
    seen.waiting_segments += len(job.waiting)
    if job.summary is not None:
        done = job.frames_committed + job.frames_missing
        seen.remaining_frames += max(0, job.summary.frame_count - done)


def _look_at_worker(seen: _Seen, worker: Worker) -> None:
    if not worker.present:
        return
    seen.workers_draining += worker.draining
    running = Tally(a.device for a in worker.attempts.values() if a.state is AttemptState.RUNNING)
    seen.slots_busy += running.total()
    if worker.draining:
        return
    slots: dict[str, int] = {}
    for capability in worker.facts.capabilities:
        device = capability.device
        slots[device] = max(slots.get(device, 0), worker.slots(capability))
    seen.slots_free += sum(max(0, most - running[device]) for device, most in slots.items())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _by_state(
    name: str, text: str, states: Iterable[Any], counted: dict[str, int]
) -> GaugeMetricFamily:
    """A gauge with every state, those that nothing is in too."""
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in states:
        family.add_metric([state.value], counted.get(state.value, 0))
    return family
