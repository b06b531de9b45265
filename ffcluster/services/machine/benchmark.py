"""Measure what this machine's encoders achieve, and remember it for workers to tell.

Every setting is measured with one session first, whose result also gives the bit rate and VMAF,
then with more side by side, until another step gains less than a tenth or the device takes no
more. What is measured includes decoding the clip and starting ffmpeg, as on a worker.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.core.model import Capability, Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.encoders.backend import Backend
from ffcluster.encoders.benchmarking import BenchmarkTask
from ffcluster.encoders.registry import Registry
from ffcluster.errors import FfclusterError, NoUsableEncoder, PluginError
from ffcluster.media import benchmark as runs
from ffcluster.media.command import file_url
from ffcluster.media.runner import Runner
from ffcluster.services.machine.benchmark_report import (
    BenchmarkReport,
    BenchmarkRequest,
    BenchmarkRow,
    BenchmarkStep,
)
from ffcluster.services.machine.detection import Examined, examine_machine
from ffcluster.services.machine.measurements import (
    MEASUREMENTS_NAME,
    about,
    load_measurements,
    store_measurements,
)

T = TypeVar("T")
_WORTHWHILE_GAIN = 1.1
# For encoders that know bit rates only: about what a good 1080p film has.
_BITS_PER_PIXEL = 0.1


@attrs.frozen
class _Setting:
    """One line of the table before it is measured."""

    capability: Capability
    preset: str | None
    quality: float | None
    is_first_quality: bool

    def __str__(self) -> str:
        words = [self.capability.encoder, self.capability.device, self.preset or "default preset"]
        if self.quality is not None:
            words.append(f"quality {self.quality:g}")
        return " ".join(filter(None, words))


OnStep = Callable[[BenchmarkStep], None]


async def benchmark(
    reactor: Any, request: BenchmarkRequest, registry: Registry, on_step: OnStep
) -> BenchmarkReport:
    """Measure what `request` asks for; leaves nothing behind but the measurements.

    Raises:
        FfmpegMissing: There is no ffmpeg, or it does not work.
        NoUsableEncoder: Nothing here is what was asked for.
        FfclusterError: The clip could not be made or read.
    """
    runner = Runner(reactor)
    folder = Path(tempfile.mkdtemp(prefix="ffcluster-benchmark-"))
    try:
        examined = await examine_machine(
            runner, request.ffmpegs, registry, request.state_dir, fresh=request.fresh
        )
        bench = _Bench(runner, registry, request, examined, folder)
        report = await bench.run(on_step)
    finally:
        await runner.close()
        await deferToThread(shutil.rmtree, folder, ignore_errors=True)
    return await _stored(report, request.state_dir)


class _Bench:
    """One benchmark: its clip and its runs, one after the other."""

    def __init__(
        self,
        runner: Runner,
        registry: Registry,
        request: BenchmarkRequest,
        examined: Examined,
        folder: Path,
    ) -> None:
        self._runner = runner
        self._registry = registry
        self._request = request
        self._examined = examined
        self._folder = folder
        self._scorer = next((b for b in examined.builds if "libvmaf" in b.filters), None)

    async def run(self, on_step: OnStep) -> BenchmarkReport:
        """Measure every setting."""
        settings = list(self._settings())
        if not settings:
            raise self._nothing_to_measure()
        on_step(BenchmarkStep(0, len(settings), "preparing the clip"))
        clip = await self._clip()
        rows: list[BenchmarkRow] = []
        diagnoses: list[Diagnosis] = []
        for number, setting in enumerate(settings, 1):
            on_step(BenchmarkStep(number, len(settings), str(setting)))
            found = await self._measure(setting, clip)
            on_step(BenchmarkStep(number, len(settings), str(setting), found))
            if isinstance(found, BenchmarkRow):
                rows.append(found)
            elif found not in diagnoses:
                diagnoses.append(found)
        return BenchmarkReport(
            clip=clip.name, rows=tuple(rows), diagnoses=tuple(diagnoses), notes=self._notes()
        )

    def _settings(self) -> Iterator[_Setting]:
        qualities: Sequence[float | None] = self._request.qualities or (None,)
        for capability in self._examined.capabilities:
            if not self._request.wants(capability):
                continue
            for preset in self._request.presets or usual_presets(capability):
                for position, quality in enumerate(qualities):
                    yield _Setting(capability, preset, quality, position == 0)

    def _nothing_to_measure(self) -> NoUsableEncoder:
        offered = sorted(
            {f"{c.encoder} on {c.device or 'cpu'}" for c in self._examined.capabilities}
        )
        return NoUsableEncoder(
            message="Nothing here is what was asked for.",
            advice=f"Usable here: {', '.join(offered) or 'nothing'}. `ffcluster doctor` shows why "
            "others are not.",
        )

    async def _clip(self) -> runs.Clip:
        request = self._request
        if request.source is not None:
            film_s = max(4.0, min(request.duration_s, 20.0))
            return await runs.cut_clip(self._runner, request.source, self._folder, film_s)
        build = next(
            (b for b in self._examined.builds if "libx264" in b.encoders), self._examined.builds[0]
        )
        return await runs.make_clip(self._runner, build, self._folder, request.synthetic_size)

    async def _measure(self, setting: _Setting, clip: runs.Clip) -> BenchmarkRow | Diagnosis:
        """Measure one setting; whatever goes wrong with it is told, and the next one follows."""
        capability = setting.capability
        try:
            task = self._task(setting, clip)
            single = await self._single(capability, task, clip)
            limit = ""
            if isinstance(single, Measurement) and setting.is_first_quality:
                single, limit = await self._several(capability, task, single)
        except PluginError as error:
            return _cannot(capability, error.message, error.advice, Trouble.BROKEN)
        except FfclusterError as error:
            return _cannot(capability, error.message, error.advice, Trouble.UNSUPPORTED)
        if isinstance(single, Diagnosis):
            return single
        own = task.profile.rate.quality
        return BenchmarkRow(single, capability.codec, setting.quality, own, limit)

    def _task(self, setting: _Setting, clip: runs.Clip) -> BenchmarkTask:
        profile = self._profile(setting, clip)
        reason = self._registry.refusal(setting.capability, profile, clip.video)
        if reason is not None:
            raise NoUsableEncoder(
                message=reason, advice="choose another --size, --input, --preset or --quality"
            )
        return BenchmarkTask(
            input_args=clip.input_args,
            video=clip.video,
            profile=profile,
            duration_s=self._request.duration_s,
            hardware_decode=self._request.hardware_decode,
        )

    def _profile(self, setting: _Setting, clip: runs.Clip) -> Profile:
        """The setting on the encoder's own scales, without any of the user's other wishes."""
        capability = setting.capability
        modes = capability.rate_modes
        rate = RateControl(RateMode.QUALITY, quality=setting.quality)
        if RateMode.QUALITY not in modes and RateMode.BITRATE in modes:
            pixels = clip.video.width * clip.video.height
            num, den = clip.video.frame_rate
            fps = num / den if num > 0 and den > 0 else 25.0
            rate = RateControl(RateMode.BITRATE, target_bps=round(_BITS_PER_PIXEL * pixels * fps))
        elif RateMode.QUALITY not in modes:
            rate = RateControl(RateMode.LOSSLESS)
        own = setting.preset in capability.presets
        neutral = Profile(codec=capability.codec, rate=rate, preset=None if own else setting.preset)
        fitted = self._registry.fitted(capability, neutral)
        return attrs.evolve(fitted, preset=setting.preset) if own else fitted

    async def _single(
        self, capability: Capability, task: BenchmarkTask, clip: runs.Clip
    ) -> Measurement | Diagnosis:
        """One session, with its bit rate and VMAF."""
        result = self._folder / "result.mkv"
        task = attrs.evolve(task, output_args=("-f", "matroska", file_url(result)))
        found = await self._run(capability, task, result)
        if isinstance(found, Measurement) and self._scorer is not None:
            cpus = self._examined.machine.cpus
            score = await runs.vmaf(self._runner, self._scorer, clip, result, cpus)
            found = attrs.evolve(found, vmaf=score)
        await deferToThread(result.unlink, missing_ok=True)
        return found

    async def _several(
        self, capability: Capability, task: BenchmarkTask, single: Measurement
    ) -> tuple[Measurement, str]:
        """More and more sessions; answers the best number, and why there are not more."""
        best, tried = single, [(1, single.fps)]
        limit = f"--max-sessions {self._request.max_sessions}"
        for sessions in session_counts(self._request.max_sessions):
            found = await self._run(capability, attrs.evolve(task, sessions=sessions))
            if isinstance(found, Diagnosis):
                limit = f"{sessions} sessions: {found.cause}"
                break
            tried.append((sessions, found.fps))
            if found.fps < best.fps * _WORTHWHILE_GAIN:
                limit = f"{sessions} sessions gain less than 10 %"
                break
            best = found
        settled = attrs.evolve(
            single,
            fps=best.fps,
            speed=best.speed,
            sessions=best.sessions,
            session_fps=tuple(tried),
        )
        return settled, limit

    async def _run(
        self, capability: Capability, task: BenchmarkTask, result: Path | None = None
    ) -> Measurement | Diagnosis:
        backend = self._registry.backend(capability.backend)
        build = self._examined.build_for(capability)
        commands = _asked(backend, lambda: list(backend.benchmark(build, capability, task)))
        outcomes = await runs.run_sessions(self._runner, build, commands, task.duration_s, result)
        return _asked(backend, lambda: backend.measured(capability, task, outcomes))

    def _notes(self) -> tuple[str, ...]:
        if self._scorer is not None:
            return ()
        return (
            "VMAF was not measured: no ffmpeg here has the filter libvmaf. Name a second one that "
            "has it with another --ffmpeg, for example the one of: pip install imageio-ffmpeg",
        )


def usual_presets(capability: Capability) -> tuple[str | None, ...]:
    """What to measure where nobody asked: the default, and a fast preset that is still in use."""
    presets = capability.presets
    return (None, presets[len(presets) // 4]) if presets else (None,)


def session_counts(most: int) -> Iterator[int]:
    """Numbers of sessions to try after one: 2, 3, 4, 6, 8, 12, 16, 24 ... up to `most`.

    The steps grow: from many sessions to one more is never a gain of a tenth.
    """
    sessions = 2
    while sessions <= most:
        yield sessions
        power = 1 << (sessions.bit_length() - 1)
        sessions += max(1, power // 2)


def _asked(backend: Backend, ask: Callable[[], T]) -> T:
    """What a backend answers.

    Raises:
        PluginError: It raised something.
        FfclusterError: It refused.
    """
    try:
        return ask()
    except FfclusterError:
        raise
    except Exception as error:
        raise PluginError(
            message=f"the benchmark by {backend.name} failed: {type(error).__name__}: {error}",
            advice=f"update the plugin, or switch it off by its name {backend.name!r}",
            plugin=backend.name,
        ) from error


def _cannot(capability: Capability, cause: str, hint: str, trouble: Trouble) -> Diagnosis:
    return Diagnosis(
        backend=capability.backend,
        device=capability.device,
        cause=cause,
        hint=hint,
        encoder=capability.encoder,
        trouble=trouble,
        ffmpeg=capability.ffmpeg,
    )


async def _stored(report: BenchmarkReport, state_dir: Path | None) -> BenchmarkReport:
    """Remember what a worker can use: each setting once, with the first quality."""
    if state_dir is None or not report.rows:
        return report
    first: dict[tuple[Any, ...], Measurement] = {}
    for row in report.rows:
        first.setdefault(about(row.measurement), row.measurement)
    try:
        await store_measurements(state_dir, first.values())
    except FfclusterError as error:
        note = f"The figures are not remembered: {error.message}"
        return attrs.evolve(report, notes=(*report.notes, note))
    return attrs.evolve(report, stored=state_dir / MEASUREMENTS_NAME)


__all__ = [
    "BenchmarkReport",
    "BenchmarkRequest",
    "BenchmarkRow",
    "BenchmarkStep",
    "benchmark",
    "load_measurements",
    "store_measurements",
]
