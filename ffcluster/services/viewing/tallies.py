"""What happens in the cluster, counted and timed as it happens; shown by a registry of metrics.

Counts what is durable, and that once. Labels are ends, outcomes and encoders that the coordinator's
plugins know: never the name of a job, worker or file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from ffcluster.core.durable import AttemptEntry, Changes, Counters, EventEntry
from ffcluster.core.job import JobState
from ffcluster.core.segment import AttemptEnd

_ENCODE_BUCKETS = (1.0, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)
_STORE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DELAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_OTHER = "other"
_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
_SEGMENT_EVENTS = {"segment.lost": "lost", "segment.missing": "missing"}


class Tallies:
    """What is counted as it happens.

    Args:
        registry: Where it is shown.
        counters: The counters as they were stored.
        encoders: Encoders that may be named; all others are one.

    Attributes:
        counters: The counters as they are stored now.
        delay_s: How late the reactor is.
    """

    def __init__(
        self, registry: CollectorRegistry, counters: Counters, encoders: Iterable[str]
    ) -> None:
        self.counters = counters
        self._encoders = frozenset(encoders)
        self._segments = Counter(
            "ffcluster_segments",
            "Segments: committed, lost from the disk afterwards, or left out as missing.",
            ["outcome"],
            registry=registry,
        )
        self._attempts = Counter(
            "ffcluster_attempts",
            "Attempts at segments by what became of them.",
            ["end"],
            registry=registry,
        )
        self._jobs_ended = Counter(
            "ffcluster_jobs_ended",
            "Jobs that ended, by the state they ended in.",
            ["state"],
            registry=registry,
        )
        self._frames = Counter(
            "ffcluster_encoded_frames",
            "Frames in committed segments.",
            ["encoder"],
            registry=registry,
        )
        self._time(registry)
        self._begin_at_0()

    def _time(self, registry: CollectorRegistry) -> None:
        self._encode_s = Histogram(
            "ffcluster_segment_encode_seconds",
            "How long the encoder of a committed segment ran.",
            ["encoder"],
            buckets=_ENCODE_BUCKETS,
            registry=registry,
        )
        self._store_s = Histogram(
            "ffcluster_store_write_seconds",
            "How long it took to store what waited, in one transaction.",
            buckets=_STORE_BUCKETS,
            registry=registry,
        )
        self.delay_s = Histogram(
            "ffcluster_reactor_delay_seconds",
            "How late the reactor made a call that is due every half second.",
            buckets=_DELAY_BUCKETS,
            registry=registry,
        )

    def _begin_at_0(self) -> None:
        """Show what did not happen yet as well: a rate needs a value before the first one."""
        for outcome in ("committed", *_SEGMENT_EVENTS.values()):
            self._segments.labels(outcome)
        for end in AttemptEnd:
            if end is not AttemptEnd.LIVE:
                self._attempts.labels(end.value)
        for state in _ENDS:
            self._jobs_ended.labels(state.value)

    def written(self, took_s: float) -> None:
        """A transaction was stored."""
        self._store_s.observe(took_s)

    def stored(self, changes: Sequence[Changes]) -> None:
        """These changes are durable now."""
        for one in changes:
            self.counters = one.counters or self.counters
            lost = set()
            for event in one.events:
                self._count_event(event)
                if event.kind == "segment.lost":
                    lost.add(event.epoch)
            for attempt in one.attempts:
                if attempt.end is AttemptEnd.LIVE:
                    self._name_encoder(attempt)
                # An attempt whose result was lost is written down a second time.
                elif attempt.epoch not in lost:
                    self._count_attempt(attempt)

    def _count_event(self, event: EventEntry) -> None:
        outcome = _SEGMENT_EVENTS.get(event.kind)
        if outcome is not None:
            self._segments.labels(outcome).inc()
        if event.kind == "job.state":
            state = dict(event.data).get("state")
            if state in _ENDS:
                self._jobs_ended.labels(state).inc()

    def _count_attempt(self, attempt: AttemptEntry) -> None:
        self._attempts.labels(attempt.end.value).inc()
        if attempt.end is not AttemptEnd.COMMITTED:
            return
        self._segments.labels("committed").inc()
        encoder = self._name_encoder(attempt)
        self._frames.labels(encoder).inc(len(attempt.frames))
        if attempt.proof is not None:
            self._encode_s.labels(encoder).observe(max(0.0, attempt.proof.encode_s))

    def _name_encoder(self, attempt: AttemptEntry) -> str:
        """What an encoder is shown as: from its first attempt on, before anything is committed."""
        known = attempt.capability.encoder
        encoder = known if known in self._encoders else _OTHER
        self._frames.labels(encoder)
        self._encode_s.labels(encoder)
        return encoder
