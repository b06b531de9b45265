"""Benchmarks with real ffmpegs, for moments and on tiny pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ffcluster.core.model import Capability, Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Codec, RateMode
from ffcluster.encoders.backend import EncodeArguments, EncoderSchema, ProbeOutcome
from ffcluster.encoders.benchmarking import BenchmarkCommand, BenchmarkOutcome, BenchmarkTask
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.errors import FfclusterError, NoUsableEncoder
from ffcluster.services.machine.benchmark import (
    BenchmarkReport,
    BenchmarkRequest,
    BenchmarkRow,
    BenchmarkStep,
    benchmark,
    load_measurements,
    session_counts,
    usual_presets,
)
from ffcluster.testing import FakeBackend, entry_point
from tests import inputs
from tests.integration.media_case import MediaCase, all_builds, asynchronous

SOFTWARE = Registry.load(allow={"software"})


def backend_registry(backend: FakeBackend) -> Registry:
    return Registry.of([entry_point("fake", lambda: [backend])])


@attrs.define
class Limited(FakeBackend):
    """A device that encodes with mpeg4, and refuses more than `sessions` at once."""

    schemas: Sequence[EncoderSchema] = (
        EncoderSchema(encoder="mpeg4", codec=Codec.H264, rate_modes=(RateMode.BITRATE,)),
    )
    sessions: int = 2
    found: Sequence[object] = (
        Capability(
            "mpeg4", Codec.H264, "fake", "gpu:0", pix_fmts=("yuv420p",),
            rate_modes=(RateMode.BITRATE,),
        ),
    )  # fmt: skip

    def arguments(self, *args: Any, **options: Any) -> EncodeArguments:
        return EncodeArguments(output_args=("-c:v", "mpeg4", "-b:v", "300k"))

    def benchmark(
        self, build: FfmpegBuild, capability: Capability, task: BenchmarkTask
    ) -> Sequence[BenchmarkCommand]:
        # A session of its own that slows every further one down only where there are too many.
        commands = FakeBackend.benchmark(self, build, capability, task)
        if task.sessions <= self.sessions:
            return commands
        refused = BenchmarkCommand(("-hide_banner", "-i", "file:/no such session"))
        return [*commands[:-1], refused]

    def measured(
        self, capability: Capability, task: BenchmarkTask, outcomes: Sequence[BenchmarkOutcome]
    ) -> Measurement | Diagnosis:
        found = FakeBackend.measured(self, capability, task, outcomes)
        if isinstance(found, Diagnosis):
            return found
        # Sessions scale as on a device of its own, however busy this machine is.
        fps = 100.0 * task.sessions
        return attrs.evolve(found, fps=fps, speed=fps / 25, session_fps=((task.sessions, fps),))

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        return Diagnosis("fake", capability.device, "no session left", trouble=Trouble.BUSY)


class Benchmarks(MediaCase):
    def setUp(self) -> None:
        super().setUp()
        self.steps: list[BenchmarkStep] = []
        self.state = self.directory / "state"
        scratch = self.directory / "scratch"
        scratch.mkdir()
        patch = mock.patch.object(tempfile, "tempdir", str(scratch))
        patch.start()
        self.addCleanup(patch.stop)
        self.scratch = scratch

    async def run_it(self, registry: Registry = SOFTWARE, **fields: Any) -> BenchmarkReport:
        given: dict[str, Any] = {
            "ffmpegs": (self.build.path,), "duration_s": 0.4, "size": (128, 96),
            "max_sessions": 2, "state_dir": self.state,
        }  # fmt: skip
        request = BenchmarkRequest(**{**given, **fields})
        report = await benchmark(reactor, request, registry, self.steps.append)
        assert list(self.scratch.iterdir()) == []
        return report

    @asynchronous
    async def test_encoder_is_measured_shown_and_remembered_with_every_ffmpeg(self) -> None:
        for build in all_builds():
            report = await self.run_it(ffmpegs=(build.path,), encoders=("libx264",))
            assert [row.measurement.preset for row in report.rows] == ["", "veryfast"]
            for row in report.rows:
                m = row.measurement
                assert (m.encoder, m.device, m.width, m.height) == ("libx264", "", 128, 96)
                assert m.fps > 0
                assert m.speed == pytest.approx(m.fps / 25)
                assert [sessions for sessions, _ in m.session_fps] == [1, 2]
                assert m.bitrate_bps > 0
                assert m.ffmpeg == build.version
                assert row.limit
                if "libvmaf" in build.filters:
                    assert m.vmaf is not None
                    assert 30 < m.vmaf <= 100
                else:
                    assert m.vmaf is None
            assert bool(report.notes) == ("libvmaf" not in build.filters)
            stored = await load_measurements(self.state)
            assert set(stored) == {row.measurement for row in report.rows}

    @asynchronous
    async def test_vmaf_comes_from_any_ffmpeg_that_has_it(self) -> None:
        builds = sorted(all_builds(), key=lambda build: "libvmaf" in build.filters)
        if len(builds) < 2 or "libvmaf" in builds[0].filters:
            raise pytest.skip.Exception("needs an ffmpeg with and one without libvmaf")
        report = await self.run_it(
            ffmpegs=tuple(b.path for b in builds), encoders=("libx264",), presets=("ultrafast",)
        )
        (row,) = report.rows
        assert row.measurement.ffmpeg == builds[0].version
        assert row.measurement.vmaf is not None
        assert report.notes == ()

    @asynchronous
    async def test_several_qualities_show_how_vmaf_and_bit_rate_fall(self) -> None:
        report = await self.run_it(
            encoders=("libx264",), presets=("ultrafast",), qualities=(18, 48), duration_s=1.0
        )
        better, worse = report.rows
        assert (better.own_quality, worse.own_quality) == (18, 48)
        assert better.measurement.bitrate_bps > worse.measurement.bitrate_bps
        if better.measurement.vmaf is not None and worse.measurement.vmaf is not None:
            assert better.measurement.vmaf > worse.measurement.vmaf
        assert worse.measurement.session_fps == ((1, worse.measurement.fps),)
        assert await load_measurements(self.state) == (better.measurement,)

    @asynchronous
    async def test_middle_of_any_film_can_be_the_clip(self) -> None:
        kinds = ("h264_open_ts", "h264_10bit_mp4", "h264_two_frames_mkv", "vp9_hidden_webm")
        for kind in kinds:
            film = inputs.make(kind, self.directory)
            report = await self.run_it(
                source=film, encoders=("libx264",), presets=("ultrafast",), max_sessions=1,
                qualities=(4,),
            )  # fmt: skip
            assert [d.cause for d in report.diagnoses] == [], kind
            (row,) = report.rows
            assert report.clip == film.name
            assert row.measurement.fps > 0
            # Every frame was compared with itself, or it would be far lower.
            assert row.measurement.vmaf is None or row.measurement.vmaf > 90, kind

    @asynchronous
    async def test_film_that_cannot_be_read_is_an_error_and_leaves_nothing(self) -> None:
        film = self.directory / "film.mkv"
        film.write_bytes(os.urandom(4000))
        with pytest.raises(FfclusterError):
            await self.run_it(source=film, encoders=("libx264",))
        assert list(self.scratch.iterdir()) == []

    @asynchronous
    async def test_busy_device_is_a_limit_and_no_failure(self) -> None:
        report = await self.run_it(backend_registry(Limited()), max_sessions=8)
        (row,) = report.rows
        assert row.measurement.sessions == 2
        assert row.measurement.session_fps == ((1, 100.0), (2, 200.0))
        assert row.measurement.fps == 200.0
        assert row.limit == "3 sessions: no session left"
        assert report.diagnoses == ()

    @asynchronous
    async def test_device_that_takes_not_even_one_session_is_told(self) -> None:
        report = await self.run_it(backend_registry(Limited(sessions=0)))
        assert report.rows == ()
        assert [d.cause for d in report.diagnoses] == ["no session left"]
        assert report.stored is None
        assert await load_measurements(self.state) == ()

    @asynchronous
    async def test_plugin_that_raises_stops_nothing(self) -> None:
        @attrs.define
        class Broken(Limited):
            def measured(self, *args: Any) -> Measurement | Diagnosis:
                raise ZeroDivisionError("oh")

        report = await self.run_it(backend_registry(Broken()))
        (told,) = report.diagnoses
        assert "ZeroDivisionError: oh" in told.cause
        assert told.trouble is Trouble.BROKEN

    @asynchronous
    async def test_preset_that_an_encoder_does_not_have_is_told_and_others_are_measured(
        self,
    ) -> None:
        report = await self.run_it(
            encoders=("libx264",), presets=("no such", "ultrafast"), max_sessions=1
        )
        assert [row.measurement.preset for row in report.rows] == ["ultrafast"]
        assert "no such" in report.diagnoses[0].cause
        found = [step.found for step in self.steps if step.found is not None]
        assert [isinstance(f, BenchmarkRow) for f in found] == [False, True]

    @asynchronous
    async def test_nothing_that_was_asked_for_is_an_error_that_says_what_there_is(self) -> None:
        with pytest.raises(NoUsableEncoder) as error:
            await self.run_it(encoders=("h264_nosuch",))
        assert "libx264 on cpu" in error.value.advice
        with pytest.raises(NoUsableEncoder):
            await self.run_it(devices=("cuda:7",))

    @asynchronous
    async def test_cancelling_ends_every_process_and_leaves_nothing(self) -> None:
        running: Deferred[None] = Deferred()

        def watch(step: BenchmarkStep) -> None:
            if step.number == 1 and not running.called:
                reactor.callLater(0.3, running.callback, None)  # type: ignore[attr-defined]

        request = BenchmarkRequest(
            ffmpegs=(self.build.path,), encoders=("libx264",), duration_s=60.0, size=(128, 96),
            state_dir=self.state,
        )  # fmt: skip
        task = Deferred.fromCoroutine(benchmark(reactor, request, SOFTWARE, watch))
        await running
        ended: Deferred[None] = Deferred()
        task.addBoth(lambda _: ended.callback(None))
        task.cancel()
        await ended
        assert list(self.scratch.iterdir()) == []
        assert await load_measurements(self.state) == ()


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_interrupted_command_leaves_neither_process_nor_file(tmp_path: Path) -> None:
    scratch, state = tmp_path / "scratch", tmp_path / "state"
    scratch.mkdir()
    command = subprocess.Popen(
        [str(Path(sys.executable).with_name("ffcluster")), "benchmark", "--encoder", "libx264",
         "--size", "128x96", "--benchmark-duration", "60", "--state-dir", str(state)],
        env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stderr is not None
    for line in command.stderr:
        if line.startswith("[1/"):
            break
    command.send_signal(signal.SIGINT)
    command.stderr.read()
    assert command.wait(30) == 130
    assert list(scratch.iterdir()) == []
    assert not (state / "measurements.json").exists()
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(scratch) not in listed


def test_numbers_of_sessions_grow_with_their_size() -> None:
    assert list(session_counts(24)) == [2, 3, 4, 6, 8, 12, 16, 24]
    assert list(session_counts(1)) == []


def test_default_and_a_fast_preset_are_usual() -> None:
    presets = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower")
    assert usual_presets(Capability("x", Codec.H264, presets=presets)) == (None, "veryfast")
    assert usual_presets(Capability("x", Codec.H264)) == (None,)
