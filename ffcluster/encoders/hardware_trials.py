"""The steps by which a hardware encoder is proven, and the state that travels with each probe.

A backend keeps no state: what is known so far stands in `Probe.context`.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Profile, RateControl, RateMode
from ffcluster.core.timeline import TimeBase
from ffcluster.encoders.backend import EncodeArguments, Probe
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.filters import make_filter
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.schema import EncoderSchema

# Larger than the least size of every encoder that is known.
TRIAL_SIZE = (640, 480)
# The first start of a driver may wake a GPU up.
TRIAL_TIMEOUT_S = 20.0
_BITRATE_BPS = 2_000_000
_DEVICE_FILTERS = ("scale_", "vpp_", "hwupload")
# Two H.264 pictures of 192x160 samples, gray: input for trials of decoding.
_SAMPLE = (
    "AAAAAWdCwAvcMFbARAAAAwAEAAADAMg8UK4AAAABaM4PyAAAAWWIhDomKAycnJycnJycnJycnXXXXXXXXXXXXXXXXXXX"
    "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXgAA"
    "AAFnQsAL3DBWwEQAAAMABAAAAwDIPFCuAAAAAWjOD8gAAAFliIICaJigAE5OTk5OTk5OTk5OTrrrrrrrrrrrrrrrrrrr"
    "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrw=="
)
SAMPLE_VIDEO = VideoFormat("h264", 192, 160, "yuv420p", TimeBase(1, 25), (25, 1))


@attrs.frozen
class Device:
    """A device of a family.

    Attributes:
        name: What `Capability.device` says: `cuda:0`, `/dev/dri/renderD128`.
        label: The device as a person knows it, or "".
        driver: Version of its driver, or "".
    """

    name: str
    label: str = ""
    driver: str = ""


@attrs.frozen
class Scout:
    """A command that is run once before any trial: it finds devices, or opens one.

    Attributes:
        argv: ffmpeg's arguments.
        device: What it opens; a name of "" when it looks for devices.
    """

    argv: tuple[str, ...]
    device: Device = Device("")

    @classmethod
    def opening(cls, device: Device, device_args: tuple[str, ...]) -> Scout:
        """Do no more than open `device`, and report in detail what its driver says of itself."""
        # The question that follows is answered only where the device could be opened.
        quiet = ("-hide_banner", "-nostdin", "-loglevel", "verbose")
        return cls((*quiet, *device_args, "-hwaccels"), device)


@attrs.frozen
class Step:
    """One trial of an encoder on a device.

    Attributes:
        name: Unique among the steps of an encoder.
        title: What it proves, in words, for a diagnosis.
        pix_fmt: Pixel format that reaches the encoder.
        rate: Rate mode that is tried.
        size: Size of the picture that is tried.
        b_frames: B-frames that are asked for, or None for the encoder's default.
        preset: The preset that is asked for, or None for the encoder's default.
        decode: Whether the device decodes and scales as well.
        finds_limits: Whether it is expected to be refused, with the sizes that are possible.
        rare: Whether hardly any device can do it, so that a refusal is not worth a word.
    """

    name: str
    title: str = ""
    pix_fmt: str = "nv12"
    rate: RateMode = RateMode.QUALITY
    size: tuple[int, int] = TRIAL_SIZE
    b_frames: int | None = None
    preset: str | None = None
    decode: bool = False
    finds_limits: bool = False
    rare: bool = False

    @property
    def depth(self) -> int:
        """Bits per sample that reach the encoder."""
        known = describe(self.pix_fmt)
        return known.depth if known else 8

    @property
    def video(self) -> VideoFormat:
        """The picture that goes in."""
        if self.decode:
            return SAMPLE_VIDEO
        return VideoFormat("rawvideo", *self.size, self.pix_fmt, TimeBase(1, 25), (25, 1))

    def profile(self, schema: EncoderSchema, without: Iterable[str]) -> Profile:
        """The settings that are tried; a bit rate where constant quality was refused."""
        mode = self.rate
        if mode is RateMode.QUALITY and (schema.quality is None or "quality" in without):
            mode = RateMode.BITRATE
        bits = _BITRATE_BPS if mode is RateMode.BITRATE else None
        width, height = self.size
        scale = make_filter("scale", (("w", str(width)), ("h", str(height))))
        return Profile(
            codec=schema.codec,
            encoder=schema.encoder,
            rate=RateControl(mode, target_bps=bits),
            b_frames=self.b_frames,
            preset=self.preset,
            filters=(scale,) if self.decode else (),
        )

    def argv(self, made: EncodeArguments) -> tuple[str, ...]:
        """The command that tries `made`."""
        width, height = self.size
        seconds = "0.04" if self.finds_limits else "0.4"
        source = ("-f", "lavfi", "-i", f"testsrc2=s={width}x{height}:r=25:d={seconds}")
        if self.decode:
            source = ("-f", "h264", "-i", f"data:video/h264;base64,{_SAMPLE}")
        chain = ",".join((*made.context_filters, *made.filters))
        return (
            "-hide_banner", "-nostdin", "-loglevel", "warning",
            *made.global_args, *made.input_args, *source,
            *(("-vf", chain) if chain else ()), *made.output_args, "-f", "null", "-",
        )  # fmt: skip


FIRST = Step("encode")
TEN_BIT = Step("ten-bit", "10 bit", pix_fmt="p010le")
BITRATE = Step("bitrate", "target bit rate", rate=RateMode.BITRATE)
LOSSLESS = Step("lossless", "lossless", rate=RateMode.LOSSLESS)
DECODE = Step("decode", "decoding on the device", decode=True)


@attrs.frozen
class Trial:
    """How far the proof of one encoder on one device has come.

    Attributes:
        build: The ffmpeg, as far as the family needs to know it.
        device: The device.
        step: Name of the step that runs.
        todo: Names of the steps that follow.
        retries: How often this step was told that the device is busy.
        dropped: (extra, cause) of what was refused so far.
        proven: How many of these were dropped before this step began.
    """

    build: FfmpegBuild
    device: Device
    step: str
    todo: tuple[str, ...] = ()
    retries: int = 0
    dropped: tuple[tuple[str, str], ...] = ()
    proven: int = 0

    @property
    def without(self) -> tuple[str, ...]:
        """The extras that were refused so far."""
        return tuple(extra for extra, _ in self.dropped)

    def context(self) -> tuple[tuple[str, str], ...]:
        """The same as pairs for `Probe.context`."""
        build = self.build
        device_filters = [f for f in build.filters if f.startswith(_DEVICE_FILTERS)]
        return (
            ("step", self.step),
            ("todo", " ".join(self.todo)),
            ("retries", str(self.retries)),
            ("proven", str(self.proven)),
            ("device", self.device.name),
            ("label", self.device.label),
            ("driver", self.device.driver),
            ("version", build.version),
            ("release", f"{build.major}.{build.minor}"),
            ("encoders", " ".join(sorted(build.encoders))),
            ("filters", " ".join(sorted(device_filters))),
            *((f"dropped {extra}", cause) for extra, cause in self.dropped),
        )

    @classmethod
    def of(cls, probe: Probe) -> Trial:
        """Read what `context` wrote."""
        given = dict(probe.context)
        major, _, minor = given["release"].partition(".")
        build = FfmpegBuild(
            path="",
            version=given["version"],
            major=int(major),
            minor=int(minor),
            encoders=frozenset(given["encoders"].split()),
            filters=frozenset(given["filters"].split()),
        )
        return cls(
            build=build,
            device=Device(given["device"], given["label"], given["driver"]),
            step=given["step"],
            todo=tuple(given["todo"].split()),
            retries=int(given["retries"]),
            proven=int(given["proven"]),
            dropped=tuple(
                (name.removeprefix("dropped "), cause)
                for name, cause in probe.context
                if name.startswith("dropped ")
            ),
        )


__all__ = [
    "BITRATE",
    "DECODE",
    "FIRST",
    "LOSSLESS",
    "TEN_BIT",
    "TRIAL_SIZE",
    "TRIAL_TIMEOUT_S",
    "Device",
    "Scout",
    "Step",
    "Trial",
]
