"""The helper processes of one source, played by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import EncodeOrder, PreRoll
from ffcluster.core.profile import Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.filters import parse_filters
from ffcluster.errors import ResultInvalid
from ffcluster.media.source import SourceHelper
from tests.media.test_lines import Processes

VIDEO = VideoFormat("h264", 320, 180, "yuv420p", TimeBase(1, 25))
REPORT = {
    "frame_count": 10, "size_bytes": 1000, "codec": "h264", "width": 320, "height": 180,
    "pix_fmt": "yuv420p", "parameter_sets": "00", "reorder_frames": 2, "border_psnr_db": 41.5,
}  # fmt: skip


class SourceHelperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.runner = Processes()
        self.helper = SourceHelper(self.runner)
        self.helper.use(Path("film.mkv"), Path("index"))

    def _order(self, first: int = 40, **changes: Any) -> EncodeOrder:
        order = EncodeOrder(
            frames=FrameRange(first, first + 10), profile=Profile(), encoder="x", video=VIDEO
        )
        return attrs.evolve(order, **changes)

    def _asked(self, order: EncodeOrder) -> dict[str, Any]:
        """What the checking process is asked for `order`."""
        self.helper.check(Path("result.mkv"), order).addErrback(lambda _: None)
        return self.runner.started[-1].calls[-1]

    def test_report_comes_back_with_the_likeness_of_its_borders(self) -> None:
        report = self.helper.check(Path("result.mkv"), self._order())
        self.runner.started[-1].say(id=1, result=REPORT)
        assert self.successResultOf(report).border_psnr_db == 41.5

    def test_result_that_ends_its_reader_twice_is_refused(self) -> None:
        report = self.helper.check(Path("result.mkv"), self._order())
        self.runner.started[-1].end()
        self.assertNoResult(report)
        assert len(self.runner.started) == 2
        self.runner.started[-1].end()
        assert self.failureResultOf(report, ResultInvalid).value.detail["signal"] == 9

    def test_reader_that_ended_once_is_asked_again(self) -> None:
        report = self.helper.check(Path("result.mkv"), self._order())
        self.runner.started[-1].end()
        self.runner.started[-1].say(id=2, result=REPORT)
        assert self.successResultOf(report).frame_count == 10

    def test_cuts_do_not_wait_for_checks(self) -> None:
        self.helper.check(Path("result.mkv"), self._order())
        self.helper.cut(FrameRange(50, 60), PreRoll.KEYFRAME, 0, Path("piece"))
        checking, cutting = self.runner.started
        assert [call["op"] for call in checking.calls] == ["check"]
        assert [call["op"] for call in cutting.calls] == ["cut"]

    def test_segments_of_the_same_length_are_named_latest_first(self) -> None:
        for first, stop in ((0, 10), (10, 25), (40, 50), (60, 70), (0, 10)):
            self.helper.cut(FrameRange(first, stop), PreRoll.KEYFRAME, 0, Path("piece"))
        assert self._asked(self._order())["borders"]["others"] == [0, 60]

    def test_filters_go_along_with_the_frames_that_they_must_see(self) -> None:
        profile = Profile(filters=parse_filters("yadif,scale=64:36"))
        borders = self._asked(self._order(profile=profile))["borders"]
        assert borders["filters"] == [["yadif", []], ["scale", [["w", "64"], ["h", "36"]]]]
        assert borders["context"] == 2

    def test_nothing_is_compared_where_nothing_can_or_shall_be(self) -> None:
        whole_film = Profile(filters=parse_filters("deflicker"))
        for changes in (
            {"decoded_check": False},
            {"counts_frames": False},
            {"profile": whole_film},
        ):
            assert self._asked(self._order(**changes))["borders"] is None

    def test_both_processes_are_closed(self) -> None:
        self.helper.check(Path("result.mkv"), self._order()).addErrback(lambda _: None)
        self.helper.cut(FrameRange(0, 10), PreRoll.KEYFRAME, 0, Path("piece")).addErrback(
            lambda _: None
        )
        self.successResultOf(self.helper.close())
        assert all(process.done.called for process in self.runner.started)
