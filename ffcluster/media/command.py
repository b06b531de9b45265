"""Build ffmpeg's arguments from typed values only. Starts nothing; takes no string from a user.

Every file is given as `file:` and an absolute path, so that no name can be read as a protocol or
an option; every foreign input is opened with a list of the formats it may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import attrs

from ffcluster.core.model import EncodeOrder
from ffcluster.core.profile import AudioMode, Profile
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.media.carry import CarryPlan
from ffcluster.media.limits import (
    MAX_PIXELS,
    PIECE_FORMATS,
    PROTOCOLS,
    RESULT_FORMATS,
    SOURCE_FORMATS,
)

_QUIET = ("-hide_banner", "-loglevel", "warning", "-y")
_PREFIX = "file:"


@attrs.frozen
class Command:
    """One command line.

    Attributes:
        argv: The program's absolute path and its arguments.
        kind: What it is for, for logs: `encode`, `check`, `convert`, `probe`, `question`, `python`.
        reports_progress: Whether it is an ffmpeg whose progress is to be read.
        is_heavy: Whether it should step back behind the user's other programs.
    """

    argv: tuple[str, ...]
    kind: str
    reports_progress: bool = False
    is_heavy: bool = False

    def redacted(self) -> tuple[str, ...]:
        """The arguments with every path reduced to the file's name, for reports."""
        return tuple(_reduced(word) for word in self.argv)


def _reduced(word: str) -> str:
    if word.startswith(_PREFIX):
        return _PREFIX + Path(word.removeprefix(_PREFIX)).name
    return Path(word).name if Path(word).is_absolute() else word


def file_url(path: Path) -> str:
    """Name `path` so that ffmpeg can take it for nothing but a file."""
    return _PREFIX + str(path.absolute())


def input_arguments(path: Path, formats: Iterable[str]) -> tuple[str, ...]:
    """Open `path` only as a local file in one of `formats`, with a limit on picture size."""
    return (
        "-protocol_whitelist", ",".join(PROTOCOLS),
        "-format_whitelist", ",".join(formats),
        "-max_pixels", str(MAX_PIXELS),
        "-i", file_url(path),
    )  # fmt: skip


def seconds(value: Fraction) -> str:
    """Write a time for ffmpeg, to the microsecond."""
    microseconds = round(value * 1_000_000)
    sign = "-" if microseconds < 0 else ""
    whole, rest = divmod(abs(microseconds), 1_000_000)
    return f"{sign}{whole}.{rest:06d}"


def trim_filter(order: EncodeOrder) -> str | None:
    """The filter that lets through exactly the segment's frames, or None when all are wanted."""
    bounds = []
    if order.trim_start_s is not None:
        bounds.append(f"start={seconds(order.trim_start_s)}")
    if order.trim_end_s is not None:
        bounds.append(f"end={seconds(order.trim_end_s)}")
    return "trim=" + ":".join(bounds) if bounds else None


def _chain(order: EncodeOrder, arguments: EncodeArguments) -> list[str]:
    trim = trim_filter(order)
    return [*arguments.context_filters, *([trim] if trim else []), *arguments.filters]


