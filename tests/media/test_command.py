"""ffmpeg's arguments: typed in, safe out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import attrs
import pytest

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import EncodeOrder
from ffcluster.core.profile import AudioMode, Profile
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.media.carry import CarriedStream, CarryPlan
from ffcluster.media.command import (
    Command,
    convert_command,
    decode_check_command,
    encode_command,
    framemd5_command,
    picture_format,
    seconds,
    trim_filter,
)

OLD = FfmpegBuild("/usr/bin/ffmpeg", "5.1.9", 5, 1)
NEW = FfmpegBuild("/opt/ffmpeg", "9.0.2", 9, 0)
ORDER = EncodeOrder(
    frames=FrameRange(10, 40),
    profile=Profile(),
    encoder="libx264",
    video=VideoFormat("h264", 320, 180, "yuv420p", TimeBase(1, 25)),
    trim_start_s=Fraction(1, 3),
    trim_end_s=Fraction(5, 2),
)
ARGUMENTS = EncodeArguments(
    global_args=("-init_hw_device", "cuda=cu:0"),
    input_args=("-threads", "2"),
    context_filters=("bwdif=mode=send_frame",),
    filters=("scale=w=160:h=90", "format=yuv420p"),
    output_args=("-c:v", "libx264"),
)
PIECE, RESULT = Path("/films/a b/piece"), Path("/films/-result.mkv")


def _after(argv: tuple[str, ...], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_trim_stands_between_the_context_filters_and_the_others() -> None:
    argv = encode_command(NEW, ORDER, ARGUMENTS, PIECE, RESULT).argv
    assert _after(argv, "-vf") == (
        "bwdif=mode=send_frame,trim=start=0.333333:end=2.500000,scale=w=160:h=90,format=yuv420p"
    )


def test_files_can_be_taken_for_nothing_else() -> None:
    argv = encode_command(NEW, ORDER, ARGUMENTS, PIECE, RESULT).argv
    assert _after(argv, "-i") == "file:/films/a b/piece"
    assert argv[-1] == "file:/films/-result.mkv"
    before_input = argv[: argv.index("-i")]
    assert _after(before_input, "-protocol_whitelist") == "file,pipe"
    assert _after(before_input, "-format_whitelist") == "matroska,nut"
    assert "-max_pixels" in before_input


@pytest.mark.parametrize(("build", "value"), [(OLD, "-1"), (NEW, "demux")])
def test_both_ffmpegs_keep_the_time_base_in_their_own_words(build: FfmpegBuild, value: str) -> None:
    argv = encode_command(build, ORDER, ARGUMENTS, PIECE, RESULT).argv
    assert _after(argv, "-enc_time_base") == value
    assert _after(argv, "-fps_mode") == "passthrough"


def test_no_trim_when_the_piece_is_all_that_is_wanted() -> None:
    order = attrs.evolve(ORDER, trim_start_s=None, trim_end_s=None)
    assert trim_filter(order) is None
    argv = encode_command(NEW, order, EncodeArguments(), PIECE, RESULT).argv
    assert "-vf" not in argv


def test_pictures_are_hashed_before_they_go_to_a_device() -> None:
    arguments = EncodeArguments(filters=("format=nv12", "hwupload"), output_args=("-c:v", "x"))
    argv = encode_command(NEW, ORDER, arguments, PIECE, RESULT, Path("/w/seen")).argv
    graph = _after(argv, "-filter_complex")
    assert "format=nv12,split=2[whole][seen];[whole]hwupload[encoded]" in graph
    assert argv[-2:] == ("framemd5", "file:/w/seen")


def test_comparison_uses_the_format_that_the_encoder_was_given() -> None:
    assert picture_format(ORDER, ARGUMENTS) == "yuv420p"
    assert picture_format(ORDER, EncodeArguments(filters=("format=pix_fmts=nv12|p010",))) == "nv12"
    assert picture_format(ORDER, EncodeArguments(compare_as="yuvj420p")) == "yuvj420p"
    other = attrs.evolve(ORDER, profile=Profile(pix_fmt="yuv422p10le"))
    assert picture_format(other, EncodeArguments()) == "yuv422p10le"


def test_checks_open_matroska_only_and_stop_at_errors() -> None:
    for command in (
        decode_check_command(NEW, RESULT),
        framemd5_command(NEW, RESULT, Path("/w/x.md5"), pix_fmt="yuv420p"),
    ):
        assert _after(command.argv, "-format_whitelist") == "matroska"
        assert "-xerror" in command.argv
        assert command.reports_progress


def test_conversion_starts_where_the_whole_source_does() -> None:
    plan = CarryPlan(
        streams=(
            CarriedStream(1, "audio", "aac", converted=True),
            CarriedStream(2, "audio", "ac3"),
            CarriedStream(3, "subtitle", "subrip", converted=True),
        ),
        start_us=1_400_000,
    )
    profile = Profile(audio=AudioMode.AAC, audio_bitrate_bps=96_000)
    argv = convert_command(NEW, Path("/w/in.ts"), plan, profile, Path("/w/out")).argv
    assert _after(argv, "-itsoffset") == "-1.400000"
    assert [argv[i + 1] for i, word in enumerate(argv) if word == "-map"] == ["0:1", "0:3"]
    assert _after(argv, "-c:0") == "aac"
    assert _after(argv, "-b:0") == "96000"
    assert _after(argv, "-c:1") == "srt"


def test_reports_show_names_without_directories() -> None:
    command = Command(("/opt/x/ffmpeg", "-i", "file:/home/me/film.mkv", "-crf", "23"), "encode")
    assert command.redacted() == ("ffmpeg", "-i", "file:film.mkv", "-crf", "23")


def test_times_are_written_to_the_microsecond() -> None:
    assert seconds(Fraction(1, 3)) == "0.333333"
    assert seconds(Fraction(-7, 5)) == "-1.400000"
    assert seconds(Fraction(100_000_000_001, 1000)) == "100000000.001000"
