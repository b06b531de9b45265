from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffcluster.core.model import Capability
from ffcluster.core.profile import (
    AudioMode,
    Codec,
    Container,
    FilterScope,
    Profile,
    RateControl,
    RateMode,
    SubtitleMode,
    VideoFilter,
)
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.containers import check_container, container_for
from ffcluster.encoders.filter_table import FILTERS
from ffcluster.encoders.params import (
    OPTION_NAMES,
    ProfileOptions,
    build_profile,
    checked_profile,
    parse_ffmpeg_params,
    parse_profiles,
    read_profiles,
)
from ffcluster.encoders.software import SoftwareBackend
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.errors import ContainerUnsuitable, InvalidOption, UnsupportedOption
from tests.encoders.builds import video

KNOWN = {schema.encoder: schema for schema in SCHEMAS}
BUILD = FfmpegBuild("ffmpeg", "9.0", 9, 0)


def parse(text: str) -> Profile:
    return parse_ffmpeg_params(text, KNOWN)


def refusal(text: str) -> UnsupportedOption:
    with pytest.raises(UnsupportedOption) as caught:
        parse(text)
    return caught.value


def test_nothing_given_is_the_default_profile() -> None:
    assert parse("") == Profile()


def test_common_options_of_x264_are_understood() -> None:
    profile = parse(
        "-c:v libx264 -crf 20 -preset slow -pix_fmt yuv420p -g 250 -bf 3 -tune film "
        "-profile:v high -c:a aac -b:a 192k -sn"
    )
    assert profile == Profile(
        codec=Codec.H264,
        encoder="libx264",
        rate=RateControl(quality=20),
        preset="slow",
        pix_fmt="yuv420p",
        gop_frames=250,
        b_frames=3,
        tune="film",
        codec_profile="high",
        audio=AudioMode.AAC,
        audio_bitrate_bps=192_000,
        subtitles=SubtitleMode.NONE,
    )


def test_bit_rates_and_filters_are_understood() -> None:
    profile = parse(
        "-vcodec libx264 -b:v 5M -maxrate 8M -bufsize 10M "
        '-vf "crop=iw-16:ih,yadif,scale=1280:-2" -an'
    )
    assert profile.rate == RateControl(
        RateMode.BITRATE, target_bps=5_000_000, max_bps=8_000_000, buffer_bits=10_000_000
    )
    assert [f.name for f in profile.filters] == ["crop", "yadif", "scale"]
    assert profile.context_frames == 2
    assert profile.audio is AudioMode.NONE


@pytest.mark.parametrize(
    "text",
    ["-c:v libx264", "-codec:v libx264", "-vcodec libx264", "-c:v:0 libx264", "-c:V libx264"],
)
def test_stream_specifiers_and_old_spellings_mean_the_same(text: str) -> None:
    assert parse(text).encoder == "libx264"


def test_private_parameters_are_taken_apart() -> None:
    profile = parse(
        "-x265-params aq-mode=3:no-sao=1:crf=21.5:keyint=240:bframes=5:vbv-maxrate=9000"
    )
    assert profile.encoder == "libx265"
    assert profile.codec is Codec.HEVC
    assert profile.encoder_options == (("aq-mode", "3"), ("no-sao", "1"))
    assert profile.rate == RateControl(quality=21.5, max_bps=9_000_000)
    assert (profile.gop_frames, profile.b_frames) == (240, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-c:v libx264 -qp 0", RateControl(RateMode.LOSSLESS)),
        ("-c:v libx265 -x265-params lossless=1", RateControl(RateMode.LOSSLESS)),
        ("-c:v libvpx-vp9 -lossless 1", RateControl(RateMode.LOSSLESS)),
        ("-c:v ffv1", RateControl(RateMode.LOSSLESS)),
        ("-c:v libvpx-vp9 -crf 31 -b:v 0", RateControl(quality=31)),
        ("-c:v libvpx-vp9 -crf 31 -b:v 2M", RateControl(quality=31, max_bps=2_000_000)),
        ("-c:v libsvtav1 -crf 30 -preset 8", RateControl(quality=30)),
    ],
)
def test_rate_control_of_every_encoder(text: str, expected: RateControl) -> None:
    assert parse(text).rate == expected


def test_codec_names_leave_the_encoder_open() -> None:
    profile = parse("-c:v hevc -crf 22 -preset slow")
    assert (profile.codec, profile.encoder) == (Codec.HEVC, None)


def test_options_of_an_encoder_pin_it() -> None:
    assert parse("-crf 20 -aq-mode 2").encoder == "libx264"
    assert parse("-c:v libvpx-vp9 -row-mt 1 -tile-columns 2").encoder_options == (
        ("row-mt", "1"),
        ("tile-columns", "2"),
    )


