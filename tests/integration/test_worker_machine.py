"""What befalls a worker's machine: a killed worker, a full disk. Real processes, real ffmpeg."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from os import kill
from pathlib import Path

import attrs
import pytest

from ffcluster.core.model import EncodeOrder, PreRoll
from ffcluster.core.profile import Profile
from ffcluster.core.timeline import FrameRange
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.errors import DiskFull
from ffcluster.media.encode import encode_piece
from ffcluster.media.platform import here
from ffcluster.media.source import SourceHelper
from tests import inputs
from tests.integration.media_case import MediaCase, all_builds, asynchronous

# Starts an encoder through the runner, says its number, and would wait for it for ever.
_PARENT = """
import sys
from twisted.internet import reactor
from ffcluster.media.command import Command
from ffcluster.media.runner import Runner

def start():
    argv = (sys.argv[1], "-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=s=320x240",
            "-c:v", "libx264", "-f", "null", "-")
    running = Runner(reactor, niceness=5).run(Command(argv, "ffmpeg", is_heavy=True))
    print(running.transport.pid, flush=True)

reactor.callWhenRunning(start)
reactor.run()
"""


def state_of(pid: int) -> str:
    """Letter of a process's state; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def program_of(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    return ""


def wait_until(test: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not test():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.mark.skipif(not here().setpriv, reason="this system has no death signal for children")
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_encoder_does_not_outlive_a_killed_worker(stopped: bool) -> None:
    ffmpeg = inputs.ffmpeg_path()
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, ffmpeg], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        encoder = int(parent.stdout.readline())
        try:
            wait_until(lambda: program_of(encoder) == ffmpeg)
            if stopped:
                kill(encoder, signal.SIGSTOP)
            parent.kill()
            parent.wait()
            # Whoever adopts it may take a while to look after the dead.
            wait_until(lambda: state_of(encoder) in ("", "Z", "X"))
        finally:
            with contextlib.suppress(ProcessLookupError):
                kill(encoder, signal.SIGKILL)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
class FullDisk(MediaCase):
    """Every ffmpeg, whether the first write finds no room or only the last."""

    async def _order(self, frames: FrameRange) -> tuple[Path, EncodeOrder]:
        source = inputs.make("h264_open_mp4", self.directory)
        helper = SourceHelper(self.runner)
        try:
            summary = await helper.index(source, self.directory / "i", allow_damaged=False)
            piece = self.directory / "piece"
            cut = await helper.cut(frames, PreRoll.KEYFRAME, 0, piece)
        finally:
            await helper.close()
        return piece, EncodeOrder(
            frames, Profile(), "libx264", summary.video,
            trim_start_s=cut.trim_start_s, trim_end_s=cut.trim_end_s,
        )  # fmt: skip

    async def _assert_no_room(self, frames: FrameRange, quality: str) -> None:
        piece, made = await self._order(frames)
        full = self.directory / "result.mkv"
        full.symlink_to("/dev/full")
        arguments = EncodeArguments(output_args=("-c:v", "libx264", "-crf", quality))
        # A trial's result is not decoded: nothing but ffmpeg itself says that it is not whole.
        for build in all_builds():
            for checked in (True, False):
                order = attrs.evolve(made, decoded_check=checked)
                with pytest.raises(DiskFull) as raised:
                    await encode_piece(self.runner, build, arguments, order, piece, full)
                assert f"No space left to write result.mkv in {self.directory}" in (
                    raised.value.message
                )
                assert raised.value.advice
                assert raised.value.detail["argv"]

    @asynchronous
    async def test_result_that_outgrows_the_disk_is_a_full_disk(self) -> None:
        await self._assert_no_room(FrameRange(0, 60), "1")

    @asynchronous
    async def test_last_write_that_finds_no_room_is_a_full_disk(self) -> None:
        await self._assert_no_room(FrameRange(10, 12), "51")
