"""Pictures of jobs for people: films, Gantt charts, attempts, single frames, reports.

Only looks. What takes more than a moment is done in threads, in a process of its own, or in small
portions; what several people ask for at the same time is done once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from ffcluster import __version__
from ffcluster.core.cluster import ClusterState
from ffcluster.core.durable import AttemptEntry, Changes, JobEntry
from ffcluster.core.entries import attempt_entry, job_entry, share_entry
from ffcluster.core.job import Job, JobState
from ffcluster.core.model import Epoch, JobId
from ffcluster.core.picturing import (
    MAX_BUCKETS,
    Stretch,
    Window,
    filmstrip,
    gantt,
    stretch_of,
)
from ffcluster.core.segment import AttemptEnd, AttemptState, Segment
from ffcluster.errors import Conflict, InvalidOption, NotFound
from ffcluster.services.viewing.picturefiles import PictureFiles
from ffcluster.services.viewing.spans import Spans
from ffcluster.services.viewing.stills import Still, Stills
from ffcluster.web.filmstrip import Filmstrip, FilmstripQuery
from ffcluster.web.gantt import Gantt, GanttQuery, RunningAttempt
from ffcluster.web.pictures import Side
from ffcluster.web.report import MAX_FAILURES, JobReport, Maker
from ffcluster.web.resource import Pauses
from ffcluster.web.stream import timestamp

T = TypeVar("T")

# Segments that are looked at before it is asked whose turn it is.
_AT_ONCE = 50
# What was drawn is good for so long.
_FRESH_S = 1.0
_MAX_DRAWN = 64


class Pictures:
    """Answers `ffcluster.web`'s questions about how jobs look.

    Args:
        state: The cluster's state; only read here.
        spans: What was tried for jobs.
        stills: Takes pictures.
        files: Keeps them.
        reactor: Lets others go on in between.
        seconds: The coordinator's clock.
        aside: Takes care of what nobody waits for.
        index_path: Where a job keeps its source's index while it is not over.
    """

    def __init__(
        self,
        state: ClusterState,
        spans: Spans,
        stills: Stills,
        files: PictureFiles,
        *,
        reactor: Any,
        seconds: Callable[[], float],
        aside: Callable[[Deferred[Any]], None],
        index_path: Callable[[JobId], Any],
    ) -> None:
        self._state = state
        self._spans = spans
        self._stills = stills
        self._files = files
        self._reactor = reactor
        self._seconds = seconds
        self._aside = aside
        self._index_path = index_path
        self._drawn = _Drawn(seconds)
        self._kept: set[JobId] = set()

    @property
    def used_bytes(self) -> int:
        """What the pictures that were taken take up."""
        return self._files.used_bytes

    async def open(self) -> None:
        """Find what an earlier process left."""
        await self._files.open([str(job_id) for job_id in self._state.jobs])

    async def close(self) -> None:
        """Take no more pictures."""
        await self._stills.close()

    def stored(self, changes: Sequence[Changes]) -> None:
        """These changes are stored now."""
        self._spans.stored(changes)
        for one in changes:
            for entry in one.jobs:
                self._look_after(entry)
            for job_id in one.removed_jobs:
                self._drop(job_id)

    def _look_after(self, job: JobEntry) -> None:
        """Keep the index of a source that was read; forget what a job that begins anew showed."""
        if job.state == JobState.QUEUED and job.history:
            self._drop(job.id)
        elif job.summary is not None and job.id not in self._kept and job.ended_at is None:
            self._kept.add(job.id)
            index = self._index_path(job.id)
            self._aside(ensureDeferred(self._files.keep_index(job.id, index)))

    def _drop(self, job_id: JobId) -> None:
        self._kept.discard(job_id)
        self._stills.forget(job_id)
        self._aside(ensureDeferred(self._files.drop(job_id)))

    def _job(self, job_id: str) -> Job:
        job = self._state.jobs.get(JobId(job_id))
        if job is None:
            raise NotFound(message=f"There is no job {job_id[:64]}.")
        return job

    # --- the film ------------------------------------------------------------------------------

    async def filmstrip(self, job_id: str, query: FilmstripQuery) -> Filmstrip:
        """See `ffcluster.web.filmstrip.FilmDesk`."""
        job = self._job(job_id)
        if job.summary is None:
            return Filmstrip(0, 0.0, 0, 0, ())
        stop = job.frame_count if query.stop is None else query.stop
        if not query.first < stop <= job.frame_count:
            raise InvalidOption(
                message=f"There are no frames {query.first} to {stop}.",
                advice=f"The film has {job.frame_count} frames, the first one is 0.",
                option="stop" if query.first < job.frame_count else "first",
            )
        return await self._drawn.get((job.id, query), lambda: self._film(job, query, stop))

    async def _film(self, job: Job, query: FilmstripQuery, stop: int) -> Filmstrip:
        assert job.summary is not None  # noqa: S101 - looked at by the caller
        pauses = Pauses(self._reactor)
        stretches = await self._stretches(job, query.first, stop, pauses)
        steps = filmstrip(stretches, query.first, stop, query.buckets)
        buckets = await _paced(steps, pauses)
        return Filmstrip(job.frame_count, job.summary.duration_s, query.first, stop, buckets)

    async def _stretches(self, job: Job, first: int, stop: int, pauses: Pauses) -> list[Stretch]:
        """The segments that touch frames [first, stop), in order."""
        if not job.segments and job.ended:
            return await self._spans.film(job.id)
        starts = sorted(job.segments)
        begin = max(0, bisect_right(starts, first) - 1)
        wanted = [job.segments[start] for start in starts[begin : bisect_left(starts, stop)]]
        stretches: list[Stretch] = []
        for number in range(0, len(wanted), _AT_ONCE):
            stretches += [_stretch(job, one) for one in wanted[number : number + _AT_ONCE]]
            await pauses.due()
        return stretches

    # --- attempts ------------------------------------------------------------------------------

    async def gantt(self, job_id: str, query: GanttQuery) -> Gantt:
        """See `ffcluster.web.gantt.GanttDesk`."""
        job = self._job(job_id)
        if query.to_s is not None and query.to_s < query.from_s:
            raise InvalidOption(
                message=f"{query.to_s:g} s is before {query.from_s:g} s.", option="to_s"
            )
        return await self._drawn.get((job.id, query), lambda: self._chart(job, query))

    async def _chart(self, job: Job, query: GanttQuery) -> Gantt:
        spans = await self._spans.attempts(job.id)
        now = self._seconds() if job.ended_at is None else job.ended_at
        now_s = max(0.0, now - job.submitted_at)
        to_s = max(now_s, query.from_s) if query.to_s is None else query.to_s
        window = Window(job.submitted_at, query.from_s, to_s, now_s)
        steps = gantt(spans, window, query.bars, query.first_lane, query.lanes)
        drawn = await _paced(steps, Pauses(self._reactor))
        return Gantt(
            timestamp(job.submitted_at), now_s, query.from_s, to_s, drawn.lanes, drawn.left_out,
            drawn.first, drawn.count,
        )  # fmt: skip

    async def attempt(self, job_id: str, epoch: int) -> RunningAttempt:
        """See `ffcluster.web.gantt.GanttDesk`."""
        job = self._job(job_id)
        live = self._state.attempts.get(Epoch(epoch))
        if live is not None and live.job_id == job.id and not live.trial:
            entry = attempt_entry(live, self._state.workers[live.worker_id].facts.name)
            running = live.state is AttemptState.RUNNING
            return RunningAttempt(
                entry, live.frames_done if running else None, live.fps if running else None
            )
        stored = await self._spans.attempt(job.id, epoch)
        if stored is None:
            raise NotFound(message=f"Job {job.id} has no attempt {epoch}.")
        return RunningAttempt(stored)

    # --- frames --------------------------------------------------------------------------------

    async def thumbnail(self, job_id: str, frame: int, height: int) -> bytes:
        """See `ffcluster.web.pictures.PictureDesk`."""
        still = Still(result=False, frame=frame, at_s=Fraction(0), exact=False, height=height)
        return await self._stills.picture(self._job(job_id), still)

    async def preview(self, job_id: str, side: Side, at_s: float, height: int) -> bytes:
        """See `ffcluster.web.pictures.PictureDesk`."""
        result = side is Side.RESULT
        moment = Fraction(round(at_s * 1_000_000), 1_000_000)
        still = Still(result=result, frame=None, at_s=moment, exact=True, height=height)
        return await self._stills.picture(self._job(job_id), still)

    # --- reports -------------------------------------------------------------------------------

    async def report(self, job_id: str) -> JobReport:
        """See `ffcluster.web.report.ReportDesk`."""
        job = self._job(job_id)
        if not job.ended:
            raise Conflict(
                message=f"Job {job.id} is {job.state.value}: a report is made when it is over.",
                advice="Its page shows how it goes on.",
            )
        film = await self.filmstrip(job_id, FilmstripQuery(buckets=MAX_BUCKETS))
        chart = await self.gantt(job_id, GanttQuery())
        counted = _Counted()
        await self._spans.each_attempt(job.id, counted.add)
        return JobReport(
            job=job_entry(job),
            coordinator=__version__,
            shares=tuple(share_entry(job.id, *share) for share in job.shares.items()),
            film=film,
            gantt=chart,
            attempts=counted.attempts,
            makers=counted.makers,
            failures=tuple(counted.failures),
            failed=counted.failed,
        )


async def _paced(steps: Generator[None, None, T], pauses: Pauses) -> T:
    """Take all steps; in this thread, as one that computes in another keeps it waiting longer."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            drawn: T = stop.value
            return drawn
        await pauses.due()


