"""The routes of films, Gantt charts, attempts and pictures: what they ask, answer and refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.defer import ensureDeferred

from ffcluster.core.durable import AttemptEntry
from ffcluster.core.model import BlobRef, Capability, Epoch, JobId, SegmentProof, WorkerId
from ffcluster.core.profile import Codec
from ffcluster.core.segment import AttemptEnd
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import Code, ErrorReport, NotFound
from ffcluster.web.filmstrip import Filmstrip, FilmstripQuery, filmstrip_routes
from ffcluster.web.gantt import (
    Gantt,
    GanttQuery,
    RunningAttempt,
    attempt_detail,
    gantt_routes,
)
from ffcluster.web.pictures import PreviewQuery, Side, ThumbnailQuery, picture_routes
from ffcluster.web.routing import Answer, Route

ENTRY = AttemptEntry(
    Epoch(7), JobId("j"), FrameRange(10, 30), WorkerId("w"), "attic",
    Capability("hevc_nvenc", Codec.HEVC, device="cuda:0", device_name="RTX", driver="570"),
    "ended", 1_700_000_000.0, started_at=1_700_000_001.5, delivered_at=1_700_000_011.5,
    ended_at=1_700_000_012.0, end=AttemptEnd.COMMITTED,
    proof=SegmentProof(20, argv=("ffmpeg", "-i", "x"), ffmpeg="8.1", encode_s=9.25,
                       notes=("no HDR",), log_tail=("a warning",)),
    blob=BlobRef("ab" * 32, 1234),
)  # fmt: skip


@attrs.define
class Desk:
    """Says what it was asked."""

    asked: list[tuple[Any, ...]] = attrs.field(factory=list)

    async def filmstrip(self, job_id: str, query: FilmstripQuery) -> Filmstrip:
        self.asked.append((job_id, query))
        return Filmstrip(0, 0.0, 0, 0, ())

    async def gantt(self, job_id: str, query: GanttQuery) -> Gantt:
        self.asked.append((job_id, query))
        return Gantt("", 0.0, 0.0, 0.0, ())

    async def attempt(self, job_id: str, epoch: int) -> RunningAttempt:
        self.asked.append((job_id, epoch))
        return RunningAttempt(ENTRY)

    async def thumbnail(self, job_id: str, frame: int, height: int) -> bytes:
        self.asked.append((job_id, frame, height))
        return b"jpeg"

    async def preview(self, job_id: str, side: Side, at_s: float, height: int) -> bytes:
        self.asked.append((job_id, side, at_s, height))
        return b"jpeg"


def routes(desk: Desk) -> dict[str, Route]:
    found = (*filmstrip_routes(desk), *gantt_routes(desk), *picture_routes(desk))
    return {route.path.removeprefix("/jobs/{job_id}/"): route for route in found}


def ask(desk: Desk, path: str, query: Any = None, **names: str) -> Any:
    call: Any = SimpleNamespace(path={"job_id": "j", **names}, query=query)
    answering = ensureDeferred(routes(desk)[path].serve(call))  # type: ignore[arg-type]
    outcome: Any = answering.result
    if isinstance(outcome, Answer):
        return outcome
    answering.addErrback(lambda _: None)
    raise outcome.value


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (FilmstripQuery, {"buckets": 0}), (FilmstripQuery, {"buckets": 401}),
        (FilmstripQuery, {"first": -1}), (FilmstripQuery, {"stop": 2**53}),
        (GanttQuery, {"bars": 0}), (GanttQuery, {"bars": 2001}), (GanttQuery, {"from_s": -1.0}),
        (GanttQuery, {"from_s": float("nan")}), (GanttQuery, {"to_s": 1e10}),
        (ThumbnailQuery, {"height": 15}), (ThumbnailQuery, {"height": 361}),
        (PreviewQuery, {"height": 2161}), (PreviewQuery, {"at_s": -0.1}),
        (PreviewQuery, {"at_s": float("inf")}), (PreviewQuery, {"at_s": float("nan")}),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_bounded(kind: type, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'"):
        kind(**fields)


def test_films_and_charts_are_asked_for_as_they_were() -> None:
    desk = Desk()
    film, chart = FilmstripQuery(5, 50, 10), GanttQuery(1.0, 2.0, 30)
    assert isinstance(ask(desk, "filmstrip", film).body, Filmstrip)
    assert isinstance(ask(desk, "gantt", chart).body, Gantt)
    assert desk.asked == [("j", film), ("j", chart)]


def test_pictures_are_taken_in_few_sizes_and_may_be_kept() -> None:
    desk = Desk()
    for height in (16, 45, 46, 90, 181, 360):
        answer = ask(desk, "thumbnails/{frame}", ThumbnailQuery(height), frame="12")
        assert answer.body == b"jpeg"
        assert answer.headers["cache-control"].startswith("private, max-age=")
    assert [height for _, _, height in desk.asked] == [45, 45, 90, 90, 270, 360]
    desk.asked.clear()
    ask(desk, "preview", PreviewQuery(Side.RESULT, 1.25, 700))
    assert desk.asked == [("j", Side.RESULT, 1.25, 720)]


@pytest.mark.parametrize("text", ["", "-1", "1.0", "x", "\u0663", "1" * 16, "1e3", "0x1"])
def test_names_that_are_no_numbers_are_found_nowhere(text: str) -> None:
    desk = Desk()
    with pytest.raises(NotFound):
        ask(desk, "thumbnails/{frame}", ThumbnailQuery(), frame=text)
    with pytest.raises(NotFound):
        ask(desk, "attempts/{epoch}", epoch=text)
    assert desk.asked == []


def test_attempt_is_told_with_its_command_log_and_times() -> None:
    detail = ask(Desk(), "attempts/{epoch}", epoch="7").body
    assert (detail.first_frame, detail.frame_count, detail.end) == (10, 20, "committed")
    assert (detail.device_name, detail.driver, detail.ffmpeg) == ("RTX", "570", "8.1")
    assert detail.argv == ("ffmpeg", "-i", "x")
    assert detail.log_tail == ("a warning",)
    assert detail.notes == ("no HDR",)
    assert (detail.size_bytes, detail.sha256, detail.error) == (1234, "ab" * 32, None)
    timings = detail.timings
    assert timings.offered_at == "2023-11-14T22:13:20.000Z"
    assert (timings.waited_s, timings.ran_s, timings.encode_s) == (1.5, 10.0, 9.25)
    assert timings.checked_s == 0.5


def test_failed_attempt_is_told_with_its_evidence() -> None:
    detail = {"argv": ["ffmpeg", "-x", 7], "stderr": "one\ntwo\x1b[2J"}
    error = ErrorReport(Code.ENCODE_FAILED, "it broke", "mend it", detail=detail)
    entry = attrs.evolve(
        ENTRY, end=AttemptEnd.FAILED, error=error, proof=None, blob=None, delivered_at=None
    )
    shown = attempt_detail(RunningAttempt(entry))
    assert shown.argv == ("ffmpeg", "-x")
    assert shown.log_tail == ("one", "two?[2J")
    assert shown.error is not None
    assert (shown.error.code, shown.error.message) == ("encode_failed", "it broke")
    assert (shown.timings.ran_s, shown.timings.checked_s) == (10.5, None)


@pytest.mark.parametrize(
    "detail", [{}, {"argv": "ffmpeg", "stderr": ["x"]}, {"argv": {}, "stderr": 3}]
)
def test_evidence_of_no_known_form_is_left_out(detail: dict[str, Any]) -> None:
    error = ErrorReport(Code.ENCODE_FAILED, "it broke", detail=detail)
    entry = attrs.evolve(ENTRY, end=AttemptEnd.FAILED, error=error, proof=None)
    shown = attempt_detail(RunningAttempt(entry))
    assert shown.argv is None
    assert shown.log_tail == ()


def test_live_attempt_is_told_with_how_far_it_is() -> None:
    live = attrs.evolve(
        ENTRY, state="running", end=AttemptEnd.LIVE, proof=None, blob=None, delivered_at=None,
        ended_at=None,
    )  # fmt: skip
    shown = attempt_detail(RunningAttempt(live, 12, 24.5))
    assert (shown.frames_done, shown.fps, shown.argv) == (12, 24.5, None)
    assert (shown.timings.ran_s, shown.timings.ended_at) == (None, None)
