"""The routes of attempts: `/jobs/{job_id}/gantt` and `/jobs/{job_id}/attempts/{epoch}`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import attrs
from attrs import validators

from ffcluster.core.durable import AttemptEntry
from ffcluster.core.picturing import MAX_BARS, Lane
from ffcluster.errors import Code, ErrorReport, NotFound
from ffcluster.net.access import Scope
from ffcluster.web.routing import Answer, Call, Route
from ffcluster.web.stream import timestamp

_LANE = validators.and_(validators.ge(0), validators.lt(2**31))
_SECONDS = validators.and_(validators.ge(0.0), validators.le(1e9))
# What a failed attempt's evidence may hold was checked by nobody.
_MAX_WORDS, _MAX_LINES, _LONGEST = 1024, 40, 1000


@attrs.frozen
class GanttQuery:
    """Which time to show, and how finely.

    Attributes:
        from_s: Begin of what is shown, in seconds since the job was submitted.
        to_s: Its end; by default now, or when the job ended.
        bars: Most bars.
        first_lane: How many lanes to pass over.
        lanes: Most lanes; all by default.
    """

    from_s: float = attrs.field(default=0.0, validator=_SECONDS)
    to_s: float | None = attrs.field(default=None, validator=validators.optional(_SECONDS))
    bars: int = attrs.field(
        default=1000, validator=validators.and_(validators.ge(1), validators.le(MAX_BARS))
    )
    first_lane: int = attrs.field(default=0, validator=_LANE)
    lanes: int | None = attrs.field(
        default=None,
        validator=validators.optional(validators.and_(validators.ge(1), validators.le(MAX_BARS))),
    )


@attrs.frozen
class Gantt:
    """Who did what when, in a lane for each worker.

    Attributes:
        submitted_at: Second 0.
        now_s: Now, or when the job ended.
        from_s: Begin of what is shown.
        to_s: Its end.
        lanes: The workers that did something within it, by name.
        left_out: How many more there are, for whom there were not enough bars.
        first_lane: How many lanes were passed over.
        lane_count: How many lanes there are altogether.
    """

    submitted_at: str
    now_s: float
    from_s: float
    to_s: float
    lanes: tuple[Lane, ...]
    left_out: int = 0
    first_lane: int = 0
    lane_count: int = 0


@attrs.frozen
class Timings:
    """When an attempt did what.

    Attributes:
        offered_at: When it was given to the worker.
        started_at: When its encoder started, or null.
        delivered_at: When its result was here, or null.
        ended_at: When it was over, or null.
        waited_s: Seconds from offer to start: the piece was fetched, and a slot waited for.
        ran_s: Seconds from start to delivery or end.
        encode_s: Seconds that the encoder ran, as the worker measured.
        checked_s: Seconds from delivery to the end.
    """

    offered_at: str
    started_at: str | None
    delivered_at: str | None
    ended_at: str | None
    waited_s: float | None
    ran_s: float | None
    encode_s: float | None
    checked_s: float | None


@attrs.frozen
class AttemptError:
    """Why an attempt came to nothing."""

    code: str
    message: str
    advice: str


@attrs.frozen
class AttemptDetail:
    """One attempt at a segment.

    Attributes:
        state: `offered`, `running`, `checking` or `ended`.
        end: `live`, `committed`, `failed`, `returned` or `superseded`.
        ffmpeg: Version of the ffmpeg that ran, or that is going to.
        device_name: The device as a person knows it, or "".
        driver: Version of the device's driver, or "".
        pre_roll: How much of the source before the segment is decoded.
        frames_done: Frames encoded so far, while it runs; null otherwise.
        fps: Frames per second now, while it runs; null otherwise.
        argv: The encoding command, with paths reduced to names; null where it is not known: the
            worker tells it when it is done.
        log_tail: The last lines that the encoder said.
        notes: What was left out or done otherwise than asked.
        size_bytes: Size of its result, or null.
        sha256: SHA-256 of its result, or null.
    """

    epoch: int
    job_id: str
    first_frame: int
    frame_count: int
    worker_id: str
    worker: str
    encoder: str
    device: str
    device_name: str
    driver: str
    ffmpeg: str
    state: str
    end: str
    speculative: bool
    fallback: bool
    probe: bool
    pre_roll: str
    frames_done: int | None
    fps: float | None
    argv: tuple[str, ...] | None
    log_tail: tuple[str, ...]
    notes: tuple[str, ...]
    timings: Timings
    error: AttemptError | None
    size_bytes: int | None
    sha256: str | None


@attrs.frozen
class RunningAttempt:
    """An attempt, and how far it is while it runs: frames done, and frames per second."""

    entry: AttemptEntry
    frames_done: int | None = None
    fps: float | None = None


class GanttDesk(Protocol):
    """Knows attempts; see `ffcluster.services.viewing.pictures`."""

    async def gantt(self, job_id: str, query: GanttQuery) -> Gantt:
        """Draw the attempts of a job.

        Raises:
            NotFound: There is no such job.
            InvalidOption: The time ends before it begins.
        """

    async def attempt(self, job_id: str, epoch: int) -> RunningAttempt:
        """One attempt for a job.

        Raises:
            NotFound: There is none.
        """


def gantt_routes(desk: GanttDesk) -> tuple[Route, ...]:
    """The routes of Gantt charts and attempts."""
    serving = _Serving(desk)
    common: dict[str, Any] = {"method": "GET", "tag": "jobs", "scope": Scope.VIEWER}
    return (
        Route(
            path="/jobs/{job_id}/gantt",
            name="show_gantt",
            summary="Show which worker did what of a job when.",
            serve=serving.gantt,
            query=GanttQuery,
            response=Gantt,
            problems=(Code.NOT_FOUND, Code.INVALID_OPTION),
            **common,
        ),
        Route(
            path="/jobs/{job_id}/attempts/{epoch}",
            name="show_attempt",
            summary="Show an attempt: its command, the end of its log, its times.",
            serve=serving.attempt,
            response=AttemptDetail,
            problems=(Code.NOT_FOUND,),
            **common,
        ),
    )


class _Serving:
    """Answers what is asked about attempts."""

    def __init__(self, desk: GanttDesk) -> None:
        self._desk = desk

    async def gantt(self, call: Call) -> Answer:
        return Answer(await self._desk.gantt(call.path["job_id"], call.query))

    async def attempt(self, call: Call) -> Answer:
        epoch = number(call.path["epoch"], "attempt")
        return Answer(attempt_detail(await self._desk.attempt(call.path["job_id"], epoch)))


def number(text: str, what: str) -> int:
    """A number from a path.

    Raises:
        NotFound: It is none, so there is nothing of that name.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise NotFound(message=f"There is no {what} {text[:40]}.")
    return int(text)


