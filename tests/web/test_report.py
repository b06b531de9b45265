"""The report: one page that needs nothing, tells everything, and runs nothing whatever it holds."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from ffcluster.core.durable import AttemptEntry, JobEntry, ShareEntry
from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.model import (
    Capability,
    Epoch,
    JobId,
    JobOutcome,
    JobSpec,
    Source,
    WorkerId,
)
from ffcluster.core.picturing import AttemptSpan, Stretch, Window, filmstrip, gantt
from ffcluster.core.profile import Codec, Container, Profile
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.errors import Code, ErrorReport
from ffcluster.web.filmstrip import Filmstrip
from ffcluster.web.gantt import Gantt
from ffcluster.web.report import JobReport, Maker, render, report_routes
from tests.integration.media_case import asynchronous
from tests.steps import outcome

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J"
FRAMES = 4000
X264 = Capability("libx264", Codec.H264)


def job(**changes: Any) -> JobEntry:
    summary = MediaSummary(
        VideoFormat("h264", 1920, 1080, "yuv420p", TimeBase(1, 25)),
        FRAMES, 0, FRAMES, (0,), size_bytes=123_456_789,
    )  # fmt: skip
    entry = JobEntry(
        JobId("j1"),
        JobSpec(Profile(), Container.MP4, "out.mp4", "film.mkv"),
        Source("/films/film.mkv"),
        "Completed",
        1_700_000_000.0,
        ended_at=1_700_000_100.0,
        summary=summary,
        outcome=JobOutcome("/out/out.mp4", 9_876_543, "ab" * 32, FRAMES, True),
    )
    return attrs.evolve(entry, **changes)


def failed(epoch: int, reason: str) -> AttemptEntry:
    return AttemptEntry(
        Epoch(epoch), JobId("j1"), FrameRange(0, 100), WorkerId("w"), reason, X264, "ended",
        1_700_000_010.0, ended_at=1_700_000_020.0, end=AttemptEnd.FAILED,
        error=ErrorReport(Code.ENCODE_FAILED, reason),
    )  # fmt: skip


def report(worker: str = "attic", **changes: Any) -> JobReport:
    ends = ("committed", "committed", "committed", "failed", "superseded", "returned")
    states = ("committed", "committed", "assigned", "checking", "missing", "pending")
    stretches = [
        Stretch(n, n + 100, states[n // 100 % 6], worker, "libx264", 5000 + n, n // 100 % 3)
        for n in range(0, FRAMES, 100)
    ]
    spans = [
        AttemptSpan(
            n + 1, f"w{n % 5}", f"{worker} {n % 5}", n * 100, 100, 1_700_000_000.0 + n * 2, None,
            1_700_000_000.0 + n * 2 + 11, "ended", ends[n % 6], n % 6 == 4, False, False,
            "libx264", "",
        )
        for n in range(40)
    ]  # fmt: skip
    lanes = outcome(gantt(spans, Window(1_700_000_000.0, 0.0, 100.0, 100.0), 1000)).lanes
    made = JobReport(
        job=job(),
        coordinator="1.2.3",
        shares=(ShareEntry(JobId("j1"), WorkerId("w"), worker, 40, FRAMES, 3),),
        film=Filmstrip(FRAMES, 160.0, 0, FRAMES, outcome(filmstrip(stretches, 0, FRAMES, 400))),
        gantt=Gantt("2023-11-14T22:13:20.000Z", 100.0, 0.0, 100.0, lanes),
        attempts=45,
        makers={Maker("libx264", "", "", "8.0"): 40},
        failures=(failed(4, "the encoder fell over"),),
        failed=7,
    )
    return attrs.evolve(made, **changes)


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(made: JobReport) -> Page:
    return Page(render(made).decode())


def test_page_is_whole_and_tells_everything() -> None:
    found = page(report())
    assert found.open == []
    for told in (
        "film.mkv", "out.mp4", "Completed", "123.5 MB", "9.9 MB", "ab" * 32, "4,000", "1:40",
        "1.60 times real time", "attic", "libx264", "the encoder fell over", "encode_failed",
        "6 more are not listed", "8.0", "45, 7 of them failed", "Container", "mp4",
    ):  # fmt: skip
        assert told in found.text, told


def test_page_needs_nothing_and_runs_nothing() -> None:
    found = page(report())
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not {"src", "href", "xlink:href", "action", "style"} & names
    text = render(report()).decode()
    assert "http:" not in text
    assert "https:" not in text
    assert "url(#" in text
    assert "@import" not in text


def test_what_others_wrote_is_only_text() -> None:
    tame = page(report())
    spec = JobSpec(Profile(name=HOSTILE), Container.MP4, HOSTILE, HOSTILE)
    outcome = JobOutcome(HOSTILE, 1, HOSTILE, 1, True, lost=(HOSTILE,), notes=(HOSTILE,))
    wild = page(
        report(
            worker=HOSTILE,
            job=job(
                spec=spec, outcome=outcome, warnings=(HOSTILE,),
                error=ErrorReport(Code.INTERNAL, HOSTILE, HOSTILE),
            ),
            failures=(failed(4, HOSTILE),),
            makers={Maker(HOSTILE, HOSTILE, HOSTILE, HOSTILE): 1},
        )
    )  # fmt: skip
    assert wild.open == []
    assert set(wild.tags) == set(tame.tags) | {"ul", "li"}
    assert not {name for name, _ in wild.attributes if name.startswith("on")}
    assert wild.text.count("<script>alert(1)</script>") > 10


def test_job_that_made_nothing_has_a_report_too() -> None:
    made = report(
        job=job(summary=None, outcome=None, state="Failed", error=ErrorReport(Code.INTERNAL, "no")),
        film=Filmstrip(0, 0.0, 0, 0, ()), gantt=Gantt("", 1.0, 0.0, 1.0, ()), shares=(),
        makers={}, failures=(), failed=0, attempts=0,
    )  # fmt: skip
    found = page(made)
    assert found.open == []
    assert "The film" not in found.text
    assert "Failed" in found.text


class Desk:
    async def report(self, job_id: str) -> JobReport:
        return report()


class ReportRouteTests(TestCase):
    @asynchronous
    async def test_report_is_a_file_that_may_run_nothing(self) -> None:
        (route,) = report_routes(Desk())
        call: Any = type("Call", (), {"path": {"job_id": "j1"}})()
        answer: Any = await ensureDeferred(route.serve(call))  # type: ignore[arg-type]
        assert answer.body.startswith(b"<!DOCTYPE html>")
        assert answer.headers["content-disposition"] == 'attachment; filename="report-j1.html"'
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert "script" not in policy