def _stretch(job: Job, segment: Segment) -> Stretch:
    attempt = segment.committed or next(iter(segment.live.values()), None)
    share = job.shares.get(attempt.worker_id) if attempt else None
    return stretch_of(segment, share.name if share else "")


@attrs.define
class _Counted:
    """What a report tells of attempts."""

    attempts: int = 0
    failed: int = 0
    failures: list[AttemptEntry] = attrs.field(factory=list)
    makers: Counter[Maker] = attrs.field(factory=Counter)

    def add(self, entry: AttemptEntry) -> None:
        """Count an attempt."""
        self.attempts += 1
        capability = entry.capability
        if entry.end is AttemptEnd.FAILED:
            self.failed += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append(entry)
        elif entry.end is AttemptEnd.COMMITTED:
            ffmpeg = entry.proof.ffmpeg if entry.proof else capability.ffmpeg
            maker = Maker(capability.encoder, capability.device, capability.driver, ffmpeg)
            self.makers[maker] += 1


class _Drawn:
    """What was drawn a moment ago, so that many who look cost no more than one.

    Args:
        seconds: A clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._known: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._waiting: dict[Hashable, list[Deferred[Any]]] = {}

    async def get(self, key: Hashable, draw: Callable[[], Awaitable[T]]) -> T:
        """What `draw` gives, or gave for the same key a moment ago."""
        known = self._known.get(key)
        if known is not None and self._seconds() < known[0]:
            fresh: T = known[1]
            return fresh
        waiting = self._waiting.get(key)
        if waiting is not None:
            told: Deferred[T] = Deferred()
            waiting.append(told)
            return await told
        others: list[Deferred[T]] = []
        self._waiting[key] = others
        try:
            drawn = await draw()
        except BaseException as error:
            del self._waiting[key]
            for other in others:
                other.errback(error)
            raise
        del self._waiting[key]
        self._known[key] = (self._seconds() + _FRESH_S, drawn)
        self._known.move_to_end(key)
        while len(self._known) > _MAX_DRAWN:
            self._known.popitem(last=False)
        for other in others:
            other.callback(drawn)
        return drawn
