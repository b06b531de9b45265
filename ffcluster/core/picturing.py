"""Pictures of a job's work: its film in buckets, its attempts as bars in lanes.

However many segments and attempts there are, what comes out is bounded. Drawing is done in short
steps, so that whoever has more to do can do it in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import attrs

from ffcluster.core.durable import AttemptEntry, SegmentEntry
from ffcluster.core.segment import AttemptEnd, AttemptState, Segment, SegmentState

MAX_BUCKETS = 400
MAX_BARS = 2000

# Attempts that are looked at in one step.
_STEP = 500

_CHECKING = "checking"
_STATES = ("pending", "assigned", _CHECKING, "committed", "missing")

# --- the film ------------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """Frames `first` to `stop` of a film in one state: a segment, or what is not cut yet.

    `state` is pending, assigned, checking, committed or missing.
    """

    first: int
    stop: int
    state: str
    worker: str = ""
    encoder: str = ""
    size_bytes: int | None = None
    retries: int = 0
    speculative: bool = False
    is_segment: bool = True


@attrs.frozen
class FramesByState:
    """How many frames of a bucket are in which state."""

    pending: int = 0
    assigned: int = 0
    checking: int = 0
    committed: int = 0
    missing: int = 0


@attrs.frozen
class Bucket:
    """Consecutive frames of a film, of one segment or of several.

    Attributes:
        first_frame: The first of them.
        frame_count: How many they are.
        segments: Segments that begin or go on here; 0 where the film is not cut yet.
        states: Its frames by the state of their segments.
        worker: Who makes or made all of them; None where it was more than one, or nobody yet.
        encoder: What they are or were made with, likewise.
        size_bytes: Bytes of the committed results; None where there is none.
        retries: Attempts beyond the first of each segment.
        speculative: Whether an overdue attempt is or was overtaken by a second one.
    """

    first_frame: int
    frame_count: int
    segments: int
    states: FramesByState
    worker: str | None
    encoder: str | None
    size_bytes: int | None
    retries: int
    speculative: bool


def stretch_of(segment: Segment, worker: str) -> Stretch:
    """A segment as it is now; `worker` is the name of whoever makes or made it."""
    attempt = segment.committed or next(iter(segment.live.values()), None)
    checking = attempt is not None and attempt.state is AttemptState.CHECKING
    report = segment.report if segment.state is SegmentState.COMMITTED else None
    return Stretch(
        segment.frames.first,
        segment.frames.stop,
        _CHECKING if checking else segment.state.value,
        worker if attempt else "",
        attempt.capability.encoder if attempt else "",
        report.size_bytes if report else None,
        max(0, segment.tried - 1),
        bool(segment.live and any(a.speculative for a in segment.live.values()))
        or (segment.committed is not None and segment.committed.speculative),
    )


def stored_stretches(
    segments: Iterable[SegmentEntry], spans: Iterable[AttemptSpan]
) -> list[Stretch]:
    """The segments of a job that is over, in order, from what is stored of it."""
    made = {span.epoch: span for span in spans if span.end == AttemptEnd.COMMITTED}
    return [_stored(segment, made.get(segment.committed or -1)) for segment in segments]


def _stored(segment: SegmentEntry, made: AttemptSpan | None) -> Stretch:
    report = segment.report if segment.state == SegmentState.COMMITTED else None
    return Stretch(
        segment.frames.first,
        segment.frames.stop,
        segment.state,
        made.worker if made else "",
        made.encoder if made else "",
        report.size_bytes if report else None,
        max(0, segment.tried - 1),
        made.speculative if made else False,
    )


def filmstrip(
    stretches: Sequence[Stretch], first: int, stop: int, buckets: int
) -> Generator[None, None, tuple[Bucket, ...]]:
    """Divide frames [first, stop) into at most `buckets` buckets.

    A bucket for each segment where they fit; otherwise neighbours share one, so that all buckets
    are about equally wide. No segment is divided, but for the ends of what is asked for.

    Args:
        stretches: Segments that do not overlap, in order of frames; what lies between or after
            them is not cut yet, and pending.
        first: First frame.
        stop: Frame after the last.
        buckets: Most buckets, at least 1.

    Yields:
        After every step.

    Returns:
        The buckets, in order.
    """
    tiles: Iterable[list[Stretch]] = ([stretch] for stretch in _tiled(stretches, first, stop))
    if sum(1 for _ in _tiled(stretches, first, stop)) > buckets:
        yield

        def place(stretch: Stretch) -> int:
            return (stretch.first - first) * buckets // (stop - first)

        shared = groupby(_tiled(stretches, first, stop), place)
        tiles = (list(group) for _, group in shared)
    drawn: list[Bucket] = []
    for group in tiles:
        drawn.append(_bucket(group))
        yield
    return tuple(drawn)


def _tiled(stretches: Iterable[Stretch], first: int, stop: int) -> Iterator[Stretch]:
    """The stretches cut to [first, stop), and what lies between them."""
    at = first
    for stretch in stretches:
        if stretch.stop <= at:
            continue
        if stretch.first >= stop:
            break
        if stretch.first > at:
            yield Stretch(at, stretch.first, "pending", is_segment=False)
        begin, end = max(at, stretch.first), min(stop, stretch.stop)
        unchanged = (begin, end) == stretch[:2]
        yield stretch if unchanged else stretch._replace(first=begin, stop=end)
        at = end
    if at < stop:
        yield Stretch(at, stop, "pending", is_segment=False)


def _bucket(group: Sequence[Stretch]) -> Bucket:
    frames = dict.fromkeys(_STATES, 0)
    for stretch in group:
        frames[stretch.state] += stretch.stop - stretch.first
    sizes = [stretch.size_bytes for stretch in group if stretch.size_bytes is not None]
    return Bucket(
        first_frame=group[0].first,
        frame_count=group[-1].stop - group[0].first,
        segments=sum(stretch.is_segment for stretch in group),
        states=FramesByState(**frames),
        worker=_common(stretch.worker for stretch in group),
        encoder=_common(stretch.encoder for stretch in group),
        size_bytes=sum(sizes) if sizes else None,
        retries=sum(stretch.retries for stretch in group),
        speculative=any(stretch.speculative for stretch in group),
    )


def _common(words: Iterable[str]) -> str | None:
    """The one word that all say, or None."""
    said = set(words)
    return (said.pop() or None) if len(said) == 1 else None


# --- the attempts --------------------------------------------------------------------------------


class AttemptSpan(NamedTuple):
    """An attempt, reduced to what is drawn of it; times in seconds of the coordinator's clock."""

    epoch: int
    worker_id: str
    worker: str
    first: int
    frames: int
    offered_at: float
    started_at: float | None
    stopped_at: float | None
    state: str
    end: str
    speculative: bool
    fallback: bool
    probe: bool
    encoder: str
    device: str

    @property
    def begins_at(self) -> float:
        """Since when it is drawn: its encoder's start, or its offer where that did not come."""
        return self.offered_at if self.started_at is None else self.started_at


