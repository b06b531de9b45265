"""What is logged in which form: lines for people, or JSON lines; and the durable events among them.

Knows which events deserve a line. Secrets are never given to it: nobody logs one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import attrs
import orjson
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    textFileLogObserver,
)
from zope.interface import implementer

from ffcluster.core.durable import AttemptEnd, AttemptEntry, Changes, EventEntry
from ffcluster.core.job import JobState
from ffcluster.core.model import WorkerId

log = Logger()

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warn", "error")
DEFAULT_FORMAT, DEFAULT_LEVEL = "text", "info"

# What a log event may be about, by the names that every log call uses.
FIELDS = ("job", "segment", "attempt", "worker")
_OURS = "ffcluster"
# Says of every connection that it begins and ends.
_CHATTERING = "twisted.web.client._HTTP11ClientFactory"


def log_observer(form: str, level: str, file: TextIO) -> ILogObserver:
    """Where a process logs to.

    Args:
        form: One of `FORMATS`.
        level: One of `LEVELS`; see `filtered`.
        file: Where the lines go.
    """
    return filtered(JsonLines(file) if form == "json" else textFileLogObserver(file), level)


def filtered(observer: ILogObserver, level: str) -> ILogObserver:
    """`observer` without what is less important than `level`.

    Libraries never log below `info`: what they say then may hold what somebody sent. Of the
    connections of Twisted's HTTP client only warnings are logged.
    """
    least = LogLevel.levelWithName(level)
    theirs = LogLevel.info if least < LogLevel.info else least
    predicate = LogLevelFilterPredicate(defaultLogLevel=theirs)
    predicate.setLogLevelForNamespace(_OURS, least)
    predicate.setLogLevelForNamespace(_CHATTERING, max(least, LogLevel.warn))
    return FilteringLogObserver(observer, (predicate,))


@implementer(ILogObserver)
class JsonLines:
    """Writes each event as one JSON object in one line, as soon as it happens.

    Args:
        file: Where to.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        line = orjson.dumps(json_event(event)).decode("utf-8")
        self._file.write(f"{line}\n")
        self._file.flush()


def json_event(event: LogEvent) -> dict[str, Any]:
    """The members of an event's line: when, how important, what, from where, and about what."""
    at = datetime.fromtimestamp(event["log_time"], UTC)
    level = event.get("log_level") or LogLevel.info
    found: dict[str, Any] = {
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.name,
        "message": _text(formatEvent(event)),
        "namespace": str(event.get("log_namespace") or ""),
    }
    for field in FIELDS:
        value = event.get(field)
        if value is not None:
            found[field] = value if isinstance(value, int) else _text(str(value))
    failure = event.get("log_failure")
    if failure is not None:
        found["traceback"] = _text(failure.getTraceback())
    return found


def _text(text: str) -> str:
    """`text` with what is no character written out: names of files may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@attrs.frozen
class _Line:
    """How an event of the journal is logged."""

    level: Any
    form: str


_INFO, _WARN = LogLevel.info, LogLevel.warn
LINES: Mapping[str, _Line] = {
    "job.state": _Line(_INFO, "job {job}: {state}{because}"),
    "job.paused": _Line(_INFO, "job {job}: paused"),
    "job.resumed": _Line(_INFO, "job {job}: resumed"),
    "job.prioritised": _Line(_INFO, "job {job}: has priority {priority}"),
    "job.retried": _Line(_INFO, "job {job}: is tried again"),
    "job.removed": _Line(_INFO, "job {job}: removed"),
    "join.failed": _Line(_WARN, "job {job}: the join failed: {reason}"),
    "segment.lost": _Line(
        _WARN, "job {job}: the result of attempt {attempt} was lost, and is made again: {reason}"
    ),
    "segment.missing": _Line(
        _WARN, "job {job}: segment {segment} is left out, {frames} frames: {reason}"
    ),
    "attempt.failed": _Line(
        _WARN, "job {job}: segment {segment}, attempt {attempt} failed on {worker}: {reason}"
    ),
    "attempt.superseded": _Line(
        _INFO, "job {job}: attempt {attempt} of {worker} came too late and does not count"
    ),
    "worker.joined": _Line(_INFO, "worker {worker}: joined"),
    "worker.left": _Line(_INFO, "worker {worker}: left: {reason}"),
    "worker.lease_ended": _Line(
        _WARN, "worker {worker}: not heard of for too long; its {attempts} attempts are given again"
    ),
    "worker.drained": _Line(_INFO, "worker {worker}: is drained"),
    "worker.resumed": _Line(_INFO, "worker {worker}: works again"),
    "worker.removed": _Line(_INFO, "worker {worker}: removed"),
    "worker.quarantined": _Line(_WARN, "worker {worker}: {place} rests: {reason}"),
    "worker.recovered": _Line(_INFO, "worker {worker}: rests no more"),
}
# Webhooks log more than these events hold.
UNTOLD = frozenset({"webhook.disabled", "webhook.given_up"})
# States of which more is logged elsewhere: what was submitted, and what came of it.
_TOLD_ELSEWHERE = frozenset(
    {JobState.QUEUED, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
)


class EventLog:
    """Logs what happens in the cluster, once it is durable.

    Args:
        name_of: The name of a worker, or None when it is not remembered.
    """

    def __init__(self, name_of: Callable[[WorkerId], str | None]) -> None:
        self._name_of = name_of

    def stored(self, changes: Sequence[Changes]) -> None:
        """These changes are durable now."""
        for one in changes:
            for entry in one.events:
                self._tell(entry)
            for attempt in one.attempts:
                if attempt.end is AttemptEnd.COMMITTED:
                    _tell_commit(attempt)

    def _tell(self, entry: EventEntry) -> None:
        line = LINES.get(entry.kind)
        data = dict(entry.data)
        if line is None or (entry.kind == "job.state" and data.get("state") in _TOLD_ELSEWHERE):
            return
        fields: dict[str, Any] = {**data, "job": entry.job_id, "attempt": entry.epoch}
        fields["segment"] = data.get("first_frame")
        fields["because"] = f": {data['reason']}" if data.get("reason") else ""
        fields["place"] = data.get("device") or data.get("backend") or "the whole machine"
        fields["worker"] = None
        if entry.worker_id is not None:
            told = data.get("worker") or data.get("name")
            fields["worker"] = told or self._name_of(entry.worker_id) or entry.worker_id
        log.emit(line.level, line.form, **fields)


def _tell_commit(attempt: AttemptEntry) -> None:
    log.debug(
        "job {job}: segment {segment} is committed: attempt {attempt}, {encoder} on {worker}",
        job=attempt.job_id,
        segment=attempt.frames.first,
        attempt=attempt.epoch,
        encoder=attempt.capability.encoder,
        worker=attempt.worker_name,
    )