def encode_command(
    build: FfmpegBuild,
    order: EncodeOrder,
    arguments: EncodeArguments,
    piece: Path,
    result: Path,
    pictures: Path | None = None,
) -> Command:
    """Encode the segment's frames out of `piece` into the Matroska file `result`.

    Args:
        build: The ffmpeg that will run.
        order: What to encode.
        arguments: The backend's part.
        piece: The packets cut from the source.
        result: File to write.
        pictures: Also write framemd5 of every picture that the encoder is given to this file.
    """
    chain = _chain(order, arguments)
    argv = [build.path, *_QUIET, *arguments.global_args, "-copyts", "-noautorotate"]
    argv += [*arguments.input_args, *input_arguments(piece, PIECE_FORMATS)]
    if pictures is None:
        argv += ["-map", "0:v:0", *(["-vf", ",".join(chain)] if chain else [])]
    else:
        argv += ["-filter_complex", _split_graph(chain), "-map", "[encoded]"]
    argv += ["-an", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"]
    argv += [*build.fps_mode_args, *build.enc_time_base_args, *arguments.output_args]
    # Without a random id in the file, equal encodes are equal files, and the hash alone proves it.
    argv += ["-fflags", "+bitexact", "-f", "matroska", file_url(result)]
    if pictures is not None:
        argv += ["-map", "[seen]", *build.fps_mode_args, "-f", "framemd5", file_url(pictures)]
    return Command(tuple(argv), "encode", reports_progress=True, is_heavy=True)


def _split_graph(chain: Sequence[str]) -> str:
    # Pictures are compared in main memory: what comes from the upload to a device on is not split.
    upload = next((i for i, f in enumerate(chain) if f.startswith("hwupload")), len(chain))
    before, after = list(chain[:upload]), list(chain[upload:]) or ["null"]
    head = ",".join([*before, "split=2"])
    return f"[0:v:0]{head}[whole][seen];[whole]{','.join(after)}[encoded]"


def picture_format(order: EncodeOrder, arguments: EncodeArguments) -> str:
    """The pixel format in which a decoded result is compared with what the encoder was given."""
    if arguments.compare_as:
        return arguments.compare_as
    for text in reversed(arguments.filters):
        name, _, options = text.partition("=")
        if name == "format" and options:
            return options.removeprefix("pix_fmts=").split("|")[0].split(":")[0]
    return order.profile.pix_fmt or order.video.pix_fmt


def decode_check_command(build: FfmpegBuild, result: Path) -> Command:
    """Decode all of `result` and fail on the first error; the progress says how many frames."""
    argv = (
        build.path, *_QUIET, "-xerror",
        # The loop filter changes pictures, never their number.
        "-skip_loop_filter", "all",
        *input_arguments(result, RESULT_FORMATS),
        "-map", "0:v:0", *build.fps_mode_args, "-f", "null", "-",
    )  # fmt: skip
    return Command(argv, "check", reports_progress=True, is_heavy=True)


def framemd5_command(
    build: FfmpegBuild,
    path: Path,
    target: Path,
    *,
    pix_fmt: str | None = None,
    formats: Iterable[str] = RESULT_FORMATS,
    stream: str = "0:v:0",
) -> Command:
    """Write framemd5 of every decoded picture of `path` to `target`."""
    argv = (
        build.path, *_QUIET, "-xerror", "-copyts", "-noautorotate",
        *input_arguments(path, formats), "-map", stream, "-an", "-sn", "-dn",
        *(("-vf", f"format={pix_fmt}") if pix_fmt else ()),
        *build.fps_mode_args, *build.enc_time_base_args,
        "-f", "framemd5", file_url(target),
    )  # fmt: skip
    return Command(argv, "check", reports_progress=True, is_heavy=True)


_AUDIO_ENCODERS = {AudioMode.AAC: "aac", AudioMode.OPUS: "libopus"}
_SUBTITLE_ENCODERS = {"mov_text": "mov_text", "subrip": "srt", "webvtt": "webvtt"}


def convert_command(
    build: FfmpegBuild, source: Path, plan: CarryPlan, profile: Profile, target: Path
) -> Command:
    """Encode, once and whole, the streams of `source` that cannot or shall not be copied.

    Times stay as in the source, start included, so that the result can be joined beside copies.
    """
    # Without -copyts ffmpeg would start at the first of the streams taken, not of all.
    offset = ("-itsoffset", seconds(Fraction(-plan.start_us, 1_000_000)))
    argv = [build.path, *_QUIET, "-copyts", *offset, *input_arguments(source, SOURCE_FORMATS)]
    output: list[str] = []
    for number, stream in enumerate(plan.converted):
        argv += ["-map", f"0:{stream.source_index}"]
        if stream.kind == "audio":
            encoder = _AUDIO_ENCODERS[profile.audio]
            output += [f"-c:{number}", encoder]
            if profile.audio_bitrate_bps:
                output += [f"-b:{number}", str(profile.audio_bitrate_bps)]
        else:
            output += [f"-c:{number}", _SUBTITLE_ENCODERS[stream.codec]]
    argv += [*output, "-map_metadata", "-1", "-map_chapters", "-1"]
    argv += ["-f", plan.conversion_format, file_url(target)]
    return Command(tuple(argv), "convert", reports_progress=True, is_heavy=True)