def test_colour_options_become_tags_on_the_frames() -> None:
    profile = parse("-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc")
    assert [f.name for f in profile.filters] == ["setparams"]


def test_everything_that_is_refused_is_reported_at_once() -> None:
    error = refusal("-i a.mkv -map 0 -crf 99x -foo bar -vf movie=x out.mp4")
    refused = {entry["option"]: entry["reason"] for entry in error.detail["refused"]}
    assert set(refused) == {"out.mp4", "-i", "-map", "-crf", "-foo", "-vf movie"}
    assert "does not know it" in refused["-foo"]
    assert all(option.split()[-1] in error.message for option in refused)


@pytest.mark.parametrize(
    "name",
    ["i", "map", "ss", "t", "to", "y", "f", "threads", "vsync", "fps_mode", "r", "filter_complex",
     "copyts", "hwaccel", "init_hw_device", "movflags", "metadata", "pass", "loglevel", "vn", "dn",
     "ac", "force_key_frames", "bsf:v", "tag:v", "strict", "max_muxing_queue_size"],
)  # fmt: skip
def test_what_the_coordinator_decides_is_refused_with_the_reason(name: str) -> None:
    error = refusal(f"-{name} 1" if name not in ("y", "vn", "dn", "copyts") else f"-{name}")
    assert error.option == f"-{name}" or error.option == name
    assert "does not know it" not in error.message


@pytest.mark.parametrize(
    "text",
    [
        "-crf 20 -b:v 5M",
        "-crf 99",
        "-crf nan",
        "-crf",
        "-preset nosuch",
        "-g 0",
        "-bf 40",
        "-b:v 5MB",
        "-b:v 0",
        "-b:a 192k",
        "-pix_fmt nosuch",
        "-c:v libx264 -profile:v main10",
        "-c:v libsvtav1 -b:v 2M -maxrate 4M",
        "-c:v ffv1 -crf 20",
        "'-crf 20",
        "-crf 20\x00",
        "-x264-params crf",
        "-s 1280",
        "-x" * 5000,
    ],
)
def test_values_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse(text)


# Each of these passed through `-protocol_whitelist` when it was tried.
INJECTIONS = [
    "-attach /etc/passwd -metadata:s:t mimetype=text/plain",
    "-dump_attachment:t ../x",
    "-vf drawtext=textfile=/etc/passwd",
    "-vf movie=/etc/passwd",
    "-i /etc/passwd",
    "-c:v libx264 /tmp/second.mp4",
    "-x264-params stats=/tmp/stats:pass=1",
    "-x264-params dump-yuv=/tmp/out.yuv",
    "-vstats_file /tmp/vstats",
    "-progress /tmp/progress",
    "-vf metadata=print:file=/tmp/meta",
    "-vf psnr=stats_file=/tmp/psnr",
    "-/filter:v /etc/passwd",
    "-f segment -segment_list /tmp/list",
    "-i http://169.254.169.254/latest/meta-data",
    "-f mp4 http://example.org/upload",
    "-vf ladspa=file=/tmp/evil.so",
    "-vf scale=64:64,movie=/etc/passwd[x]",
    "-vf scale='64:64,movie=/etc/passwd'",
    "-vf scale=64\\:64\\,movie=x",
    "-x265-params csv=/tmp/x",
    "-x265-params aq-mode=3:analysis-save=/tmp/x",
    "-svtav1-params stats=/tmp/x",
    "-x264-params aq-mode=1\\:stats=/tmp/x",
    "-x264opts qpfile=/etc/passwd",
    "-passlogfile /tmp/x -pass 1",
    "-filter_complex_script /etc/passwd",
    "-filter_script:v /etc/passwd",
    "-lavfi movie=x",
    "-init_hw_device opencl",
    "-stats_enc_pre /tmp/x",
    "-sdp_file /tmp/x",
    "-report",
    "-c:v rawvideo",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_injections_are_refused(text: str) -> None:
    assert refusal(text).detail["refused"]


fragments = st.sampled_from(
    ["-c:v", "libx264", "libx265", "libvpx-vp9", "-crf", "20", "-b:v", "5M", "0", "-preset", "slow",
     "-vf", "scale=64:-2", "yadif", "movie=x", "-x264-params", "aq-mode=1", "stats=x", "-an", "-i",
     "-pix_fmt", "yuv420p", "-g", "-5", "'", '"', "\\", "-map", "-/vf", "a:b=c", "-c:a", "aac",
     "-b:a", "128k", "-qp", "-bf", "3", "-level", "4.1", "-refs", "-flags", "+cgop", "-maxrate"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=80), st.lists(fragments, max_size=9).map(" ".join)))
