"""The contract for benchmarks, and the way of the first-party backends."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core.model import Capability, Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.backend import ProbeOutcome
from ffcluster.encoders.benchmarking import BenchmarkOutcome, BenchmarkTask
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.software import SoftwareBackend
from ffcluster.testing import FakeBackend
from tests.encoders.builds import video

BUILD = FfmpegBuild("/bin/ffmpeg", "9.0.2", 9)
CAPABILITY = Capability(
    "libx264", Codec.H264, pix_fmts=("yuv420p",), threads=1, device="", ffmpeg="9.0.2"
)
TASK = BenchmarkTask(
    input_args=("-stream_loop", "-1", "-i", "file:/clip.mkv"),
    video=video(),
    profile=Profile(encoder="libx264", preset="fast"),
    duration_s=2.0,
    output_args=("-f", "matroska", "file:/result.mkv"),
)
DONE = BenchmarkOutcome(ProbeOutcome(255, timed_out=True), 100, 2.0)


def measured(*outcomes: BenchmarkOutcome, **changes: object) -> Measurement | Diagnosis:
    task = attrs.evolve(TASK, **changes)
    backend = FakeBackend(explained=Diagnosis("fake", "", "no session left", trouble=Trouble.BUSY))
    return backend.measured(CAPABILITY, task, outcomes)


def test_each_session_is_one_command_with_the_backends_own_arguments() -> None:
    backend = SoftwareBackend()
    commands = backend.benchmark(BUILD, CAPABILITY, attrs.evolve(TASK, sessions=3))
    assert len(commands) == 3
    assert len(set(commands)) == 1
    argv = commands[0].argv
    wanted = backend.arguments(BUILD, CAPABILITY, TASK.profile, TASK.video, threads=1)
    text = " ".join(argv)
    assert " ".join(wanted.output_args) in text
    assert argv[argv.index("-i") + 1] == "file:/clip.mkv"
    assert argv[-3:] == TASK.output_args
    assert "setpts=N/(25.000000*TB)" in argv[argv.index("-vf") + 1]


def test_decoding_on_the_device_is_asked_for_only_where_it_was_proven() -> None:
    asked: list[bool] = []

    @attrs.define
    class Watching(FakeBackend):
        def arguments(self, *args: object, **options: object):  # type: ignore[no-untyped-def]
            asked.append(bool(options["hardware_decode"]))
            return FakeBackend.arguments(self, *args, **options)  # type: ignore[arg-type]

    task = attrs.evolve(TASK, hardware_decode=True)
    for proven in (False, True):
        capability = attrs.evolve(CAPABILITY, hardware_decode=proven)
        Watching().benchmark(BUILD, capability, task)
    assert asked == [False, True]


def test_frames_of_all_sessions_count_until_the_last_one_ends() -> None:
    slower = attrs.evolve(DONE, frames=60, elapsed_s=4.0)
    found = measured(DONE, slower, sessions=2)
    assert isinstance(found, Measurement)
    assert (found.fps, found.speed, found.sessions) == (40.0, 1.6, 2)
    assert found.session_fps == ((2, 40.0),)
    assert (found.preset, found.width, found.height, found.ffmpeg) == ("fast", 128, 96, "9.0.2")
    assert found.bitrate_bps == 0.0


def test_bit_rate_is_that_of_the_film_not_of_the_time_it_took() -> None:
    found = measured(attrs.evolve(DONE, size_bytes=50_000))
    assert isinstance(found, Measurement)
    assert found.bitrate_bps == 50_000 * 8 / 4


def test_session_that_was_not_ended_and_did_not_fail_counts() -> None:
    assert isinstance(measured(BenchmarkOutcome(ProbeOutcome(0), 10, 1.0)), Measurement)


def test_failure_of_one_session_is_the_backends_to_explain() -> None:
    failed = BenchmarkOutcome(ProbeOutcome(187, stderr="out of memory (10)"), 0, 0.1)
    found = measured(DONE, failed, sessions=2)
    assert isinstance(found, Diagnosis)
    assert found.trouble is Trouble.BUSY
    later = attrs.evolve(failed, frames=7)
    assert isinstance(measured(DONE, later, sessions=2), Diagnosis)


def test_failure_that_nobody_knows_is_quoted() -> None:
    failed = BenchmarkOutcome(ProbeOutcome(1, stderr="x\n[enc @ 0x1] strange thing\n"), 0, 0.1)
    found = FakeBackend().measured(CAPABILITY, TASK, [failed])
    assert isinstance(found, Diagnosis)
    assert "strange thing" in found.cause


@pytest.mark.parametrize("outcomes", [(), (attrs.evolve(DONE, frames=0),)])
def test_no_frame_in_time_is_told_with_what_helps(outcomes: tuple[BenchmarkOutcome, ...]) -> None:
    found = measured(*outcomes)
    assert isinstance(found, Diagnosis)
    assert "no frame" in found.cause
    assert "--benchmark-duration" in found.hint


def test_unknown_frame_rate_is_taken_for_25() -> None:
    assert attrs.evolve(TASK, video=video(frame_rate=(0, 1))).frame_rate_fps == 25.0
