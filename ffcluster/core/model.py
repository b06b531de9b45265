"""What jobs, orders, results and capabilities are: frozen data. Knows no state machine."""

from __future__ import annotations

import enum
from fractions import Fraction
from typing import NamedTuple, NewType

import attrs

from ffcluster.core.media import MediaSummary, VideoFormat
from ffcluster.core.profile import Codec, Container, Profile, RateMode
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import ErrorReport

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)
# Drawn from one counter for the whole cluster: a later attempt always has the larger epoch.
Epoch = NewType("Epoch", int)


class PreRoll(enum.StrEnum):
    """How much of the source before a segment its worker decodes: the steps of the retry ladder.

    KEYFRAME: from the keyframe that the segment's first frame depends on (nearly always enough).
    TWO_KEYFRAMES: one keyframe earlier, for intra-refresh and broken keyframe flags.
    WHOLE: from the start of the file.
    """

    KEYFRAME = "keyframe"
    TWO_KEYFRAMES = "two_keyframes"
    WHOLE = "whole"

    @property
    def next(self) -> PreRoll | None:
        """The next step of the ladder, or None after the last."""
        steps = list(PreRoll)
        position = steps.index(self) + 1
        return steps[position] if position < len(steps) else None


class Fallback(enum.StrEnum):
    """Whether software may stand in for hardware that cannot do a job or is gone.

    STRICT: never; the job waits for the hardware, or fails when it cannot do it at all.
    ALLOW: yes; every segment made so is recorded as a fallback.
    """

    STRICT = "strict"
    ALLOW = "allow"


class Trouble(enum.StrEnum):
    """What kind of trouble a diagnosis is about.

    MISSING: The hardware, its driver, or the encoder in this ffmpeg is not there.
    UNSUPPORTED: It is there and cannot do this.
    DROPPED: It works without an extra that was refused.
    BUSY: Its sessions or its memory are used up for now: wait, or use fewer at once.
    BROKEN: It should work and does not.
    """

    MISSING = "missing"
    UNSUPPORTED = "unsupported"
    DROPPED = "dropped"
    BUSY = "busy"
    BROKEN = "broken"


@attrs.frozen
class Diagnosis:
    """Why something that could be here is not usable, or only in part.

    Attributes:
        backend: Name of the backend.
        device: The device, or "" when it is not about one.
        cause: What is wrong, on one line.
        hint: What the owner of the machine can do; may be empty.
        encoder: The encoder it is about, or "" for the whole backend.
        trouble: What kind of trouble it is.
        without: The extra that was left out, for `Trouble.DROPPED`.
        ffmpeg: Version of the ffmpeg that it was found with, or "".
    """

    backend: str
    device: str
    cause: str
    hint: str = ""
    encoder: str = ""
    trouble: Trouble = Trouble.MISSING
    without: str = ""
    ffmpeg: str = ""


class CapabilityKey(NamedTuple):
    """What tells a worker's capabilities apart: the encoder and the device it runs on."""

    encoder: str
    device: str


@attrs.frozen(cache_hash=True)
class Capability:
    """An encoder that a worker has on one device, with how it is best driven there.

    Attributes:
        encoder: ffmpeg's name (`libx264`).
        codec: The codec it writes.
        backend: Name of the plugin's backend that offers it.
        device: The device it runs on (`cuda:0`, `/dev/dri/renderD128`), "" for the CPU. Two
            capabilities with the same device share it: their attempts use up the same slots.
        pix_fmts: Pixel formats it takes.
        slots: Attempts that pay off side by side on its device.
        threads: Threads that each attempt should use; 0 leaves it to the encoder.
        rate_modes: Rate modes it can do.
        presets: Its presets, fastest first; () when it has none.
        bit_depths: Bits per sample it can write.
        min_size: Smallest (width, height) in pixels.
        max_size: Largest (width, height) in pixels; (0, 0) when no limit is known.
        rank: How well it suits where nothing was measured: higher is better, hardware from 100.
        without: Extras that its driver refused when it was proven.
        hardware_decode: Whether decoding on the same device was proven too.
        device_name: The device as a person knows it (`NVIDIA GeForce RTX 4070`), or "".
        driver: Version of the device's driver, or "".
        ffmpeg: Version of the ffmpeg that it was proven with.
    """

    encoder: str
    codec: Codec
    backend: str = "software"
    device: str = ""
    pix_fmts: tuple[str, ...] = ()
    slots: int = 1
    threads: int = 0
    rate_modes: tuple[RateMode, ...] = (RateMode.QUALITY, RateMode.BITRATE)
    presets: tuple[str, ...] = ()
    bit_depths: tuple[int, ...] = (8,)
    min_size: tuple[int, int] = (1, 1)
    max_size: tuple[int, int] = (0, 0)
    rank: int = 0
    without: tuple[str, ...] = ()
    hardware_decode: bool = False
    device_name: str = ""
    driver: str = ""
    ffmpeg: str = ""

    @property
    def unit(self) -> Fraction:
        """Share of its device that one attempt claims."""
        return Fraction(1, max(1, self.slots))

    @property
    def key(self) -> CapabilityKey:
        """What tells it apart from the worker's other capabilities."""
        return CapabilityKey(self.encoder, self.device)

    @property
    def hardware(self) -> bool:
        """Whether it runs on a device of its own rather than on the CPU."""
        return bool(self.device)