def test_any_text_is_a_profile_or_refused(text: str) -> None:
    try:
        profile = parse(text)
    except InvalidOption:
        return
    assert isinstance(profile, Profile)
    _check_argv(profile)


# Every option that an encoding command of the software encoders may hold.
ALLOWED = {
    "-c:v", "-crf", "-b:v", "-maxrate", "-bufsize", "-qp", "-lossless", "-preset", "-cpu-used",
    "-tune", "-profile:v", "-g", "-bf", "-flags", "-threads", "-x264-params", "-x265-params",
    "-svtav1-params", "-level", "-slices", "-slicecrc", "-row-mt", "-chroma_sample_location",
}  # fmt: skip


def _check_argv(profile: Profile) -> None:
    formats = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le")
    for schema in SCHEMAS:
        if schema.encoder not in (profile.encoder, None) and profile.encoder is not None:
            continue
        if schema.codec is not profile.codec:
            continue
        offered = Capability(schema.encoder, schema.codec, pix_fmts=formats)
        try:
            made = SoftwareBackend().arguments(BUILD, offered, profile, video(), threads=2)
        except InvalidOption:
            continue
        options, values = made.output_args[::2], made.output_args[1::2]
        assert len(options) == len(values)
        own = {f"-{name}" for name in schema.options if not schema.params_option}
        assert set(options) <= ALLOWED | own
        for text in (*made.filters, *made.context_filters):
            assert text.partition("=")[0] in FILTERS
        assert not made.global_args
        assert not made.input_args


def build(base: Profile | None = None, **options: object) -> Profile:
    return build_profile(ProfileOptions(**options), base, KNOWN)  # type: ignore[arg-type]


def test_options_become_a_profile() -> None:
    profile = build(
        codec="hevc",
        quality=22.0,
        preset="slow",
        bit_depth=10,
        scale="1280x-2",
        crop="1920x800",
        deinterlace=True,
        audio="opus",
        audio_bitrate="96k",
        subtitles="none",
    )
    assert profile.codec is Codec.HEVC
    assert profile.rate == RateControl(quality=22.0)
    assert profile.bit_depth == 10
    assert [f.name for f in profile.filters] == ["bwdif", "crop", "scale"]
    assert profile.filters[0].scope is FilterScope.WINDOW
    assert (profile.audio, profile.audio_bitrate_bps) == (AudioMode.OPUS, 96_000)


def test_codec_and_encoder_must_agree() -> None:
    with pytest.raises(InvalidOption, match="contradicts"):
        build(codec="h264", encoder="libx265")
    assert build(encoder="libx265").codec is Codec.HEVC
    assert build(codec="ffv1").rate.mode is RateMode.LOSSLESS


def test_encoder_that_only_a_worker_knows_needs_its_codec() -> None:
    assert build(encoder="hevc_rkmpp").codec is Codec.HEVC
    assert build(encoder="fast264", codec="h264").encoder == "fast264"
    with pytest.raises(InvalidOption, match="not known here"):
        build(encoder="fast264")


def test_options_lie_over_ffmpeg_params_and_those_over_a_named_profile() -> None:
    base = build(codec="h264", quality=18.0, preset="slow", gop=100, audio="aac", scale="720p")
    profile = build(base, ffmpeg_params="-crf 25 -g 50", preset="fast")
    assert profile.rate == RateControl(quality=25)
    assert (profile.preset, profile.gop_frames) == ("fast", 50)
    assert (profile.audio, profile.filters) == (AudioMode.AAC, base.filters)


def test_another_rate_mode_replaces_the_former() -> None:
    base = build(quality=18.0)
    assert build(base, bitrate="5M").rate == RateControl(RateMode.BITRATE, target_bps=5_000_000)
    assert build(base, lossless=True).rate == RateControl(RateMode.LOSSLESS)
    lossless = build(lossless=True)
    assert build(lossless, quality=20.0).rate == RateControl(quality=20.0)


def test_another_codec_drops_what_belonged_to_the_former_encoder() -> None:
    base = build(ffmpeg_params="-c:v libx264 -preset slow -crf 20 -tune film -aq-mode 2 -g 50")
    profile = build(base, codec="vp9")
    assert (profile.encoder, profile.preset, profile.tune) == (None, None, None)
    assert (profile.rate, profile.encoder_options) == (RateControl(), ())
    assert profile.gop_frames == 50


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("codec", "mpeg2"),
        ("quality", 99.0),
        ("bitrate", "fast"),
        ("scale", "big"),
        ("scale", "0x0"),
        ("scale", "-2x-2"),
        ("crop", "1920"),
        ("deinterlace", "magic"),
        ("audio", "mp3"),
        ("audio_bitrate", "128k"),
        ("subtitles", "burn"),
        ("pix_fmt", "rgb;x"),
        ("bit_depth", 9),
        ("gop", -1),
        ("b_frames", 99),
        ("encoder", "../x"),
        ("preset", "warp"),
    ],
)
def test_option_with_an_impossible_value_is_named(option: str, value: object) -> None:
    with pytest.raises(InvalidOption) as caught:
        build(**{option: value})
    assert caught.value.option == option


