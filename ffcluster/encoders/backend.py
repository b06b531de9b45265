"""The contract between ffcluster and an encoder backend. Sans I/O: a backend runs nothing itself.

A backend answers `detect` with findings: capabilities it is sure of, diagnoses of what does not
work, and probes, which are ffmpeg commands that ffcluster runs and whose outcome it hands back
to `interpret`. That may in turn ask for further probes, for example without an extra which the
driver refused. `arguments` turns the neutral profile into ffmpeg's options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Codec, Profile, RateMode
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.schema import EncoderSchema

# Raised when a backend written for the old contract would no longer work.
API_VERSION = 1


@attrs.frozen
class Machine:
    """The machine that would encode.

    Attributes:
        cpus: Logical processors that this process may use.
        platform: `linux`, `darwin` or `win32`, as `sys.platform`.
        devices: Device nodes that the platform shows (`/dev/dri/renderD128`), sorted.
    """

    cpus: int
    platform: str
    devices: tuple[str, ...] = ()


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


@attrs.frozen
class Diagnosis:
    """Why something that could be here is not usable.

    Attributes:
        backend: Name of the backend.
        device: The device, or "" when it is not about one.
        cause: What is wrong, on one line.
        hint: What the owner of the machine can do; may be empty.
        encoder: The encoder it is about, or "" for the whole backend.
    """

    backend: str
    device: str
    cause: str
    hint: str = ""
    encoder: str = ""


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
    ) -> EncodeArguments:
        """Turn `profile` into options of `capability.encoder`.

        Args:
            build: The ffmpeg that will run.
            capability: One that this backend detected.
            profile: What the user wants.
            video: The source's video stream.
            threads: Threads that this attempt should use; 0 leaves it to the encoder.

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


__all__ = [
    "API_VERSION",
    "Backend",
    "Capability",
    "Codec",
    "Diagnosis",
    "EncodeArguments",
    "EncoderSchema",
    "FfmpegBuild",
    "Finding",
    "Machine",
    "Probe",
    "ProbeOutcome",
    "Profile",
    "RateMode",
    "VideoFormat",
]
