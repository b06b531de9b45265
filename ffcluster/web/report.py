"""The route `/jobs/{job_id}/report`: one HTML file that tells how a job was made.

It needs nothing but itself: no script, no outside address. Everything that came from a file, a
worker or a client is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.durable import AttemptEntry, JobEntry, ShareEntry
from ffcluster.core.model import JobOutcome
from ffcluster.errors import Code
from ffcluster.net.access import Scope
from ffcluster.web.drawings import (
    PATTERNS,
    STYLE,
    clock,
    film_drawing,
    gantt_drawing,
    in_bytes,
    size_drawing,
)
from ffcluster.web.filmstrip import Filmstrip
from ffcluster.web.gantt import Gantt
from ffcluster.web.routing import Answer, Call, Route
from ffcluster.web.stream import timestamp

MAX_FAILURES = 200
# The file runs nothing and loads nothing, whatever it holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@attrs.frozen
class Maker:
    """What made segments of the output, and how many: an encoder on a device with an ffmpeg."""

    encoder: str
    device: str
    driver: str
    ffmpeg: str


@attrs.frozen
class JobReport:
    """All that a report tells.

    Attributes:
        job: The job.
        coordinator: Version of the coordinator.
        shares: What each worker did.
        film: Its film in buckets.
        gantt: Its attempts.
        attempts: How many attempts there were.
        makers: Committed segments by what made them.
        failures: The first attempts that failed, at most `MAX_FAILURES`.
        failed: How many failed.
    """

    job: JobEntry
    coordinator: str
    shares: tuple[ShareEntry, ...]
    film: Filmstrip
    gantt: Gantt
    attempts: int
    makers: Mapping[Maker, int]
    failures: tuple[AttemptEntry, ...]
    failed: int


class ReportDesk(Protocol):
    """Collects what a report tells; see `ffcluster.services.viewing.pictures`."""

    async def report(self, job_id: str) -> JobReport:
        """All about a job that is over.

        Raises:
            NotFound: There is no such job.
            Conflict: It is not over.
        """


def report_routes(desk: ReportDesk) -> tuple[Route, ...]:
    """The route of reports."""

    async def serve(call: Call) -> Answer:
        report = await desk.report(call.path["job_id"])
        page: bytes = await deferToThread(render, report)
        headers = {
            "content-disposition": f'attachment; filename="report-{report.job.id}.html"',
            "content-security-policy": _POLICY,
            "cache-control": "private, no-cache",
        }
        return Answer(page, headers=headers)

    return (
        Route(
            method="GET",
            path="/jobs/{job_id}/report",
            name="show_report",
            summary="Fetch a report of a job that is over: one HTML file that needs nothing else.",
            tag="jobs",
            scope=Scope.VIEWER,
            serve=serve,
            media_type="text/html",
            problems=(Code.NOT_FOUND, Code.CONFLICT),
        ),
    )


# --- the page ------------------------------------------------------------------------------------


def render(report: JobReport) -> bytes:
    """Write the page; takes a moment, and belongs in a thread."""
    job = report.job
    title = f"{job.spec.source_name} \N{RIGHTWARDS ARROW} {job.spec.output_name}"
    sections = [
        ("How it went", _facts(_summary(report))),
        ("The file", _facts(_outcome(job.outcome)) if job.outcome else ""),
        ("The film", film_drawing(report.film)),
        ("Who did what when", gantt_drawing(report.gantt)),
        ("Workers", _workers(report.shares)),
        ("Made with", _makers(report.makers)),
        ("Size", size_drawing(report.film.buckets)),
        ("Attempts that failed", _failures(report)),
        ("Settings", _facts(_settings(report))),
    ]
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>"
        for heading, content in sections
        if content
    )
    page = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{PATTERNS}"
        f'<header><p class="state {escape(job.state)}">{escape(job.state)}</p>'
        f"<h1>{escape(title)}</h1>{_notices(job)}</header><main>{body}</main>"
        f"<footer>ffcluster {escape(report.coordinator)}, job {escape(job.id)}</footer>"
        "</body></html>\n"
    )
    return page.encode("utf-8", "replace")


_Rows = Iterable[tuple[str, object]]


def _facts(rows: _Rows) -> str:
    """Names and values; those without a value are left out."""
    shown = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows
        if value not in (None, "", ())
    )
    return f"<table class=facts>{shown}</table>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; columns of numbers are set to the right."""
    right = [all(isinstance(row[n], int | float) for row in rows) for n in range(len(headings))]
    marks = [" class=number" if one else "" for one in right]
    head = "".join(
        f"<th scope=col{mark}>{escape(text)}</th>"
        for text, mark in zip(headings, marks, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark}>{escape(str(cell))}</td>" for cell, mark in zip(row, marks, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class=wide>{table}</div>"


def _notices(job: JobEntry) -> str:
    told = [job.error.message, job.error.advice] if job.error else []
    told += job.warnings
    if job.outcome:
        told += [*job.outcome.notes, *(f"Lost: {what}" for what in job.outcome.lost)]
    items = "".join(f"<li>{escape(text)}</li>" for text in told if text)
    return f"<ul class=notices>{items}</ul>" if items else ""


def _summary(report: JobReport) -> _Rows:
    job, film = report.job, report.film
    took_s = (job.ended_at or job.submitted_at) - job.submitted_at
    size = job.summary.size_bytes if job.summary else None
    yield "Source", job.spec.source_name
    yield "Source size", None if size is None else in_bytes(size)
    if job.source.uploaded:
        yield "Source SHA-256", job.source.location
    yield "Length", clock(film.duration_s) if film.frame_count else None
    yield "Frames", f"{film.frame_count:,}" if film.frame_count else None
    yield "Submitted", timestamp(job.submitted_at)
    yield "Ended", timestamp(job.ended_at) if job.ended_at is not None else None
    yield "Took", clock(took_s)
    if job.outcome and took_s > 0:
        yield "Speed", f"{film.duration_s / took_s:.2f} times real time"
    yield "Segments", f"{sum(bucket.segments for bucket in film.buckets):,}"
    yield "Attempts", f"{report.attempts:,}, {report.failed:,} of them failed"
    yield "States", ", ".join(f"{state} until {timestamp(at)}" for state, at in job.history)


def _outcome(outcome: JobOutcome) -> _Rows:
    equal = outcome.pictures_equal
    borders, least_db = outcome.borders
    yield "Path", outcome.path
    yield "Size", f"{in_bytes(outcome.size_bytes)} ({outcome.size_bytes:,} bytes)"
    yield "SHA-256", outcome.sha256
    yield "Frames", f"{outcome.frame_count:,}"
    yield "Every frame proven by decoding", "yes" if outcome.proven else "no"
    yield "Pictures equal to the source's", None if equal is None else "yes" if equal else "no"
    yield "Borders compared", f"{borders}, least {least_db:.1f} dB" if least_db else None
    yield "Missing frames", ", ".join(str(frames) for frames in outcome.missing)


def _settings(report: JobReport) -> _Rows:
    spec = report.job.spec
    yield "Container", spec.container.value
    yield from _flat("", attrs.asdict(spec.profile, recurse=True))
    for name in ("exactly", "allow_damaged", "mix", "fallback", "hardware_decode", "allow_missing"):
        yield _words(name), _plain(getattr(spec, name))


def _flat(prefix: str, values: Mapping[str, Any]) -> _Rows:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name} ", value)
        else:
            yield _words(f"{prefix}{name}"), _plain(value)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_plain(one)}" for key, one in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(str(_plain(one)) for one in value)
    return getattr(value, "value", value)