@attrs.frozen
class Measurement:
    """What a benchmark found out about one capability with one preset.

    Attributes:
        encoder: ffmpeg's name of the encoder.
        device: The device, "" for the CPU.
        preset: The preset that was asked for, or "" for the encoder's default.
        width: Width of the clip in pixels.
        height: Height of the clip in pixels.
        fps: Frames per second of all sessions together, at the best number of sessions.
        speed: `fps` over the clip's frame rate.
        sessions: Sessions side by side beyond which nothing more was gained.
        session_fps: (sessions, frames per second of all together) for each number tried.
        vmaf: Mean VMAF of the result against the clip, or None where it was not measured.
        bitrate_bps: Bits per second of the result.
        ffmpeg: Version of the ffmpeg that ran.
    """

    encoder: str
    device: str
    preset: str
    width: int
    height: int
    fps: float
    speed: float
    sessions: int
    session_fps: tuple[tuple[int, float], ...] = ()
    vmaf: float | None = None
    bitrate_bps: float = 0.0
    ffmpeg: str = ""


@attrs.frozen
class PluginSummary:
    """A plugin that a worker has installed: its name, where it came from, whether it works."""

    name: str
    distribution: str = ""
    version: str = ""
    backends: tuple[str, ...] = ()
    enabled: bool = True
    error: str = ""


@attrs.frozen
class BlobRef:
    """A stored file: its SHA-256 (hex), which is its name, and its size in bytes."""

    sha256: str
    size_bytes: int


@attrs.frozen
class Source:
    """Where the coordinator finds a job's film.

    Attributes:
        location: Path of the file, or the SHA-256 (hex) of the blob when it was uploaded.
        uploaded: Whether it is a blob of the coordinator's own, kept as long as the job needs it.
    """

    location: str
    uploaded: bool = False


@attrs.frozen
class JobSpec:
    """What a client asks for.

    Attributes:
        profile: Settings of the output.
        container: Container of the output.
        output_name: File name of the output, without directory.
        source_name: Name of the source as the user knows it, for reports only.
        exactly: Prove every frame by decoding; False trusts the container's index.
        allow_damaged: Encode what is there of a damaged source.
        cut_frames: Frame indexes at which the film must be cut, or () to let the coordinator
            choose; for tests and for reproducing a result.
        mix: Whether encoders that write different parameter sets may share the file.
        fallback: Whether software may stand in for hardware.
        hardware_decode: Whether devices that can may also decode and scale.
        allow_missing: Publish without the segments that cannot be encoded anywhere, rather than
            fail; the result names the frames that are missing.
        origin: Where the job came from if no client asked for it, in words, or "".
        output_folder: Folder of the output below the coordinator's output directory, with `/`
            between its parts, or "" for that directory itself. No client can set it.
    """

    profile: Profile
    container: Container
    output_name: str
    source_name: str
    exactly: bool = True
    allow_damaged: bool = False
    cut_frames: tuple[int, ...] = ()
    mix: bool = False
    fallback: Fallback = Fallback.STRICT
    hardware_decode: bool = False
    allow_missing: bool = False
    origin: str = ""
    output_folder: str = ""


@attrs.frozen
class JobRequest:
    """What a client sends to have a job made; what it leaves open the coordinator fills in.

    Exactly one of `server_path` and `upload_id` is given.

    Attributes:
        source_name: Name of the source as the user knows it, for reports only.
        server_path: Absolute path of a file that the coordinator can read itself.
        upload_id: Id of a finished upload.
        profile: Settings of the output, or None for the coordinator's default.
        output_name: File name of the output, or None for the coordinator's default.
        exactly: Prove every frame by decoding; None for the coordinator's default.
        allow_damaged: Encode what is there of a damaged source.
        cut_frames: See `JobSpec.cut_frames`.
        mix: See `JobSpec.mix`.
        fallback: See `JobSpec.fallback`.
        hardware_decode: See `JobSpec.hardware_decode`.
        allow_missing: See `JobSpec.allow_missing`.
        priority: Jobs with a higher one get workers first.
        idempotency_key: The client's own name for this request, or "": asking again with the same
            key does not make another job.
    """

    source_name: str
    server_path: str | None = None
    upload_id: str | None = None
    profile: Profile | None = None
    output_name: str | None = None
    exactly: bool | None = None
    allow_damaged: bool = False
    cut_frames: tuple[int, ...] = ()
    mix: bool = False
    fallback: Fallback = Fallback.STRICT
    hardware_decode: bool = False
    allow_missing: bool = False
    priority: int = 0
    idempotency_key: str = ""


