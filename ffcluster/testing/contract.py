"""The tests that every backend must pass. A plugin inherits them; see `docs/plugins.md`."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from ffcluster.core.model import Capability, Diagnosis, Measurement
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.encoders.backend import (
    API_VERSION,
    Backend,
    EncodeArguments,
    EncoderSchema,
    Finding,
    Probe,
    ProbeOutcome,
)
from ffcluster.encoders.benchmarking import BenchmarkCommand, BenchmarkOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.detection import Detection
from ffcluster.encoders.neutral import fit
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.registry import Registry
from ffcluster.errors import InvalidOption, UnsupportedOption
from ffcluster.testing.fakes import fake_build, fake_machine, sample_video
from ffcluster.testing.joining import join_problem
from ffcluster.testing.linting import complaints, sampled_profiles
from ffcluster.testing.recording import load_recording, replay, unmet
from ffcluster.testing.running import builds, detect_here, drive
from ffcluster.testing.situations import (
    benchmark_task,
    plain_rate,
    schema_problems,
    situations,
    usual_capabilities,
)

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_PLATFORMS = ("linux", "win32", "darwin")
# How a command may end, whatever was asked.
_ENDINGS = {
    "succeeds": ProbeOutcome(0),
    "fails in silence": ProbeOutcome(1),
    "fails with words": ProbeOutcome(234, "", "[enc @ 0x1] Something nobody has seen before\n"),
    "crashes": ProbeOutcome(-11),
    "is aborted": ProbeOutcome(134, "", "ffmpeg: symbol lookup error: undefined symbol: x\n"),
    "hangs": ProbeOutcome(None, timed_out=True),
    "never starts": ProbeOutcome(None, "", "cannot start: [Errno 8] Exec format error"),
}
_FAILURES = {name: end for name, end in _ENDINGS.items() if name != "succeeds"}
_RANKS = range(10_000)


class BackendContract:
    """Tests to inherit: set `backend`, and whatever of the rest differs.

    Attributes:
        backend: The backend under test.
        recordings: Recordings of its detection; see `recording`.
        devices: Devices to build arguments for where nothing was recorded or found here.
        lint_samples: Argument lists to check for each encoder, depth and ffmpeg at hand.
        distribution: Name of the distribution that brings it, or "" to accept any.
        installed: Whether the plugin must be found by its entry point.
    """

    backend: ClassVar[Backend]
    recordings: ClassVar[Sequence[Path]] = ()
    devices: ClassVar[Sequence[str]] = ("device:0",)
    lint_samples: ClassVar[int] = 12
    distribution: ClassVar[str] = ""
    installed: ClassVar[bool] = True

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give tests each schema, ffmpeg and recording that they ask for."""
        names = metafunc.fixturenames
        schemas = list(self.backend.schemas)
        if "schema" in names and "build" in names:
            # A build without the encoder has no parser for its options.
            pairs = [(s, b) for b in builds() for s in schemas if s.encoder in b.encoders]
            ids = [f"{s.encoder}-{_build_id(b)}" for s, b in pairs]
            metafunc.parametrize(("schema", "build"), pairs, ids=ids)
        elif "schema" in names:
            metafunc.parametrize("schema", schemas, ids=lambda s: s.encoder)
        elif "build" in names:
            metafunc.parametrize("build", builds(), ids=_build_id)
        if "recording_path" in names:
            metafunc.parametrize("recording_path", self.recordings, ids=lambda p: p.stem)

    # --- what the backend says of itself -------------------------------------------------------

    def test_plugin_is_found_by_its_entry_point(self) -> None:
        if not self.installed:
            pytest.skip("this backend is not installed as a plugin")
        registry = Registry.load()
        carriers = [p for p in registry.plugins if self.backend.name in p.backends]
        assert carriers, [p.error.message for p in registry.plugins if p.error]
        assert carriers[0].error is None
        if self.distribution:
            assert carriers[0].distribution == self.distribution

    def test_name_version_and_members_are_as_the_contract_says(self) -> None:
        assert isinstance(self.backend, Backend)
        assert _NAME.fullmatch(self.backend.name), self.backend.name
        assert self.backend.api_version == API_VERSION
        encoders = [schema.encoder for schema in self.backend.schemas]
        assert encoders
        assert len(set(encoders)) == len(encoders)

    def test_schema_is_sound(self, schema: EncoderSchema) -> None:
        problems = "; ".join(schema_problems(schema))
        assert not problems

    def test_profile_on_the_reference_scale_can_be_carried_over(
        self, schema: EncoderSchema
    ) -> None:
        for quality, preset in itertools.product((None, 18.0, 28.0), (None, "medium")):
            rate = plain_rate(schema)
            if rate.mode is RateMode.QUALITY:
                rate = RateControl(quality=quality)
            named = preset if schema.codec in ("h264", "hevc") else None
            profile = Profile(codec=schema.codec, rate=rate, preset=named)
            fitted = fit(profile, schema, None)
            schema.check(fitted)
            assert fit(fitted, schema, schema) == fitted

    # --- detection -----------------------------------------------------------------------------

    @pytest.mark.parametrize("platform", _PLATFORMS)
    def test_detect_is_pure_and_claims_no_device_untried(self, platform: str) -> None:
        for build, machine in situations(self.backend, platform):
            found = self.backend.detect(build, machine)
            assert self.backend.detect(build, machine) == found
            for finding in found:
                assert isinstance(finding, Finding)
                assert not (isinstance(finding, Capability) and finding.device), finding

    @pytest.mark.parametrize("platform", _PLATFORMS)
    @pytest.mark.parametrize("ending", _ENDINGS)
    def test_detection_ends_however_its_commands_end(self, platform: str, ending: str) -> None:
        for build, machine in situations(self.backend, platform):
            found = drive(self.backend, build, machine, lambda _: _ENDINGS[ending])
            self._check_findings(found)
            if ending in _FAILURES:
                assert not found.capabilities

    def test_ffmpeg_without_the_encoders_is_diagnosed_or_passed_over(self) -> None:
        for platform in _PLATFORMS:
            found = drive(
                self.backend, fake_build(), fake_machine(platform), lambda _: ProbeOutcome(0)
            )
            self._check_findings(found)
            assert not found.capabilities

    def test_interpret_is_pure(self) -> None:
        for build, machine in situations(self.backend, "linux"):
            for finding in self.backend.detect(build, machine):
                if isinstance(finding, Probe):
                    for outcome in _ENDINGS.values():
                        once = self.backend.interpret(finding, outcome)
                        assert self.backend.interpret(finding, outcome) == once

    def test_recording_replays_to_what_was_found_then(self, recording_path: Path) -> None:
        recording = load_recording(recording_path)
        assert recording.backend == self.backend.name
        found = replay(self.backend, recording)
        self._check_findings(found)
        assert found.capabilities or found.diagnoses
        assert not unmet(recording, found)

    def test_detection_on_this_machine_ends(self, build: FfmpegBuild) -> None:
        self._check_findings(_here(self.backend, build))

    # --- arguments -----------------------------------------------------------------------------

    def test_arguments_are_pure_and_name_the_encoder(self, schema: EncoderSchema) -> None:
        build = fake_build(*(s.encoder for s in self.backend.schemas), version="9.0.2")
        for capability in self._capabilities(schema):
            for profile in sampled_profiles(schema, _depth(capability), self.lint_samples):
                made = self._arguments(build, capability, profile)
                if made is None:
                    continue
                assert made == self._arguments(build, capability, profile)
                assert made.output_args[:2] == ("-c:v", schema.encoder)
                words = (*made.global_args, *made.input_args, *made.output_args)
                assert all(isinstance(word, str) and word for word in words)
                # It substitutes silently: a `format=` filter is what counts.
                assert "-pix_fmt" not in words

    def test_arguments_are_accepted_by_the_option_parser(
        self, schema: EncoderSchema, build: FfmpegBuild
    ) -> None:
        checked = 0
        runs_here = {c.encoder for c in _here(self.backend, build).capabilities if not c.device}
        for capability in self._capabilities(schema):
            for profile in sampled_profiles(schema, _depth(capability), self.lint_samples):
                made = self._arguments(build, capability, profile)
                if made is None:
                    continue
                checked += 1
                problem = complaints(build, made, must_encode=schema.encoder in runs_here)
                assert not problem, (made.filters, made.output_args, problem)
        if not checked:
            pytest.skip(f"{schema.encoder} takes nothing that ffmpeg {build.version} can do")

    def test_what_the_encoder_cannot_do_is_refused(self, schema: EncoderSchema) -> None:
        build = fake_build(schema.encoder)
        plain = Profile(codec=schema.codec, encoder=schema.encoder, rate=plain_rate(schema))
        wrong = [attrs.evolve(plain, preset="no-such-preset")]
        wrong.append(attrs.evolve(plain, encoder_options=(("no-such-option", "1"),)))
        if schema.quality is not None:
            beyond = RateControl(quality=schema.quality[1] + 1)
            wrong.append(attrs.evolve(plain, rate=beyond))
        wrong += [
            attrs.evolve(plain, rate=RateControl(mode, target_bps=5_000_000))
            for mode in RateMode
            if mode not in schema.rate_modes
        ]
        capability = self._capabilities(schema)[0]
        for profile in wrong:
            with pytest.raises(InvalidOption) as caught:
                self.backend.arguments(build, capability, profile, sample_video(), threads=0)
            assert caught.value.option

    # --- the rest ------------------------------------------------------------------------------

    def test_veto_and_rank_answer_the_same_twice(self, schema: EncoderSchema) -> None:
        odd = sample_video(width=33, height=17, pix_fmt="gbrp16le")
        for capability in self._capabilities(schema):
            for profile, video in itertools.product(
                sampled_profiles(schema, _depth(capability), 6), (sample_video(), odd)
            ):
                reason = self.backend.veto(capability, profile, video)
                assert reason == self.backend.veto(capability, profile, video)
                assert reason is None or reason.strip()
                rank = self.backend.rank(capability, profile)
                assert rank == self.backend.rank(capability, profile)
                assert rank in _RANKS
                assert not capability.hardware or rank >= 100

    def test_explain_has_a_cause_or_nothing_to_say(self, schema: EncoderSchema) -> None:
        for capability in self._capabilities(schema):
            for outcome in _FAILURES.values():
                diagnosis = self.backend.explain(capability, outcome)
                assert diagnosis == self.backend.explain(capability, outcome)
                if diagnosis is not None:
                    _check_diagnosis(diagnosis, self.backend)

    def test_joins_is_symmetric(self) -> None:
        offered = [c for s in self.backend.schemas for c in self._capabilities(s)]
        for one, other in itertools.product(offered[:8], repeat=2):
            opinion = self.backend.joins(one, other, Profile(codec=one.codec))
            assert opinion in (True, False, None)
            assert opinion == self.backend.joins(other, one, Profile(codec=one.codec))

    @pytest.mark.parametrize("sessions", [1, 3])
    def test_benchmark_asks_for_every_session_and_adds_them_up(
        self, schema: EncoderSchema, sessions: int
    ) -> None:
        capability = self._capabilities(schema)[0]
        task = benchmark_task(schema, sessions)
        commands = self.backend.benchmark(fake_build(schema.encoder), capability, task)
        assert len(commands) == sessions
        for command in commands:
            assert isinstance(command, BenchmarkCommand)
            assert schema.encoder in command.argv
            assert command.argv[-len(task.output_args) :] == task.output_args
        worked = BenchmarkOutcome(ProbeOutcome(0), frames=100, elapsed_s=2.0, size_bytes=50_000)
        measured = self.backend.measured(capability, task, [worked] * sessions)
        assert isinstance(measured, Measurement)
        assert measured.encoder == schema.encoder
        assert math.isclose(measured.fps, 50.0 * sessions, rel_tol=0.01)
        assert measured.sessions == sessions

    def test_benchmark_that_failed_is_diagnosed(self, schema: EncoderSchema) -> None:
        capability = self._capabilities(schema)[0]
        for outcome in _FAILURES.values():
            failed = BenchmarkOutcome(outcome, frames=0, elapsed_s=1.0)
            diagnosis = self.backend.measured(capability, benchmark_task(schema, 1), [failed])
            assert isinstance(diagnosis, Diagnosis)
            _check_diagnosis(diagnosis, self.backend)

    def test_segments_encoded_apart_join_and_decode_right(
        self, schema: EncoderSchema, build: FfmpegBuild, tmp_path: Path
    ) -> None:
        here = _here(self.backend, build).capabilities
        working = [c for c in here if c.encoder == schema.encoder]
        if not working:
            pytest.skip(f"{schema.encoder} does not work on this machine with {build.version}")
        for number, capability in enumerate(working):
            folder = tmp_path / str(number)
            folder.mkdir()
            preset = capability.presets[0] if capability.presets else None
            profile = Profile(
                codec=schema.codec,
                encoder=schema.encoder,
                rate=plain_rate(schema),
                preset=preset,
            )
            assert not join_problem(self.backend, build, capability, profile, folder)

    # --- helpers -------------------------------------------------------------------------------

    def _check_findings(self, found: Detection) -> None:
        assert not found.errors, [error.message for error in found.errors]
        for diagnosis in found.diagnoses:
            _check_diagnosis(diagnosis, self.backend)
            assert diagnosis.hint.strip(), diagnosis
        schemas = {schema.encoder: schema for schema in self.backend.schemas}
        for capability in found.capabilities:
            schema = schemas[capability.encoder]
            assert capability.codec is schema.codec
            assert capability.backend == self.backend.name
            assert capability.slots >= 1
            assert capability.pix_fmts
            assert capability.bit_depths
            assert set(capability.rate_modes) <= set(schema.rate_modes)
            assert set(capability.presets) <= set(schema.presets)
            assert capability.ffmpeg == found.build.version

    def _capabilities(self, schema: EncoderSchema) -> list[Capability]:
        """One capability for each depth: from recordings, from here, or as hardware usually is."""
        known: Iterable[Capability] = itertools.chain.from_iterable(
            replay(self.backend, load_recording(path)).capabilities for path in self.recordings
        )
        here = (c for b in builds() for c in _here(self.backend, b).capabilities)
        own = [c for c in itertools.chain(here, known) if c.encoder == schema.encoder]
        found: dict[int, Capability] = {}
        for capability in own:
            for name in capability.pix_fmts:
                form = describe(name)
                if form is not None and form.depth in (8, 10) and form.shift == (1, 1):
                    single = attrs.evolve(capability, pix_fmts=(name,), bit_depths=(form.depth,))
                    found.setdefault(form.depth, single)
        return [found[depth] for depth in sorted(found)] or [
            c for device in self.devices for c in usual_capabilities(schema, self.backend, device)
        ]

    def _arguments(
        self, build: FfmpegBuild, capability: Capability, profile: Profile
    ) -> EncodeArguments | None:
        """The arguments, or None when the backend refuses them for this capability or build."""
        video = sample_video()
        if _depth(capability) == 10:
            video = sample_video(pix_fmt="yuv420p10le")
        try:
            return self.backend.arguments(build, capability, profile, video, threads=1)
        except UnsupportedOption:
            return None


_HERE: dict[tuple[str, str], Detection] = {}


def _here(backend: Backend, build: FfmpegBuild) -> Detection:
    """What really works here; found out once for each ffmpeg."""
    key = (backend.name, build.path)
    if key not in _HERE:
        _HERE[key] = detect_here(backend, build)
    return _HERE[key]


def _depth(capability: Capability) -> int:
    return capability.bit_depths[0]


def _build_id(build: FfmpegBuild) -> str:
    return f"{build.major}.{build.minor}"


def _check_diagnosis(diagnosis: Diagnosis, backend: Backend) -> None:
    assert diagnosis.backend == backend.name
    assert diagnosis.cause.strip()
    assert "\n" not in diagnosis.cause


__all__ = ["BackendContract"]