def attempt_detail(running: RunningAttempt) -> AttemptDetail:
    """An attempt as it is shown."""
    entry = running.entry
    capability, proof, error = entry.capability, entry.proof, entry.error
    argv, log_tail = evidence(entry)
    return AttemptDetail(
        epoch=entry.epoch,
        job_id=entry.job_id,
        first_frame=entry.frames.first,
        frame_count=len(entry.frames),
        worker_id=entry.worker_id,
        worker=entry.worker_name,
        encoder=capability.encoder,
        device=capability.device,
        device_name=capability.device_name,
        driver=capability.driver,
        ffmpeg=proof.ffmpeg if proof and proof.ffmpeg else capability.ffmpeg,
        state=entry.state,
        end=entry.end.value,
        speculative=entry.speculative,
        fallback=entry.fallback,
        probe=entry.probe,
        pre_roll=entry.pre_roll.value,
        frames_done=running.frames_done,
        fps=running.fps,
        argv=argv or None,
        log_tail=log_tail,
        notes=proof.notes if proof else (),
        timings=_timings(entry),
        error=_shown(error) if error else None,
        size_bytes=entry.blob.size_bytes if entry.blob else None,
        sha256=entry.blob.sha256 if entry.blob else None,
    )


def evidence(entry: AttemptEntry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """An attempt's command and the last lines of its log, whether it succeeded or failed."""
    if entry.proof is not None:
        return entry.proof.argv, entry.proof.log_tail
    if entry.error is None:
        return (), ()
    detail = entry.error.detail
    argv, stderr = detail.get("argv"), detail.get("stderr")
    words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
    lines = stderr.splitlines() if isinstance(stderr, str) else []
    return tuple(_fit(words[:_MAX_WORDS])), tuple(_fit(lines[-_MAX_LINES:]))


def _fit(texts: Iterable[str]) -> Iterable[str]:
    """Texts without control characters, of a bounded length."""
    return ("".join(c if c.isprintable() else "?" for c in text[:_LONGEST]) for text in texts)


def _shown(error: ErrorReport) -> AttemptError:
    return AttemptError(error.code.value, error.message, error.advice)


def _timings(entry: AttemptEntry) -> Timings:
    offered, started = entry.offered_at, entry.started_at
    delivered, ended = entry.delivered_at, entry.ended_at
    return Timings(
        offered_at=timestamp(offered),
        started_at=_when(started),
        delivered_at=_when(delivered),
        ended_at=_when(ended),
        waited_s=_between(offered, started),
        ran_s=_between(started, ended if delivered is None else delivered),
        encode_s=entry.proof.encode_s if entry.proof else None,
        checked_s=_between(delivered, ended),
    )


def _when(at: float | None) -> str | None:
    return None if at is None else timestamp(at)


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(max(0.0, end - begin), 3)