def span_of(attempt: AttemptEntry) -> AttemptSpan:
    """An attempt, reduced; it stopped when its result was delivered, or when it came to nothing."""
    stopped = attempt.ended_at if attempt.delivered_at is None else attempt.delivered_at
    return AttemptSpan(
        attempt.epoch,
        attempt.worker_id,
        attempt.worker_name,
        attempt.frames.first,
        len(attempt.frames),
        attempt.offered_at,
        attempt.started_at,
        stopped,
        attempt.state,
        attempt.end.value,
        attempt.speculative,
        attempt.fallback,
        attempt.probe,
        attempt.capability.encoder,
        attempt.capability.device,
    )


@attrs.frozen
class Bar:
    """One attempt in a lane, or several of one lane that are too near to each other to be told.

    Attributes:
        epoch: The attempt; of several the first.
        first_frame: Its first frame; of several the lowest.
        frame_count: Its frames; of several all of them together.
        start_s: When it began, within what was asked for; in seconds since the job was submitted.
        end_s: When it stopped, likewise; None while it goes on.
        state: `offered`, `running`, `checking` or `ended`; of several that differ "".
        end: `live`, `committed`, `failed`, `returned` or `superseded`; of several that differ
            "mixed".
        speculative: Whether one of them overtakes another attempt.
        fallback: Whether one of them stands in for hardware.
        probe: Whether one of them is the first of a worker whose rate was not known.
        encoder: The encoder; of several that differ "".
        device: The device, "" for the CPU; of several that differ "".
        merged: How many attempts it stands for.
    """

    epoch: int
    first_frame: int
    frame_count: int
    start_s: float
    end_s: float | None
    state: str
    end: str
    speculative: bool
    fallback: bool
    probe: bool
    encoder: str
    device: str
    merged: int = 1


@attrs.frozen
class Lane:
    """What one worker did, in order of time."""

    worker_id: str
    worker: str
    bars: tuple[Bar, ...]


