"""Hypothesis strategies for all that is stored, with every value that a field can hold."""

from __future__ import annotations

import enum
import types
import typing
from fractions import Fraction
from typing import Any

import attrs
from hypothesis import strategies as st

import ffcluster.converting  # noqa: F401 - says what the types of all fields are
from ffcluster.core.durable import (
    AttemptEntry,
    Changes,
    Counters,
    DeliveryEntry,
    EventEntry,
    JobEntry,
    KeyEntry,
    SegmentEntry,
    ShareEntry,
    TokenEntry,
    WebhookEntry,
    WorkerEntry,
)
from ffcluster.core.model import BlobRef, JobId, JobSpec, Source
from ffcluster.core.profile import Container, Profile
from ffcluster.core.timeline import FrameRange, TimeBase

KINDS = (
    JobEntry,
    SegmentEntry,
    AttemptEntry,
    ShareEntry,
    WorkerEntry,
    EventEntry,
    KeyEntry,
    TokenEntry,
    WebhookEntry,
    DeliveryEntry,
    Counters,
)

# Unpaired surrogates too: a name of a file on disk need not be text.
_TEXT = st.text(max_size=8)
_COUNTS = st.integers(0, 2**63 - 1)
_TIMES = st.floats(0, 1e12)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: _TEXT,
    bool: st.booleans(),
    Fraction: st.fractions(-1000, 1000, max_denominator=90_000),
    FrameRange: st.builds(
        lambda first, length: FrameRange(first, first + length),
        st.integers(0, 2**40),
        st.integers(1, 2**40),
    ),
    TimeBase: st.builds(TimeBase, st.integers(1, 2**31), st.integers(1, 2**31)),
    dict[str, Any]: st.dictionaries(_TEXT, st.none() | st.booleans() | _COUNTS | _TEXT, max_size=2),
    list[int]: st.lists(_COUNTS, max_size=4),
}
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("submitted_at", "offered_at", "connected_at", "at", "created_at"), _TIMES),
    **dict.fromkeys(
        ("ended_at", "started_at", "delivered_at", "revoked_at", "tried_at"), st.none() | _TIMES
    ),
    # Words of our own, never a text from outside.
    "state": st.sampled_from(["pending", "leased", "committed", "Processing", "Failed", "waiting"]),
    "kind": st.sampled_from(["job.state", "attempt.failed", "worker.joined"]),
}


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type."""
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if attrs.has(kind):
        return of_class(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if {str, float} <= set(arguments):
            # JSON values: no infinity, which would come back as a text.
            return st.none() | st.booleans() | _COUNTS | _TEXT | st.floats(-1e9, 1e9)
        return st.one_of([st.none() if a is type(None) else of_type(a) for a in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of_type(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, arguments))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    raise TypeError(f"no strategy for {kind}")


def of_class(cls: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of an attrs class, every field drawn."""
    attrs.resolve_types(cls)
    named = _BY_NAME | given
    fields = {
        field.name: named[field.name] if field.name in named else of_type(field.type)
        for field in attrs.fields(cls)
    }
    return st.deferred(lambda: st.builds(cls, **fields))


def job(name: str, state: str = "Processing", at: float = 1.0) -> JobEntry:
    """A small job."""
    spec = JobSpec(Profile(), Container.MP4, "out.mp4", "in.mkv")
    return JobEntry(JobId(name), spec, Source("/films/in.mkv"), state, at)


def segment(name: str, first: int, **fields: Any) -> SegmentEntry:
    """A segment of ten frames."""
    return SegmentEntry(JobId(name), FrameRange(first, first + 10), "pending", **fields)


BLOB = BlobRef("ab" * 32, 5)


def _unique(cls: type, identity: Any, size: int, **given: Any) -> st.SearchStrategy[Any]:
    drawn = st.lists(of_class(cls, **given), unique_by=identity, max_size=size)
    return drawn.map(tuple)


@st.composite
def everything(draw: st.DrawFn) -> Changes:
    """Entries of every kind that belong together."""
    states = st.sampled_from(["Queued", "Processing", "Completed", "Failed"])
    jobs = draw(_unique(JobEntry, lambda j: j.id, 2, state=states))
    changes = Changes(
        jobs=jobs,
        workers=draw(_unique(WorkerEntry, lambda w: w.id, 2)),
        events=draw(_unique(EventEntry, lambda e: e.number, 2, number=_COUNTS)),
        tokens=draw(_unique(TokenEntry, lambda t: t.id, 2)),
        webhooks=draw(_unique(WebhookEntry, lambda w: w.id, 2)),
        counters=draw(st.none() | of_type(Counters)),
    )
    if changes.webhooks:
        of_webhooks = {"webhook_id": st.sampled_from([one.id for one in changes.webhooks])}
        told = of_class(EventEntry, number=_COUNTS.filter(lambda number: number < 2**63 - 1))
        deliveries = _unique(
            DeliveryEntry, lambda d: (d.webhook_id, d.event.number), 3, event=told, **of_webhooks
        )
        changes = attrs.evolve(changes, deliveries=draw(deliveries))
    if not jobs:
        return changes
    of_jobs = {"job_id": st.sampled_from([one.id for one in jobs])}
    epochs = st.integers(1, 4)
    committed = {"committed": st.none() | epochs}
    return attrs.evolve(
        changes,
        segments=draw(
            _unique(SegmentEntry, lambda s: (s.job_id, s.frames.first), 3, **of_jobs, **committed)
        ),
        attempts=draw(_unique(AttemptEntry, lambda a: a.epoch, 3, epoch=epochs, **of_jobs)),
        shares=draw(_unique(ShareEntry, lambda s: (s.job_id, s.worker_id), 2, **of_jobs)),
        keys=draw(_unique(KeyEntry, lambda k: k.key, 2, **of_jobs)),
    )
