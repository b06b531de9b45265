"""Which command lines a cluster can do, what it then does, and why not for all others."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffcluster.core.profile import AudioMode, Codec, Container, RateMode, SubtitleMode
from ffcluster.encoders.registry import Registry
from ffcluster.interfaces.dropin.arguments import Call, Local, Map, plain_path, read_arguments

SCHEMAS = Registry.load((), ("software",)).schemas


def read(line: str) -> Call | Local:
    return read_arguments(shlex.split(line), SCHEMAS)


def call(line: str) -> Call:
    found = read(line)
    assert isinstance(found, Call), found
    return found


def reason(line: str) -> str:
    found = read(line)
    assert isinstance(found, Local), found
    return found.reason


def test_usual_call_is_read_to_the_last_word() -> None:
    found = call(
        "-hide_banner -nostdin -y -v warning -i in.mkv -map 0:v:0 -map 0:a? -c:v libx265 -crf 21.5 "
        "-preset slow -tune grain -profile:v main10 -pix_fmt yuv420p10le -g 250 -bf 4 "
        "-vf 'scale=1280:-2,format=yuv420p10le' -x265-params aq-mode=3 -maxrate 5M -bufsize 10M "
        "-c:a aac -b:a 160k -sn -threads 0 -progress pipe:1 -nostats -stats_period 1.5 out.mkv"
    )
    profile = found.profile
    assert (profile.encoder, profile.codec, profile.rate.quality) == ("libx265", Codec.HEVC, 21.5)
    assert (profile.preset, profile.tune, profile.codec_profile) == ("slow", "grain", "main10")
    assert (profile.gop_frames, profile.b_frames) == (250, 4)
    assert (profile.rate.max_bps, profile.rate.buffer_bits) == (5_000_000, 10_000_000)
    assert [f.name for f in profile.filters] == ["scale", "format"]
    assert profile.encoder_options == (("aq-mode", "3"),)
    assert (profile.audio, profile.audio_bitrate_bps) == (AudioMode.AAC, 160_000)
    assert profile.subtitles is SubtitleMode.NONE
    assert (found.source, found.target, found.container) == ("in.mkv", "out.mkv", Container.MKV)
    assert found.maps == (Map("v", 0), Map("a", None))
    assert (found.overwrite, found.loglevel, found.shows_banner, found.stats) == (
        True, 24, False, False,
    )  # fmt: skip
    assert (found.progress, found.period_s, found.reads_keys) == ("pipe:1", 1.5, False)
    assert found.ignored == ("-threads",)


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("-i a b.mp4", {"container": Container.MP4, "encoder": "libx264", "audio": AudioMode.AAC}),
    ("-i a b.mov", {"container": Container.MOV, "encoder": "libx264"}),
    ("-i a -an b.webm", {"encoder": "libvpx-vp9", "audio": AudioMode.NONE}),
    ("-i a -f mp4 b.tmp", {"container": Container.MP4}),
    ("-i a -c:v h264 b.MP4", {"encoder": "libx264"}),
    ("-i a -vcodec hevc -acodec copy b.mkv", {"encoder": "libx265", "audio": AudioMode.COPY}),
    ("-i a -c copy -c:v libx264 b.mkv", {"encoder": "libx264", "audio": AudioMode.COPY}),
    ("-i a -codec:v libx264 -b:v 4M b.mp4", {"mode": RateMode.BITRATE}),
    ("-i a -qp 0 b.mkv", {"mode": RateMode.LOSSLESS}),
    ("-i a -c:a libopus -b:a 96k b.mkv", {"audio": AudioMode.OPUS}),
    ("-i a -an -c:a aac -b:a 96k b.mkv", {"audio": AudioMode.NONE}),
    ("-i file:/x/a.mkv file:/x/b.mkv", {"source": "file:/x/a.mkv"}),
    ("-noautorotate -i a b.mkv", {"autorotates": False}),
    ("-autorotate 0 -i a b.mkv", {"autorotates": False}),
    ("-i a -fps_mode passthrough -enc_time_base -1 b.mkv", {"keeps_times": True}),
    ("-i a -vsync 0 -enc_time_base demux b.mkv", {"keeps_times": True}),
    ("-i a -fps_mode passthrough b.mkv", {"keeps_times": False}),
    ("-i a -map_metadata 0 -map_chapters 0 -dn b.mkv", {"says_subtitles": False}),
    ("-i a b.mkv", {"says_audio": False, "says_subtitles": False, "overwrite": None}),
    ("-i a -c:v libx265 -tag:v hvc1 b.mp4", {"encoder": "libx265"}),
    ("-n -i a b.mkv", {"overwrite": False}),
    ("-i a -movflags +faststart b.mp4", {"faststart": True}),
    ("-loglevel quiet -i a b.mkv", {"loglevel": -8}),
    ("-v 16 -i a b.mkv", {"loglevel": 16}),
    ("-i a -map 0 -map_metadata 0 b.mkv", {"maps": (Map("", None),)}),
    ("-i a -map 0:0 -map 0:2 b.mkv", {"maps": (Map("", 0), Map("", 2))}),
    ("-i a -crf 20 -stats -progress /tmp/p b.mkv", {"stats": True, "progress": "/tmp/p"}),
]


@pytest.mark.parametrize(("line", "expected"), CALLS, ids=[line for line, _ in CALLS])
def test_call_for_the_cluster(line: str, expected: dict[str, Any]) -> None:
    found = call(line)
    profile = found.profile
    known = {"encoder": profile.encoder, "audio": profile.audio, "mode": profile.rate.mode}
    for name, value in expected.items():
        assert (known[name] if name in known else getattr(found, name)) == value


LOCAL = [
    ("", "does not name one input and one output"),
    ("-version", "-version has no value"),
    ("-encoders", "has no value"),
    ("-i a", "does not name one input"),
    ("out.mkv -i a", "stands before the input"),
    ("-i a b.mkv c.mkv", "stands behind the output"),
    ("-i a b.mkv -y", "stands behind the output"),
    ("-i a -i b c.mkv", "several inputs"),
    ("-i - b.mkv", "is no file"),
    ("-i pipe:0 b.mkv", "is no file"),
    ("-i http://host/a.mkv b.mkv", "is no file"),
    ("-i concat:a|b c.mkv", "is no file"),
    ("-i a -f matroska -", "is no file"),
    ("-i a -f matroska pipe:1", "is no file"),
    ("-i a rtmp://host/x.mp4", "is no file"),
    ("-ss 5 -i a b.mkv", "-ss before -i"),
    ("-f rawvideo -i a b.mkv", "-f before -i"),
    ("-f lavfi -i testsrc b.mkv", "-f before -i"),
    ("-r 25 -i a b.mkv", "-r before -i"),
    ("-hwaccel cuda -i a b.mkv", "-hwaccel before -i"),
    ("-i a -ss 5 b.mkv", "-ss is refused"),
    ("-i a -t 5 b.mkv", "-t is refused"),
    ("-i a -to 5 b.mkv", "-to is refused"),
    ("-i a -frames:v 5 b.mkv", "frames is refused"),
    ("-i a -r 25 b.mkv", "-r is refused"),
    ("-i a -c copy b.mkv", "it copies the video"),
    ("-i a -c:v copy b.mkv", "it copies the video"),
    ("-i a -c:v libx264 -c copy b.mkv", "behind what it would change"),
    ("-i a -c:v libx264 -c:v libx265 b.mkv", "is given twice"),
    ("-i a -c:v libfoo b.mkv", "the encoder 'libfoo'"),
    ("-i a -c:v av1 b.mkv", "the encoder 'av1'"),
    ("-i a -crf 20 -crf 21 b.mkv", "-crf:v is given twice|-crf is given twice"),
    ("-i a -vf scale=1:1 -filter:v fps=5 b.mkv", "given twice"),
    ("-i a -vf fps=30 b.mkv", "number or the times of frames"),
    ("-i a -vf nosuch=1 b.mkv", "nosuch"),
    ("-i a -s 1280x720 -vf hflip b.mkv", "-s beside -vf"),
    ("-i a -filter_complex [0:v]hflip b.mkv", "-filter_complex is refused"),
    ("-i a -af volume=2 b.mkv", "is refused"),
    ("-i a -ac 2 b.mp4", "-ac is refused"),
    ("-i a -c:a libmp3lame b.mp4", "libmp3lame"),
    ("-i a -c:a opus b.mkv", "the encoder 'opus'"),
    ("-i a -c:a:0 copy b.mkv", "is refused"),
    ("-i a -c:s mov_text b.mp4", "mov_text"),
    ("-i a -pass 1 b.mkv", "pass is refused"),
    ("-i a -metadata title=x b.mkv", "-metadata is refused"),
    ("-i a -map_metadata -1 b.mkv", "not understood|not possible"),
    ("-i a -movflags +faststart b.mkv", "for mp4 and mov only"),
    ("-i a -movflags frag_keyframe b.mp4", "is not possible"),
    ("-i a -map -0:s b.mkv", "not understood"),
    ("-i a -map 1 b.mkv", "-map 1 is not possible"),
    ("-i a -map 0:m:language:eng b.mkv", "is not possible"),
    ("-i a -map [v] b.mkv", "is not possible"),
    ("-i a -map 0:1:1 b.mkv", "is not possible"),
    ("-i a -vn b.mkv", "-vn is not possible"),
    ("-i a -shortest b.mkv", "-shortest b.mkv is not understood"),
    ("-i a -copyts b.mkv", "-copyts b.mkv is not understood"),
    ("-i a -enc_time_base 1/25 b.mkv", "not possible"),
    ("-i a -vsync drop b.mkv", "-vsync drop is not possible"),
    ("-i a -f mpegts b.mkv", "-f mpegts is not possible"),
    ("-i a b.avi", "container is none of"),
    ("-i a b.m4v", "container is none of"),
    ("-i a b", "container is none of"),
    ("-i a -c:v libx264 b.webm", "cannot hold"),
    ("-i a -tag:v hvc1 b.mp4", "for HEVC in mp4"),
    ("-i a -tag:v xvid b.mp4", "is not possible"),
    ("-i a -crf 99 b.mkv", "99"),
    ("-i a -b:v 5KiB b.mkv", "5KiB"),
    ("-i a -unheard of b.mkv", "-unheard is refused"),
    ("-progress http://host/ -i a b.mkv", "-progress http://host/ is not possible"),
    ("-progress tcp://host:1 -i a b.mkv", "is not possible"),
    ("-stats_period 0 -i a b.mkv", "is not possible"),
    ("-v repeat+level+info -i a b.mkv", "is not possible"),
    ("-y -n -i a b.mkv", "contradicts itself"),
    ("-stats -nostats -i a b.mkv", "contradicts itself"),
    ("-report -i a b.mkv", "report"),
    ("-/filter:v x -i a b.mkv", "before -i"),
    ("-i a -/vf x b.mkv", "is refused|not understood"),
    ("-i a -x264-params pass=1:stats=/etc/x b.mkv", "pass"),
    ("-i", "-i has no value"),
]


@pytest.mark.parametrize(("line", "words"), LOCAL, ids=[line for line, _ in LOCAL])
def test_call_for_the_local_ffmpeg(line: str, words: str) -> None:
    assert re.search(words, reason(line)), reason(line)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.mkv", "a.mkv"),
        ("/x/ä b.mkv", "/x/ä b.mkv"),
        ("file:a.mkv", "a.mkv"),
        ("./http:x", "./http:x"),
        ("file://host/a", None),
        ("-", None),
        ("", None),
        ("-x", None),
        ("pipe:1", None),
        ("http://x/y", None),
        ("tee:a|b", None),
        ("a.b-c+d:x", None),
    ],
)
def test_paths_and_protocols_are_told_apart(text: str, path: str | None) -> None:
    assert plain_path(text) == path


LINE = "-i -y -c:v libx264 -crf 20 a.mkv b.mp4 -map 0 0:a -an -vf scale=2:2 - -- : = -c copy -f mp4"
WORDS = st.sampled_from([*LINE.split(), "-progress", "pipe:1", "\n", "\0", "-x264-params", "ref=3"])


@settings(max_examples=300)
@given(st.lists(st.one_of(WORDS, st.text(max_size=8)), max_size=16))
def test_any_words_give_a_call_or_a_reason(words: list[str]) -> None:
    found = read_arguments(words, SCHEMAS)
    if isinstance(found, Local):
        assert found.reason
    else:
        assert found.profile.encoder in SCHEMAS
        assert words[-1] == found.target
