"""Single pictures of jobs' films: taken when somebody looks, one at a time, and kept for a while.

Requests for the same picture are one; of too many different ones the rest is refused. A file that
keeps ending the process that reads it is left alone for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from ffcluster.core.job import Job, JobState
from ffcluster.core.media import MediaSummary
from ffcluster.core.model import JobId
from ffcluster.errors import Cancelled, Conflict, DiskFull, HelperDied, NotFound, TooMany
from ffcluster.media.thumbnailer import PictureOrder
from ffcluster.services.viewing.picturefiles import INDEX, PictureFiles

log = Logger()

# Different pictures that may wait for their turn.
_MAX_WAITING = 64
# The process that reads a film may end so often in a row.
_MAX_DEATHS = 3
_REST_S = 600.0
# A result may be larger than its source, yet not without bound.
_RESULT_PIXELS = 4


class Taker(Protocol):
    """Takes pictures; see `ffcluster.media.thumbnailer.Thumbnailer`."""

    def take(self, order: PictureOrder, target: Path) -> Awaitable[int]:
        """Write a picture to `target`; return its size in bytes."""

    def close(self) -> Awaitable[None]:
        """Take no more."""


@attrs.frozen
class Still:
    """A picture that somebody wants to see.

    Attributes:
        result: Whether it is of the result, rather than of the source.
        frame: The frame, or None: the one that is shown at `at_s`.
        at_s: Seconds since the first frame.
        exact: Whether it must be that frame; otherwise one a little before it does.
        height: Height in pixels, at most.
    """

    result: bool
    frame: int | None
    at_s: Fraction
    exact: bool
    height: int

    @property
    def name(self) -> str:
        """A file's name that no other picture of the job has."""
        side = "result" if self.result else "source"
        when = f"{self.at_s * 1_000_000 // 1}us" if self.frame is None else str(self.frame)
        return f"{side}-{'' if self.exact else 'about-'}{when}-{self.height}.jpg"


@attrs.define(eq=False)
class _Wanted:
    """A picture that waits, and everybody who waits for it."""

    job: Job
    still: Still
    waiting: list[Deferred[bytes]] = attrs.field(factory=list)

    def answer(self, outcome: bytes | Failure) -> None:
        """Tell everybody."""
        for one in self.waiting:
            if isinstance(outcome, Failure):
                one.errback(outcome)
            else:
                one.callback(outcome)


@attrs.define
class _Trouble:
    deaths: int = 0
    until: float = 0.0


