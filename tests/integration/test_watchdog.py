"""Encoders that stop, hang or stop short are ended and told apart, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ffcluster.core.model import EncodeOrder, PreRoll
from ffcluster.core.profile import Profile
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import AttemptError, EncodeFailed, EncodeStalled, WrongFrameCount
from ffcluster.media.encode import PieceEncoder
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Runner
from ffcluster.media.source import SourceHelper
from tests import inputs
from tests.e2e.cluster import descendants
from tests.integration.media_case import MediaCase, asynchronous

if not sys.platform.startswith("linux"):
    pytest.skip("looks for processes in /proc", allow_module_level=True)

# Slow, yet its first frames come at once.
_SLOW = (
    *("-c:v", "libx264", "-preset", "placebo", "-threads", "1"),
    *("-x264-params", "bframes=0:rc-lookahead=0:sync-lookahead=0:mbtree=0"),
)
_REPORT = "printf 'frame={frame}\\nprogress={state}\\n' >&3\n"


class Watchdog(MediaCase):
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        # The helper of the source goes with a runner of its own, so that none of it is counted.
        self.encoding = Runner(reactor)
        self.addCleanup(self.encoding.close)

    async def _piece(self) -> tuple[EncodeOrder, Path]:
        source = inputs.make("h264_closed_mp4", self.directory)
        helper = SourceHelper(self.runner)
        try:
            summary = await helper.index(source, self.directory / "index", allow_damaged=False)
            frames, piece = FrameRange(0, 60), self.directory / "piece.mkv"
            cut = await helper.cut(frames, PreRoll.KEYFRAME, 0, piece)
        finally:
            await helper.close()
        order = EncodeOrder(
            frames=frames, profile=Profile(), encoder="libx264", video=summary.video,
            trim_start_s=cut.trim_start_s, trim_end_s=cut.trim_end_s, stall_timeout_s=1.0,
        )  # fmt: skip
        return order, piece

    def _fake(self, *lines: str) -> FfmpegBuild:
        """An ffmpeg that does only what these lines of shell say."""
        path = self.directory / "ffmpeg"
        path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
        path.chmod(0o700)
        return attrs.evolve(self.build, path=str(path))

    async def _fails(
        self, error: type[AttemptError], build: FfmpegBuild, *, compares: bool = False
    ) -> AttemptError:
        order, piece = await self._piece()
        order = attrs.evolve(order, picture_check=compares)
        arguments = EncodeArguments(output_args=("-c:v", "libx264"))
        attempt = self.directory / "attempt"
        attempt.mkdir()
        encoder = PieceEncoder(
            self.encoding, build, arguments, order, piece, attempt / "result.mkv"
        )
        failure = await self.assertFailure(encoder.run(), error)
        self._nothing_is_left(attempt)
        return failure

    def _nothing_is_left(self, attempt: Path) -> None:
        assert self.encoding.live == 0
        assert _zombies() == []
        assert {path.name for path in attempt.iterdir()} <= {"result.mkv"}

    @asynchronous
    async def test_ffmpeg_that_was_stopped_in_the_middle_is_ended(self) -> None:
        order, piece = await self._piece()
        seen: list[int] = []

        def stop(progress: Progress) -> None:
            running = encoder._running
            if progress.frame and not seen and running is not None:
                pid = running.pid
                seen.append(pid)
                os.killpg(pid, signal.SIGSTOP)

        encoder = PieceEncoder(
            self.encoding, self.build, EncodeArguments(output_args=_SLOW), order, piece,
            self.directory / "result.mkv", stop,
        )  # fmt: skip
        failure = await self.assertFailure(encoder.run(), EncodeStalled)
        assert failure.retryable
        # It cannot hear SIGTERM while it is stopped.
        assert failure.detail["signal"] == signal.SIGKILL
        assert not _is_there(seen[0])
        assert self.encoding.live == 0

    @asynchronous
    async def test_ffmpeg_that_was_stopped_before_its_first_frame_is_ended(self) -> None:
        order, piece = await self._piece()
        arguments = EncodeArguments(output_args=_SLOW)
        encoder = PieceEncoder(
            self.encoding, self.build, arguments, order, piece, self.directory / "result.mkv"
        )
        outcome = encoder.run()
        running = encoder._running
        assert running is not None
        pid = running.pid
        # Its own group is there only after `setsid` has run.
        os.kill(pid, signal.SIGSTOP)
        await self.assertFailure(outcome, EncodeStalled)
        assert not _is_there(pid)

    @asynchronous
    async def test_killed_ffmpeg_is_a_failure_with_its_signal(self) -> None:
        order, piece = await self._piece()

        def kill(progress: Progress) -> None:
            running = encoder._running
            if progress.frame and running is not None:
                os.killpg(running.pid, signal.SIGKILL)

        encoder = PieceEncoder(
            self.encoding, self.build, EncodeArguments(output_args=_SLOW), order, piece,
            self.directory / "result.mkv", kill,
        )  # fmt: skip
        failure = await self.assertFailure(encoder.run(), EncodeFailed)
        assert failure.detail["signal"] == signal.SIGKILL

    @asynchronous
    async def test_encoder_that_hangs_at_its_start_is_ended(self) -> None:
        failure = await self._fails(EncodeStalled, self._fake("exec sleep 600"))
        assert failure.detail["signal"] == signal.SIGTERM

    @asynchronous
    async def test_encoder_that_does_not_listen_is_killed(self) -> None:
        fake = self._fake("trap '' TERM", "while :; do sleep 600; done")
        failure = await self._fails(EncodeStalled, fake)
        assert failure.detail["signal"] == signal.SIGKILL

    @asynchronous
    async def test_encoder_that_hangs_in_the_middle_is_ended(self) -> None:
        some = _REPORT.format(frame=7, state="continue")
        await self._fails(EncodeStalled, self._fake(some, "exec sleep 600"))

    @asynchronous
    async def test_encoder_that_reports_the_same_frame_for_ever_is_ended(self) -> None:
        some = _REPORT.format(frame=7, state="continue")
        await self._fails(EncodeStalled, self._fake(f"while :; do {some} sleep 0.1; done"))

    @asynchronous
    async def test_what_an_encoder_has_started_ends_with_it(self) -> None:
        """The one that was asked ends, while its own child, which does not, holds its output."""
        child = (
            f"sh -c 'trap \"\" TERM; echo $$ >{self.directory}/child; while :; do sleep 1; done' &"
        )
        await self._fails(EncodeStalled, self._fake(child, "wait"))
        pid = int((self.directory / "child").read_text())
        assert not _is_running(pid)

    @asynchronous
    async def test_encoder_that_exits_early_without_an_error_is_a_failure(self) -> None:
        some = _REPORT.format(frame=60, state="continue")
        failure = await self._fails(EncodeFailed, self._fake(some, "exit 0"), compares=True)
        assert "did not say that it had finished" in failure.message

    @asynchronous
    async def test_encoder_that_says_it_has_finished_too_early_is_a_failure(self) -> None:
        some = _REPORT.format(frame=12, state="end")
        failure = await self._fails(WrongFrameCount, self._fake(some, "exit 0"), compares=True)
        assert failure.detail["found"] == 12

    @asynchronous
    async def test_cancelled_encoder_leaves_nothing(self) -> None:
        order, piece = await self._piece()
        begun: Deferred[None] = Deferred()

        def report(progress: Progress) -> None:
            if progress.frame and not begun.called:
                begun.callback(None)

        order = attrs.evolve(order, picture_check=True, stall_timeout_s=60.0)
        attempt = self.directory / "attempt"
        attempt.mkdir()
        encoder = PieceEncoder(
            self.encoding, self.build, EncodeArguments(output_args=_SLOW), order, piece,
            attempt / "result.mkv", report,
        )  # fmt: skip
        outcome = encoder.run()
        await begun
        await encoder.stop()
        await self.assertFailure(outcome, EncodeFailed)
        self._nothing_is_left(attempt)


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _is_there(pid: int) -> bool:
    return bool(_state(pid))


def _is_running(pid: int) -> bool:
    return _state(pid) not in ("", "Z")


def _zombies() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if _state(pid) == "Z"]