def test_lossless_and_quality_contradict_each_other() -> None:
    with pytest.raises(InvalidOption, match="contradict"):
        build(lossless=True, quality=20.0)
    with pytest.raises(InvalidOption):
        build(pix_fmt="yuv420p", bit_depth=10)
    with pytest.raises(UnsupportedOption) as caught:
        build(codec="av1", lossless=True)
    assert "ffv1" in caught.value.advice


def test_profiles_are_read_from_toml() -> None:
    profiles = read_profiles(
        """
        [profile.film]
        codec = "hevc"
        quality = 20
        bit-depth = 10
        audio = "aac"
        audio-bitrate = 192000
        [profile.web]
        ffmpeg-params = "-c:v libvpx-vp9 -crf 32 -b:v 0"
        """,
        "profiles.toml",
        KNOWN,
    )
    assert set(profiles) == {"film", "web"}
    assert profiles["film"].name == "film"
    assert profiles["film"].rate == RateControl(quality=20.0)
    assert profiles["film"].audio_bitrate_bps == 192_000
    assert profiles["web"].encoder == "libvpx-vp9"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[profile.a]\nqualty = 3", "p.toml: $.profile.a.qualty"),
        ("[profile.a]\nquality = 'high'", "p.toml: $.profile.a.quality"),
        ("[profile.a]\ngop = 2.5", "p.toml: $.profile.a.gop"),
        ("[profile.a]\nlossless = 1", "p.toml: $.profile.a.lossless"),
        ("[profile.a]\nquality = 99", "p.toml: $.profile.a: quality 99"),
        ("[profile]\na = 3", "p.toml: $.profile.a"),
        ("[profile.'a b']\ngop = 3", "p.toml: $.profile.a b"),
        ("[other]\na = 3", "p.toml: $.other"),
        ("profile = 3", "p.toml: $.profile"),
        ("[profile", "p.toml"),
    ],
)
def test_mistakes_in_toml_are_named_by_their_path(text: str, path: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        read_profiles(text, "p.toml", KNOWN)
    assert str(caught.value).startswith(path)


def test_options_in_toml_are_those_of_the_command_line() -> None:
    assert len(OPTION_NAMES) == len(attrs.fields(ProfileOptions))
    assert parse_profiles({"x": {}}, "here", KNOWN) == {"x": Profile(name="x")}


def test_profile_of_a_peer_is_checked_anew() -> None:
    claimed = VideoFilter("fps", (("fps", "5"),), keeps_timing=True)
    found = checked_profile(Profile(filters=(claimed,)), KNOWN)
    assert found.needs_single_segment
    assert not found.keeps_timing
    for bad in (
        Profile(encoder="libx264", encoder_options=(("stats", "/tmp/x"),)),
        Profile(encoder="-i", codec=Codec.H264),
        Profile(encoder="unknown", encoder_options=(("a", "b"),)),
        Profile(filters=(VideoFilter("movie"),)),
        Profile(preset="slow:stats=x"),
        Profile(rate=RateControl(RateMode.BITRATE)),
        Profile(filters=(VideoFilter("hflip"),) * 40),
    ):
        with pytest.raises(InvalidOption):
            checked_profile(bad, KNOWN)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.mp4", Container.MP4), ("a.b.MKV", Container.MKV), ("x.m4v", Container.MP4),
     ("a.webm", Container.WEBM), ("a.mov", Container.MOV)],
)  # fmt: skip
def test_suffix_decides_the_container(name: str, container: Container) -> None:
    assert container_for(name) is container


@pytest.mark.parametrize("name", ["film", "film.avi", "", ".mp4.", "mp4"])
def test_unknown_suffix_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        container_for(name)
    assert ".mkv" in caught.value.advice


def test_container_must_hold_what_the_profile_makes() -> None:
    check_container(Profile(codec=Codec.VP9, audio=AudioMode.OPUS), Container.WEBM)
    check_container(Profile(codec=Codec.FFV1), Container.MKV)
    for profile, container in (
        (Profile(), Container.WEBM),
        (Profile(codec=Codec.VP9, audio=AudioMode.AAC), Container.WEBM),
        (Profile(codec=Codec.AV1), Container.MOV),
        (Profile(codec=Codec.FFV1), Container.MP4),
        (Profile(audio=AudioMode.OPUS), Container.MOV),
    ):
        with pytest.raises(ContainerUnsuitable) as caught:
            check_container(profile, container)
        assert caught.value.advice