class Stills:
    """Takes pictures of jobs.

    Args:
        taker: Takes them.
        files: Keeps them.
        source_path: Where a job's source is.
        index_path: Where a job keeps its source's index while it is not over.
        short_of: Why nothing new should be written, or "".
        seconds: A clock.
    """

    def __init__(
        self,
        taker: Taker,
        files: PictureFiles,
        *,
        source_path: Callable[[Job], Path],
        index_path: Callable[[JobId], Path],
        short_of: Callable[[], str],
        seconds: Callable[[], float],
    ) -> None:
        self._taker = taker
        self._files = files
        self._source_path = source_path
        self._index_path = index_path
        self._short_of = short_of
        self._seconds = seconds
        self._wanted: OrderedDict[tuple[str, str], _Wanted] = OrderedDict()
        self._busy = False
        self._troubles: dict[str, _Trouble] = {}

    async def picture(self, job: Job, still: Still) -> bytes:
        """A picture as JPEG.

        Raises:
            NotFound: There is no such frame, or the file is gone.
            Conflict: The source is not indexed yet, or there is no result yet.
            TooMany: Too many pictures wait already.
            SourceError, HelperDied, DiskFull: It could not be taken.
        """
        summary = _summary(job, still)
        if still.frame is not None and not 0 <= still.frame < summary.frame_count:
            raise NotFound(message=f"Job {job.id} has no frame {still.frame}.")
        if self._files.has(job.id, still.name):
            known = await self._files.read(job.id, still.name)
            if known is not None:
                return known
        return await self._queued(job, still)

    def forget(self, job_id: str) -> None:
        """The job is forgotten, or its film may be another one."""
        self._troubles.pop(job_id, None)

    async def close(self) -> None:
        """Take no more pictures; whoever waits is told so."""
        waiting, self._wanted = self._wanted, OrderedDict()
        for wanted in waiting.values():
            wanted.answer(Failure(Cancelled(message="The coordinator stops.")))
        await self._taker.close()

    # --- the queue -----------------------------------------------------------------------------

    def _queued(self, job: Job, still: Still) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred()
        key = (job.id, still.name)
        wanted = self._wanted.get(key)
        if wanted is None:
            trouble = self._troubles.get(job.id)
            if trouble is not None and trouble.until > self._seconds():
                raise Conflict(
                    message=f"No pictures are taken of job {job.id} for now.",
                    advice="Its film kept ending the process that reads it.",
                )
            if len(self._wanted) >= _MAX_WAITING:
                raise TooMany(
                    message=f"{_MAX_WAITING} pictures wait to be taken already.",
                    advice="Ask again in a few seconds.",
                )
            wanted = self._wanted[key] = _Wanted(job, still)
            if still.exact:
                # Somebody looks at just this one; small ones come by the dozen.
                self._wanted.move_to_end(key, last=False)
        wanted.waiting.append(answer)
        if not self._busy:
            self._busy = True
            ensureDeferred(self._work()).addErrback(
                lambda failure: log.failure("taking pictures failed", failure)
            )
        return answer

    async def _work(self) -> None:
        """Take what is wanted, one after the other."""
        try:
            while self._wanted:
                key, wanted = next(iter(self._wanted.items()))
                try:
                    outcome: bytes | Failure = await self._taken(wanted.job, wanted.still)
                except Exception:  # noqa: BLE001 - whoever waits is told, whatever it is
                    outcome = Failure()
                if self._wanted.pop(key, None) is wanted:
                    wanted.answer(outcome)
        finally:
            self._busy = False

    async def _taken(self, job: Job, still: Still) -> bytes:
        if self._short_of():
            raise DiskFull(message=f"No pictures are taken now: {self._short_of()}")
        order = await self._order(job, still)
        await self._files.prepare(job.id)
        target = self._files.path(job.id, still.name)
        trouble = self._troubles.setdefault(job.id, _Trouble())
        try:
            size = await self._taker.take(order, target)
        except HelperDied:
            trouble.deaths += 1
            if trouble.deaths >= _MAX_DEATHS:
                trouble.deaths, trouble.until = 0, self._seconds() + _REST_S
            raise
        trouble.deaths = 0
        data: bytes = await deferToThread(target.read_bytes)
        await self._files.add(job.id, still.name, size)
        return data

    # --- where it is taken from ----------------------------------------------------------------

    async def _order(self, job: Job, still: Still) -> PictureOrder:
        summary = _summary(job, still)
        index = await self._index(job)
        result = still.result
        file = await self._file(job, result=result)
        if file is None and not result and not still.exact and job.outcome is not None:
            # The source is gone; what was made of it shows the same.
            result, file = True, await self._file(job, result=True)
        if file is None:
            raise _gone(job, result=result)
        at_s = still.at_s
        if still.frame is not None:
            at_s = Fraction(still.frame / summary.mean_fps)
        pixels = summary.video.width * summary.video.height
        return PictureOrder(
            file=file,
            index=index,
            is_source=not result,
            frame=still.frame,
            at_s=at_s,
            exact=still.exact,
            height=still.height,
            pixels=pixels * _RESULT_PIXELS if result else pixels,
        )

    async def _index(self, job: Job) -> Path | None:
        # The job's own goes when the job ends, perhaps while a picture is taken.
        if self._files.has(job.id, INDEX):
            return self._files.path(job.id, INDEX)
        own = self._index_path(job.id)
        return own if await deferToThread(own.exists) else None

    async def _file(self, job: Job, *, result: bool) -> Path | None:
        """The film, if it is there and still the one that it was."""
        if result:
            outcome = job.outcome
            known = (Path(outcome.path), outcome.size_bytes) if outcome else None
        else:
            known = (self._source_path(job), job.summary.size_bytes) if job.summary else None
        if known is None:
            return None
        path, size_bytes = known
        return path if await deferToThread(_size, path) == size_bytes else None


def _summary(job: Job, still: Still) -> MediaSummary:
    """What is known of the film.

    Raises:
        Conflict: There is nothing to be seen yet.
    """
    if job.summary is None:
        raise Conflict(message=f"The source of job {job.id} is not indexed yet.")
    if still.result and job.state is not JobState.COMPLETED:
        raise Conflict(message=f"Job {job.id} is {job.state.value}: it has no result yet.")
    return job.summary


def _gone(job: Job, *, result: bool) -> NotFound:
    """Says which film is gone, and why it may be."""
    if result:
        return NotFound(
            message="The result is not where it was published, or was changed.",
            advice="It can be compared again when it is back at its place.",
        )
    if job.source.uploaded:
        return NotFound(
            message="The uploaded source is not kept any more.",
            advice="The coordinator's --keep-uploads says for how long uploads stay.",
        )
    return NotFound(
        message="The source is not where it was, or was changed.",
        advice="It can be compared again when it is back at its place.",
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