@attrs.frozen
class Window:
    """The time that a Gantt chart shows, in seconds since `origin`, which is a clock's time."""

    origin: float
    from_s: float
    to_s: float
    now_s: float

    def start_s(self, span: AttemptSpan) -> float:
        """When an attempt begins, within the window."""
        return min(max(self.from_s, span.begins_at - self.origin), self.to_s)

    def end_s(self, span: AttemptSpan) -> float | None:
        """When an attempt ends, within the window; None: not before its end, as far as is known."""
        if span.stopped_at is None:
            return None
        return min(max(self.from_s, span.stopped_at - self.origin), self.to_s)

    def shows(self, span: AttemptSpan) -> bool:
        """Whether anything of an attempt lies in the window."""
        stopped_s = self.now_s if span.stopped_at is None else span.stopped_at - self.origin
        return span.begins_at - self.origin <= self.to_s and stopped_s >= self.from_s

    def cell(self, span: AttemptSpan, cells: int) -> int:
        """In which of so many equal parts of the window an attempt begins."""
        width = self.to_s - self.from_s
        part = (self.start_s(span) - self.from_s) / width if width > 0 else 0.0
        return min(cells - 1, int(part * cells))


@attrs.frozen
class Lanes:
    """Lanes of a Gantt chart.

    Attributes:
        lanes: Those that were asked for, by name.
        first: How many lanes are before them.
        count: How many there are altogether.
        left_out: How many workers have no lane because there are more than bars.
    """

    lanes: tuple[Lane, ...]
    first: int
    count: int
    left_out: int


def gantt(
    spans: Sequence[AttemptSpan],
    window: Window,
    bars: int,
    first_lane: int = 0,
    most_lanes: int | None = None,
) -> Generator[None, None, Lanes]:
    """Draw attempts as at most `bars` bars, in a lane for each worker.

    Where there are more, those of a lane that begin close together and ended alike become one, in
    the fullest lanes first. Failures are not hidden among successes as long as a lane has room for
    more than one bar.

    Args:
        spans: The attempts.
        window: The time that is shown.
        bars: Most bars, at least 1.
        first_lane: How many lanes to pass over; those are sorted by name.
        most_lanes: How many lanes to draw at most; every one by default.

    Yields:
        After every step.

    Returns:
        The lanes.
    """
    by_worker: dict[str, list[AttemptSpan]] = {}
    for number, span in enumerate(spans):
        if window.shows(span):
            by_worker.setdefault(span.worker_id, []).append(span)
        if number % _STEP == 0:
            yield
    everybody = sorted(by_worker.values(), key=lambda own: (own[0].worker, own[0].worker_id))
    stop = None if most_lanes is None else first_lane + most_lanes
    wanted = everybody[first_lane:stop]
    busiest = sorted(wanted, key=len, reverse=True)[:bars]
    quotas = _quotas([len(own) for own in busiest], bars)
    drawn: list[Lane] = []
    for own, quota in zip(busiest, quotas, strict=True):
        drawn.append((yield from _lane(own, window, quota)))
    drawn.sort(key=lambda lane: (lane.worker, lane.worker_id))
    return Lanes(tuple(drawn), first_lane, len(everybody), len(wanted) - len(drawn))


def _quotas(counts: Sequence[int], limit: int) -> list[int]:
    """Share `limit` out: nobody gets more than it has, and what one leaves goes to the others."""
    quotas = [0] * len(counts)
    left = limit
    for served, place in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        quotas[place] = min(counts[place], left // (len(counts) - served))
        left -= quotas[place]
    return quotas


def _lane(spans: list[AttemptSpan], window: Window, quota: int) -> Generator[None, None, Lane]:
    fits = len(spans) <= quota
    groups = [[span] for span in spans] if fits else (yield from _grouped(spans, window, quota))
    bars: list[Bar] = []
    for group in groups:
        bars.append(_bar(group, window))
        yield
    bars.sort(key=lambda bar: (bar.start_s, bar.epoch))
    return Lane(spans[0].worker_id, spans[0].worker, tuple(bars))


def _grouped(
    spans: list[AttemptSpan], window: Window, quota: int
) -> Generator[None, None, list[list[AttemptSpan]]]:
    ends = {span.end for span in spans}
    apart = len(ends) <= quota
    cells = quota // len(ends) if apart else quota
    groups: dict[tuple[str, int], list[AttemptSpan]] = {}
    for number, span in enumerate(spans):
        kind = span.end if apart else ""
        groups.setdefault((kind, window.cell(span, cells)), []).append(span)
        if number % _STEP == 0:
            yield
    return list(groups.values())


def _bar(group: Sequence[AttemptSpan], window: Window) -> Bar:
    first = min(group)
    ends = [window.end_s(span) for span in group]
    return Bar(
        epoch=first.epoch,
        first_frame=min(span.first for span in group),
        frame_count=sum(span.frames for span in group),
        start_s=min(window.start_s(span) for span in group),
        end_s=None if None in ends else max(end for end in ends if end is not None),
        state=_common(span.state for span in group) or "",
        end=_common(span.end for span in group) or "mixed",
        speculative=any(span.speculative for span in group),
        fallback=any(span.fallback for span in group),
        probe=any(span.probe for span in group),
        encoder=_common(span.encoder for span in group) or "",
        device=_common(span.device for span in group) or "",
        merged=len(group),
    )
