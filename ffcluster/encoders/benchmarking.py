"""The contract for benchmarks, and the way of the first-party backends. Sans I/O: runs nothing.

A backend is given a `BenchmarkTask` (a clip, a profile on the encoder's own scales, a number of
sessions) and says which commands to run side by side; ffcluster runs them all at once, ends them
when their time is up, and hands back what became of each. Out of that the backend makes a
`Measurement`, or a `Diagnosis` when nothing was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Profile
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.troubles import last_resort

if TYPE_CHECKING:
    from ffcluster.encoders.backend import Backend, ProbeOutcome

_QUIET = ("-hide_banner", "-loglevel", "warning", "-y")
_UNKNOWN_RATE_FPS = 25.0


@attrs.frozen
class BenchmarkTask:
    """One thing to measure: an encoder's setting with a number of sessions side by side.

    Attributes:
        input_args: Words that open the clip, `-i` and its name included. The clip begins anew
            whenever it ends, so it never runs dry.
        video: The clip's video stream.
        profile: The setting, on the encoder's own scales (see `neutral.fit`).
        duration_s: Seconds after which the commands are ended; what was done by then counts.
        sessions: How many are to run side by side.
        output_args: Words that take the result, from `-f` on: a Matroska file with one session,
            whose size and pictures are looked at afterwards, else nothing but a count.
        hardware_decode: Decode the clip on the device as well, if the capability can.
    """

    input_args: tuple[str, ...]
    video: VideoFormat
    profile: Profile
    duration_s: float
    sessions: int = 1
    output_args: tuple[str, ...] = ("-f", "null", "-")
    hardware_decode: bool = False

    @property
    def preset(self) -> str:
        """The preset that is measured, or "" for the encoder's default."""
        return self.profile.preset or ""

    @property
    def frame_rate_fps(self) -> float:
        """Frames per second of the clip."""
        num, den = self.video.frame_rate
        return num / den if num > 0 and den > 0 else _UNKNOWN_RATE_FPS


@attrs.frozen
class BenchmarkCommand:
    """An ffmpeg command that is one session of a benchmark.

    Attributes:
        argv: Arguments after the binary's path. ffcluster adds `-progress`, out of which it
            counts the frames.
        env: Variables to set beside the scrubbed environment.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class BenchmarkOutcome:
    """What became of one session.

    Attributes:
        outcome: How its process ended. `timed_out` is no failure here: its time was up.
        frames: Frames that were encoded.
        elapsed_s: Seconds from its start to its end.
        size_bytes: Size of the file that it wrote, or None when it wrote none.
    """

    outcome: ProbeOutcome
    frames: int
    elapsed_s: float
    size_bytes: int | None = None

    @property
    def worked(self) -> bool:
        """Whether it encoded until it was ended."""
        return self.frames > 0 and (self.outcome.timed_out or self.outcome.returncode == 0)


class StandardBenchmarks:
    """`Backend.benchmark` and `Backend.measured` as nearly every backend needs them.

    A backend inherits them, and overrides what is different with it.
    """

    __slots__ = ()

    def benchmark(
        self: Backend, build: FfmpegBuild, capability: Capability, task: BenchmarkTask
    ) -> Sequence[BenchmarkCommand]:
        """Encode the clip with what `Backend.arguments` says, in every session alike.

        Raises:
            InvalidOption: See `Backend.arguments`.
            UnsupportedOption: See `Backend.arguments`.
        """
        arguments = self.arguments(
            build,
            capability,
            task.profile,
            task.video,
            threads=capability.threads,
            hardware_decode=task.hardware_decode and capability.hardware_decode,
        )
        # Frames are numbered anew: where the clip begins again its own times may go back.
        renumber = f"setpts=N/({task.frame_rate_fps:.6f}*TB)"
        chain = (renumber, *arguments.context_filters, *arguments.filters)
        argv = (
            *_QUIET,
            *arguments.global_args,
            "-noautorotate",
            *arguments.input_args,
            *task.input_args,
            *("-map", "0:v:0", "-an", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"),
            *("-vf", ",".join(chain)),
            *build.fps_mode_args,
            *arguments.output_args,
            *task.output_args,
        )
        return (BenchmarkCommand(argv),) * task.sessions

    def measured(
        self: Backend,
        capability: Capability,
        task: BenchmarkTask,
        outcomes: Sequence[BenchmarkOutcome],
    ) -> Measurement | Diagnosis:
        """Add up what all sessions encoded; the first session that failed decides instead."""
        failed = next((o for o in outcomes if not o.worked), None)
        if failed is not None or not outcomes:
            return _failure(self, capability, task, failed)
        frames = sum(o.frames for o in outcomes)
        fps = frames / max(max(o.elapsed_s for o in outcomes), 1e-3)
        sizes = [o for o in outcomes if o.size_bytes is not None]
        size_bytes = sum(o.size_bytes or 0 for o in sizes)
        film_s = sum(o.frames for o in sizes) / task.frame_rate_fps
        return Measurement(
            encoder=capability.encoder,
            device=capability.device,
            preset=task.preset,
            width=task.video.width,
            height=task.video.height,
            fps=fps,
            speed=fps / task.frame_rate_fps,
            sessions=task.sessions,
            session_fps=((task.sessions, fps),),
            bitrate_bps=8 * size_bytes / film_s if film_s else 0.0,
            ffmpeg=capability.ffmpeg,
        )


def _failure(
    backend: Backend,
    capability: Capability,
    task: BenchmarkTask,
    failed: BenchmarkOutcome | None,
) -> Diagnosis:
    preset = f"preset {task.preset}" if task.preset else "its default preset"
    told = Diagnosis(
        backend=backend.name,
        device=capability.device,
        cause=f"no frame was encoded within {task.duration_s:g} s with {preset}",
        hint="give it more time (--benchmark-duration), smaller pictures (--size) or a faster "
        "preset",
        encoder=capability.encoder,
        trouble=Trouble.UNSUPPORTED,
        ffmpeg=capability.ffmpeg,
    )
    if failed is None or failed.outcome.timed_out:
        return told
    explained = backend.explain(capability, failed.outcome)
    if explained is not None:
        return explained
    verdict = last_resort(failed.outcome)
    if verdict is None:
        return told
    return verdict.diagnosis(backend.name, capability.device, capability.encoder, capability.ffmpeg)


__all__ = [
    "BenchmarkCommand",
    "BenchmarkOutcome",
    "BenchmarkTask",
    "StandardBenchmarks",
]