@attrs.frozen
class EncodeOrder:
    """Everything a worker needs to know to encode one piece, except where the files are.

    Attributes:
        frames: The segment, in presented frames of the source.
        profile: Settings of the output.
        encoder: The encoder to use.
        video: The source's video stream.
        device: The device to use it on, "" for the CPU.
        hardware_decode: Decode on that device too if it can; fall back to the CPU otherwise.
        trim_start_s: Seconds in the piece before which decoded frames are dropped; None: none.
        trim_end_s: Seconds in the piece from which decoded frames are dropped; None: none.
        decoded_check: Decode the result and count its frames before it is sent.
        picture_check: Also compare every decoded picture with what the encoder was given
            (lossless profiles only).
        counts_frames: Whether the result must hold exactly `len(frames)` frames; False for a
            single-segment job whose filters change the number of frames.
        stall_timeout_s: End an encoder that makes no frame for this long.
    """

    frames: FrameRange
    profile: Profile
    encoder: str
    video: VideoFormat
    device: str = ""
    hardware_decode: bool = False
    trim_start_s: Fraction | None = None
    trim_end_s: Fraction | None = None
    decoded_check: bool = True
    picture_check: bool = False
    counts_frames: bool = True
    stall_timeout_s: float = 60.0


@attrs.frozen
class ResultReport:
    """What the coordinator found in a segment's result, by demuxing it.

    Attributes:
        frame_count: Video packets that hold a frame.
        size_bytes: Size of the file.
        codec: FFmpeg's name of the codec.
        width: Coded width in pixels.
        height: Coded height in pixels.
        pix_fmt: FFmpeg's name of the pixel format.
        parameter_sets: SHA-256 (hex) over the codec's parameter sets, SEI left out; results with
            equal values may be joined under one header.
        reorder_frames: Largest distance between decode and presentation order, in frames.
        border_psnr_db: Least PSNR of the pictures at its first and last frames against the
            source's, in dB; None where they were not compared.
    """

    frame_count: int
    size_bytes: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    parameter_sets: str
    reorder_frames: int
    border_psnr_db: float | None = None


@attrs.frozen
class SegmentProof:
    """How a committed segment was proven; sent by the worker and kept with the job.

    Attributes:
        encoded_frames: Frames that ffmpeg says it encoded.
        decoded_frames: Frames that came out of decoding the result, or None when not decoded.
        pictures_equal: Whether every picture was bit-identical, or None when not compared.
        argv: The encoding command, paths and secrets redacted.
        ffmpeg: Version of the ffmpeg that made it.
        encode_s: Wall time of the encode in seconds.
        encoder: The encoder that made it.
        device: The device that made it, "" for the CPU.
        hardware_decode: Whether the device decoded the source as well.
        notes: What was left out or done otherwise than asked, in words.
        log_tail: The last lines that the encoder said, warnings mostly; often none.
    """

    encoded_frames: int
    decoded_frames: int | None = None
    pictures_equal: bool | None = None
    argv: tuple[str, ...] = ()
    ffmpeg: str = ""
    encode_s: float = 0.0
    encoder: str = ""
    device: str = ""
    hardware_decode: bool = False
    notes: tuple[str, ...] = ()
    log_tail: tuple[str, ...] = ()


@attrs.frozen
class Contribution:
    """What one encoder made of a job's output.

    Attributes:
        encoder: ffmpeg's name.
        hardware: Whether it ran on a device rather than on the CPU.
        parameter_sets: Fingerprint of what it wrote; see `ResultReport.parameter_sets`.
        segments: Segments that came from it.
        frames: Frames in these segments.
        fallback: Whether it stood in for hardware.
    """

    encoder: str
    hardware: bool
    parameter_sets: str
    segments: int
    frames: int
    fallback: bool = False


@attrs.frozen
class JobOutcome:
    """The published file and its proof.

    Attributes:
        path: Where the coordinator put it.
        size_bytes: Its size.
        sha256: SHA-256 of the file, hex.
        frame_count: Frames found in it.
        proven: Whether every frame was proven by decoding (`exactly`).
        pictures_equal: Whether every picture is bit-identical to the source's (lossless only).
        in_band_parameter_sets: Whether segments carried different parameter sets, each its own.
        lost: What of the source the container could not hold, in words.
        notes: What else a person should know.
        made_by: What each encoder made of it; one entry for each kind of parameter sets.
        missing: Frames that are not in it because they could not be encoded and the client wanted
            the rest (`JobSpec.allow_missing`).
        borders: Ends of segments where pictures were compared with the source's, two for each
            segment, and the least PSNR in dB that was found; (0, None) when none was compared.
    """

    path: str
    size_bytes: int
    sha256: str
    frame_count: int
    proven: bool
    pictures_equal: bool | None = None
    in_band_parameter_sets: bool = False
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made_by: tuple[Contribution, ...] = ()
    missing: tuple[FrameRange, ...] = ()
    borders: tuple[int, float | None] = (0, None)


__all__ = [
    "BlobRef",
    "Capability",
    "CapabilityKey",
    "Contribution",
    "Diagnosis",
    "EncodeOrder",
    "Epoch",
    "ErrorReport",
    "Fallback",
    "JobId",
    "JobOutcome",
    "JobRequest",
    "JobSpec",
    "Measurement",
    "MediaSummary",
    "PluginSummary",
    "PreRoll",
    "ResultReport",
    "SegmentProof",
    "Source",
    "Trouble",
    "WorkerId",
]