# --- tables --------------------------------------------------------------------------------------


def _workers(shares: Sequence[ShareEntry]) -> str:
    if not shares:
        return ""
    rows = [
        (
            share.name,
            ", ".join(name for name, _ in share.encoders),
            ", ".join(device or "CPU" for device in share.devices),
            share.segments,
            share.frames,
            share.failures,
        )
        for share in sorted(shares, key=lambda share: -share.frames)
    ]
    return _table(("Worker", "Encoders", "Devices", "Segments", "Frames", "Failures"), rows)


def _makers(makers: Mapping[Maker, int]) -> str:
    if not makers:
        return ""
    rows = [
        (maker.encoder, maker.device or "CPU", maker.driver or "-", maker.ffmpeg or "-", count)
        for maker, count in sorted(makers.items(), key=lambda item: -item[1])
    ]
    return _table(("Encoder", "Device", "Driver", "ffmpeg", "Segments"), rows)


def _failures(report: JobReport) -> str:
    if not report.failures:
        return ""
    begin = report.job.submitted_at
    rows = [
        (
            f"{(entry.ended_at or entry.offered_at) - begin:.1f} s",
            str(entry.frames),
            entry.worker_name,
            f"{entry.capability.encoder} {entry.capability.device}".strip(),
            entry.error.code.value if entry.error else "",
            entry.error.message if entry.error else "",
        )
        for entry in report.failures
    ]
    table = _table(("At", "Frames", "Worker", "Encoder", "Cause", "Reason"), rows)
    rest = report.failed - len(rows)
    return table + (f"<p>{rest:,} more are not listed.</p>" if rest > 0 else "")
