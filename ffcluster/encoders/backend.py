"""The contract between ffcluster and an encoder backend. Sans I/O: a backend runs nothing itself.

A backend answers `detect` with findings: capabilities it is sure of, diagnoses of what does not
work, and probes, which are ffmpeg commands that ffcluster runs and whose outcome it hands back
to `interpret`. That may in turn ask for further probes, for example without an extra which the
driver refused. `arguments` turns the neutral profile into ffmpeg's options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, Measurement, Trouble
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.schema import EncoderSchema

if TYPE_CHECKING:
    from ffcluster.encoders.benchmarking import BenchmarkCommand, BenchmarkOutcome, BenchmarkTask

# Raised when a backend written for the old contract would no longer work.
API_VERSION = 1


@attrs.frozen
class DeviceNode:
    """A device that the platform shows.

    Attributes:
        path: How it is addressed: `/dev/dri/renderD128`.
        vendor: PCI vendor, `0x8086` for Intel, `0x1002` for AMD, `0x10de` for NVIDIA; or "".
        driver: The kernel's driver (`i915`), or "".
        name: The device as a person knows it, or "".
        usable: Whether this process may open it.
    """

    path: str
    vendor: str = ""
    driver: str = ""
    name: str = ""
    usable: bool = True


@attrs.frozen
class Machine:
    """The machine that would encode.

    Attributes:
        cpus: Logical processors that this process may use.
        platform: `linux`, `darwin` or `win32`, as `sys.platform`.
        devices: Device nodes that the platform shows, sorted by path.
        drivers: (name, version) of drivers that are known without opening anything, sorted.
    """

    cpus: int
    platform: str
    devices: tuple[DeviceNode, ...] = ()
    drivers: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Probe:
    """An ffmpeg command whose outcome tells a backend something.

    Attributes:
        backend: Name of the backend that wants to know.
        argv: Arguments after the binary's path.
        encoder: Encoder that is tried, or "".
        codec: Codec that it would write, or None.
        device: Device that is tried, or "".
        pix_fmt: Pixel format that is tried, or "".
        without: Extras that were left out because an earlier probe was refused for them.
        context: (name, value) pairs that the backend wants back in `interpret`: it keeps no state.
        env: Variables to set beside the scrubbed environment.
        timeout_s: Seconds after which the command is ended and reported as timed out.
    """

    backend: str
    argv: tuple[str, ...]
    encoder: str = ""
    codec: Codec | None = None
    device: str = ""
    pix_fmt: str = ""
    without: tuple[str, ...] = ()
    context: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 10.0


@attrs.frozen
class ProbeOutcome:
    """What became of a probe's command.

    Attributes:
        returncode: Exit code; negative for the signal that ended it; None when it never started.
        stdout: What it printed.
        stderr: What it reported, in the C locale.
        timed_out: Whether it was ended because it took too long.
    """

    returncode: int | None
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False


Finding: TypeAlias = Capability | Probe | Diagnosis


@attrs.frozen
class EncodeArguments:
    """What a backend puts into the encoding command; the media layer puts in all the rest.

    The video goes through: decoder, `context_filters`, exact trim to the segment's frames,
    `filters`, encoder.

    Attributes:
        global_args: Before the input: devices (`-init_hw_device ...`).
        input_args: Directly before `-i`: how to decode (`-hwaccel ...`).
        context_filters: The profile's filters up to the last that looks at neighbours; they must
            see `Profile.context_frames` more frames on either side than the segment has.
        filters: Filters after the trim: the rest of the profile's and the encoder's `format=`.
        output_args: Encoder and its options, from `-c:v` on.
        compare_as: Pixel format in which a decoded result must be looked at to be compared, sample
            by sample, with what the encoder was given; "" when it does not matter.
        notes: What the profile or the source asks for and this encoder leaves out, in words.
    """

    global_args: tuple[str, ...] = ()
    input_args: tuple[str, ...] = ()
    context_filters: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    output_args: tuple[str, ...] = ()
    compare_as: str = ""
    notes: tuple[str, ...] = ()


@runtime_checkable
class Backend(Protocol):
    """A family of encoders. Methods are pure: same arguments, same answer; no I/O."""

    @property
    def name(self) -> str:
        """Short name, unique among backends (`software`, `nvenc`)."""

    @property
    def api_version(self) -> int:
        """The `API_VERSION` that it was written for."""

    @property
    def schemas(self) -> Sequence[EncoderSchema]:
        """The encoders that it may offer, each with the settings that it understands."""

    def detect(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Say what `build` may offer on `machine`: capabilities, diagnoses and probes to run."""

    def interpret(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Draw conclusions from a probe of this backend; may ask for further probes."""

    def arguments(
        self,
        build: FfmpegBuild,
        capability: Capability,
        profile: Profile,
        video: VideoFormat,
        *,
        threads: int,
        hardware_decode: bool = False,
    ) -> EncodeArguments:
        """Turn `profile` into options of `capability.encoder`.

        Args:
            build: The ffmpeg that will run.
            capability: One that this backend detected.
            profile: What the user wants, on this encoder's own scales (see `neutral.fit`).
            video: The source's video stream.
            threads: Threads that this attempt should use; 0 leaves it to the encoder.
            hardware_decode: Decode and, where the profile scales, scale on the device as well.
                Only asked for when `capability.hardware_decode`; a backend may ignore it, and
                then says so in `notes`.

        Raises:
            InvalidOption: A value is out of this encoder's range; `option` names it.
            UnsupportedOption: This encoder cannot do it at all; `option` names it.
        """

    def veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        """Why `capability` must not be used for this job, or None when it may."""

    def rank(self, capability: Capability, profile: Profile) -> int:
        """How well `capability` suits `profile` where nothing was measured yet; higher is better.

        0 to 99 is for software, 100 and above for hardware.
        """

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        """Why a command that used `capability` failed, or None when this backend cannot tell.

        Asked for encodes that failed in the middle of a job as well as for benchmarks. A
        diagnosis of `Trouble.BUSY` makes the failure back-pressure: the segment is given again,
        and fewer sessions are opened on the device.
        """

    def benchmark(
        self, build: FfmpegBuild, capability: Capability, task: BenchmarkTask
    ) -> Sequence[BenchmarkCommand]:
        """The commands that measure `task`, one for each of its sessions; all run at once.

        `benchmarking.StandardBenchmarks` has what nearly every backend needs.

        Raises:
            InvalidOption: See `arguments`.
            UnsupportedOption: See `arguments`.
        """

    def measured(
        self, capability: Capability, task: BenchmarkTask, outcomes: Sequence[BenchmarkOutcome]
    ) -> Measurement | Diagnosis:
        """What the outcomes of `benchmark`'s commands say, in the same order.

        A diagnosis of `Trouble.BUSY` means that the device cannot take as many sessions. See
        `benchmarking.StandardBenchmarks`.
        """

    def joins(self, one: Capability, other: Capability, profile: Profile) -> bool | None:
        """Whether what both write may stand in one file under one header; None: no opinion.

        Without an opinion equal parameter sets decide, as trial encodes wrote them. Asked of the
        backends of both; False of either wins.
        """


__all__ = [
    "API_VERSION",
    "Backend",
    "Capability",
    "Codec",
    "DeviceNode",
    "Diagnosis",
    "EncodeArguments",
    "EncoderSchema",
    "FfmpegBuild",
    "Finding",
    "Machine",
    "Measurement",
    "Probe",
    "ProbeOutcome",
    "Profile",
    "RateMode",
    "Trouble",
    "VideoFormat",
]
