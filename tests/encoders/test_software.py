from __future__ import annotations

import pytest

from ffcluster.core.model import Capability, Trouble
from ffcluster.core.profile import Codec, Profile, RateControl, RateMode
from ffcluster.encoders.backend import Diagnosis, EncodeArguments, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.filters import make_filter, parse_filters
from ffcluster.encoders.picture import picture_for
from ffcluster.encoders.software import SoftwareBackend
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.errors import InvalidOption, UnsupportedOption
from tests.encoders.builds import video

BACKEND = SoftwareBackend()
BUILD = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset(s.encoder for s in SCHEMAS))
OLD_BUILD = FfmpegBuild("ffmpeg", "5.1.9", 5, 1, frozenset(s.encoder for s in SCHEMAS))
CODECS = {schema.encoder: schema.codec for schema in SCHEMAS}
FORMATS = {
    "libx264": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"),
    "libx265": ("yuv420p", "yuv444p", "gbrp", "yuv420p10le", "yuv420p12le", "gray"),
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "libaom-av1": ("yuv420p", "yuv444p", "yuv420p10le"),
    "libvpx-vp9": ("yuv420p", "yuv444p", "yuv420p10le"),
    "ffv1": ("yuv420p", "bgr0", "yuv444p16le", "gray"),
}
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"


def made(
    encoder: str,
    threads: int = 1,
    build: FfmpegBuild = BUILD,
    source: dict[str, object] | None = None,
    **changes: object,
) -> EncodeArguments:
    if encoder == "ffv1":
        changes.setdefault("rate", RateControl(RateMode.LOSSLESS))
    profile = Profile(codec=CODECS[encoder], encoder=encoder, **changes)  # type: ignore[arg-type]
    offered = Capability(encoder, CODECS[encoder], pix_fmts=FORMATS[encoder])
    return BACKEND.arguments(build, offered, profile, video(**source or {}), threads=threads)


def option(arguments: EncodeArguments, name: str) -> str | None:
    words = arguments.output_args
    return words[words.index(name) + 1] if name in words else None


def test_format_and_tags_are_filters_after_the_users_own() -> None:
    found = made("libx264", filters=parse_filters("crop=iw-16:ih,scale=64:-2"))
    assert found.context_filters == ()
    assert found.filters == (
        "crop=w=iw-16:h=ih",
        "scale=w=64:h=-2",
        "format=yuv420p",
        "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709",
    )
    assert "-pix_fmt" not in found.output_args


def test_filters_up_to_the_last_window_run_before_the_exact_trim() -> None:
    found = made("libx264", filters=parse_filters("crop=iw-16:ih,yadif,scale=64:-2"))
    assert found.context_filters == ("crop=w=iw-16:h=ih", "yadif")
    assert found.filters[0] == "scale=w=64:h=-2"


def test_source_of_full_range_keeps_its_samples() -> None:
    source = {"pix_fmt": "yuvj420p", "color": (("color_range", "pc"),)}
    assert made("libx264", source=source).filters == (
        "scale=in_range=full:out_range=full",
        "format=yuv420p",
        "setparams=range=pc",
    )
    assert made("libx264", source=source).compare_as == "yuvj420p"
    assert made("libx264").compare_as == "yuv420p"
    found = made("ffv1", source=source)
    assert found.compare_as == "yuv420p"
    assert found.filters[-1] == "setparams=range=tv"
    assert "full" in found.notes[0]


@pytest.mark.parametrize(
    ("encoder", "pix_fmt", "expected", "noted"),
    [
        ("libx264", "yuv420p12le", "yuv420p10le", True),
        ("libsvtav1", "yuv444p", "yuv420p", True),
        ("libx264", "rgb24", "yuv444p", True),
        ("libx264", "nv12", "yuv420p", False),
        ("libx265", "rgb24", "gbrp", False),
        ("libx264", "xyz12le", "yuv444p10le", False),
    ],
)
def test_format_that_the_encoder_lacks_becomes_the_nearest(
    encoder: str, pix_fmt: str, expected: str, noted: bool
) -> None:
    found = made(encoder, source={"pix_fmt": pix_fmt})
    assert f"format={expected}" in found.filters
    assert bool(found.notes) is noted or pix_fmt == "xyz12le"


def test_bit_depth_changes_the_format_and_nothing_else() -> None:
    assert "format=yuv444p10le" in made("libx264", bit_depth=10, pix_fmt=None,
                                        source={"pix_fmt": "yuv444p"}).filters  # fmt: skip
    with pytest.raises(UnsupportedOption) as caught:
        made("libx264", bit_depth=12)
    assert caught.value.option == "bit_depth"


def test_format_filter_of_the_user_decides_the_format() -> None:
    found = made("libx264", filters=parse_filters("format=yuv420p10le|yuv420p"))
    assert "format=yuv420p10le" in found.filters


@pytest.mark.parametrize(
    ("encoder", "changes", "option_name"),
    [
        ("libx264", {"pix_fmt": "yuv420p12le"}, "pix_fmt"),
        ("libsvtav1", {"rate": RateControl(RateMode.LOSSLESS)}, "lossless"),
        ("libaom-av1", {"rate": RateControl(RateMode.LOSSLESS)}, "lossless"),
        ("libx264", {"preset": "13"}, "preset"),
        ("libsvtav1", {"preset": "slow"}, "preset"),
        ("libx264", {"rate": RateControl(quality=52)}, "quality"),
        ("libsvtav1", {"rate": RateControl(quality=30.5)}, "quality"),
        ("libvpx-vp9", {"b_frames": 2}, "b_frames"),
        ("libx265", {"tune": "film"}, "tune"),
        ("libx264", {"codec_profile": "high", "pix_fmt": "yuv420p10le"}, "codec_profile"),
        ("libx264", {"codec_profile": "high", "rate": RateControl(RateMode.LOSSLESS)},
         "codec_profile"),
        ("libvpx-vp9", {"codec_profile": "0", "pix_fmt": "yuv444p"}, "codec_profile"),
        ("libaom-av1", {"codec_profile": "main", "pix_fmt": "yuv444p"}, "codec_profile"),
        ("libx264", {"encoder_options": (("threads", "4"),)}, "threads"),
        ("libx264", {"rate": RateControl(quality=20, buffer_bits=1_000_000)}, "bufsize"),
        ("libsvtav1",
         {"rate": RateControl(RateMode.BITRATE, target_bps=500_000, max_bps=600_000)}, "maxrate"),
        ("libx264",
         {"rate": RateControl(RateMode.BITRATE, target_bps=900_000, max_bps=600_000)}, "maxrate"),
        ("libx264", {"gop_frames": 0}, "gop"),
    ],
)  # fmt: skip
def test_what_an_encoder_cannot_do_is_named(
    encoder: str, changes: dict[str, object], option_name: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        made(encoder, **changes)
    assert caught.value.option == option_name


def test_lossless_is_refused_where_the_source_cannot_be_kept() -> None:
    rate = RateControl(RateMode.LOSSLESS)
    for encoder, pix_fmt in (("libx264", "yuv420p12le"), ("libvpx-vp9", "yuv420p10le")):
        with pytest.raises(UnsupportedOption) as caught:
            made(encoder, rate=rate, source={"pix_fmt": pix_fmt})
        assert caught.value.option == "lossless"
    assert "format=bgr0" in made("ffv1", source={"pix_fmt": "rgb24"}).filters


def test_odd_size_is_refused_before_any_worker_is_used() -> None:
    with pytest.raises(InvalidOption) as caught:
        made("libx264", source={"width": 129})
    assert "--crop" in caught.value.advice
    assert made("libx264", source={"width": 129, "pix_fmt": "yuv444p"})
    assert made("libx264", source={"width": 129}, filters=parse_filters("crop=128:96"))
    offered = Capability("libx264", Codec.H264, pix_fmts=("yuv420p",))
    reason = BACKEND.veto(offered, Profile(), video(width=129))
    assert "129x96" in (reason or "")
    assert BACKEND.veto(offered, Profile(), video()) is None


def test_parameter_sets_do_not_depend_on_the_piece() -> None:
    assert "fps=25/1" in (option(made("libx264"), "-x264-params") or "")
    assert "stitchable=1" in (option(made("libx264"), "-x264-params") or "")
    x265 = option(made("libx265"), "-x265-params") or ""
    assert "fps=25/1" in x265
    assert "pools=1:frame-threads=1" in x265
    assert "open-gop=0" in x265
    assert "fps-num=25:fps-denom=1" in (option(made("libsvtav1"), "-svtav1-params") or "")
    assert option(made("ffv1"), "-slices") == "4"
    assert option(made("libaom-av1"), "-threads") == "2"
    for encoder in FORMATS:
        assert "-level" not in made(encoder).output_args or encoder == "ffv1"


def test_frame_rate_is_left_to_ffmpeg_where_a_filter_changes_it() -> None:
    changed = made("libx264", filters=(make_filter("fps", (("fps", "10"),)),))
    assert "fps=" not in (option(changed, "-x264-params") or "")
    unknown = made("libx264", source={"frame_rate": (0, 1)})
    assert "fps=" not in (option(unknown, "-x264-params") or "")


def test_quality_is_the_encoders_own_default_unless_given() -> None:
    assert option(made("libx264"), "-crf") == "23"
    assert option(made("libx265"), "-crf") == "28"
    assert option(made("libsvtav1"), "-crf") == "35"
    assert option(made("libx264", rate=RateControl(quality=19.5)), "-crf") == "19.5"
    vp9 = made("libvpx-vp9", rate=RateControl(quality=31, max_bps=2_000_000))
    assert (option(vp9, "-crf"), option(vp9, "-b:v")) == ("31", "2000000")


def test_peak_gets_the_buffer_without_which_it_is_ignored() -> None:
    found = made("libx264", rate=RateControl(quality=20, max_bps=8_000_000))
    assert option(found, "-bufsize") == "16000000"


def test_lossless_in_every_encoders_own_way() -> None:
    rate = RateControl(RateMode.LOSSLESS)
    assert option(made("libx264", rate=rate), "-qp") == "0"
    assert "lossless=1" in (option(made("libx265", rate=rate), "-x265-params") or "")
    assert option(made("libvpx-vp9", rate=rate), "-lossless") == "1"
    assert "-crf" not in made("libx265", rate=rate).output_args


def test_hdr10_metadata_is_carried_or_said_to_be_left_out() -> None:
    source: dict[str, object] = {
        "pix_fmt": "yuv420p10le",
        "mastering_display": MASTERING,
        "content_light": "1000,400",
    }
    x265 = option(made("libx265", source=source), "-x265-params") or ""
    assert f"master-display={MASTERING}:max-cll=1000,400" in x265
    svt = option(made("libsvtav1", source=source), "-svtav1-params") or ""
    assert "mastering-display=G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)" in svt
    assert "WP(0.3127,0.329)L(1000,0.0001):content-light=1000,400" in svt
    assert "HDR10" in made("libvpx-vp9", source=source).notes[0]
    toned = made("libx265", source=source, filters=parse_filters("tonemap=hable"))
    assert "master-display" not in (option(toned, "-x265-params") or "")
    hostile = {**source, "mastering_display": "x:csv=/tmp/x", "content_light": "1:stats=x"}
    assert "csv" not in (option(made("libx265", source=hostile), "-x265-params") or "")
    assert "stats" not in (option(made("libx265", source=hostile), "-x265-params") or "")


def test_colour_tags_that_are_not_known_are_left_out() -> None:
    color = (("color_range", "tv"), ("colorspace", "x,movie=y"), ("color_trc", "unknown"))
    assert made("libx264", source={"color": color}).filters[-1] == "setparams=range=tv"


def test_matrix_of_rgb_is_not_claimed_for_yuv() -> None:
    color = (("color_range", "pc"), ("colorspace", "gbr"), ("color_primaries", "bt709"))
    found = made("libx264", source={"pix_fmt": "gbrp", "color": color})
    assert found.filters[-1] == "setparams=color_primaries=bt709"


def test_old_library_is_not_given_options_that_it_would_ignore() -> None:
    newer = (("enable-variance-boost", "1"),)
    assert made("libsvtav1", encoder_options=newer)
    with pytest.raises(UnsupportedOption, match="newer ffmpeg"):
        made("libsvtav1", build=OLD_BUILD, encoder_options=newer)


def outcome(formats: str) -> ProbeOutcome:
    return ProbeOutcome(0, f"Encoder x:\n    Supported pixel formats: {formats}\n")


def capability(encoder: str, cpus: int, build: FfmpegBuild = BUILD) -> Capability:
    findings = BACKEND.detect(build, Machine(cpus, "linux"))
    probe = next(f for f in findings if isinstance(f, Probe) and f.encoder == encoder)
    (found,) = BACKEND.interpret(probe, outcome("yuv420p yuvj420p nv12 gray yuv420p10le"))
    assert isinstance(found, Capability)
    return found


@pytest.mark.parametrize(
    ("encoder", "cpus", "slots", "threads"),
    [
        ("libx264", 1, 1, 1),
        ("libx264", 2, 2, 1),
        ("libx264", 16, 8, 2),
        ("libx265", 64, 16, 4),
        ("libvpx-vp9", 2, 2, 1),
        ("libsvtav1", 2, 1, 0),
        ("libsvtav1", 32, 1, 0),
    ],
)
def test_slots_and_threads_fill_the_machine(
    encoder: str, cpus: int, slots: int, threads: int
) -> None:
    found = capability(encoder, cpus)
    assert (found.slots, found.threads) == (slots, threads)


def test_capability_says_what_the_library_takes() -> None:
    assert capability("libx265", 2).pix_fmts == ("yuv420p", "gray", "yuv420p10le")
    # H.264's monochrome does not decode to what went in.
    assert capability("libx264", 2).pix_fmts == ("yuv420p", "yuv420p10le")
    assert capability("libx264", 2).bit_depths == (8, 10)
    assert capability("libx265", 2).min_size == (16, 16)
    assert capability("libsvtav1", 2, OLD_BUILD).min_size == (64, 64)
    assert capability("libsvtav1", 2).min_size == (1, 1)


def test_encoder_that_is_not_there_is_diagnosed() -> None:
    bare = FfmpegBuild("ffmpeg", "9.0", 9, 0, frozenset({"libx264"}))
    findings = BACKEND.detect(bare, Machine(2, "linux"))
    assert [f.encoder for f in findings if isinstance(f, Probe)] == ["libx264"]
    assert all(f.hint for f in findings if isinstance(f, Diagnosis))


@pytest.mark.parametrize(
    "answer",
    [
        ProbeOutcome(0, "Codec 'x' is not recognized"),
        ProbeOutcome(-11),
        ProbeOutcome(None, timed_out=True),
    ],
)
def test_library_that_does_not_answer_is_no_capability(answer: ProbeOutcome) -> None:
    probe = BACKEND.detect(BUILD, Machine(2, "linux"))[0]
    assert isinstance(probe, Probe)
    (found,) = BACKEND.interpret(probe, answer)
    assert isinstance(found, Diagnosis)


@pytest.mark.parametrize(
    ("answer", "trouble", "word"),
    [
        (ProbeOutcome(1, stderr="x264 [error]: malloc of size 99 failed"), Trouble.BUSY, "memory"),
        (ProbeOutcome(-9), Trouble.BUSY, "SIGKILL"),
        (ProbeOutcome(-4), Trouble.BROKEN, "SIGILL"),
        (ProbeOutcome(139), Trouble.BROKEN, "crashed"),
        (
            ProbeOutcome(234, stderr="x264 [error]: high profile doesn't support lossless\n"),
            Trouble.UNSUPPORTED,
            "x264 refuses: high profile doesn't support lossless",
        ),
        (
            ProbeOutcome(1, stderr="Svt[error]: Instance 1 : Source Width must be at least 64\n"),
            Trouble.UNSUPPORTED,
            "Source Width must be at least 64",
        ),
        (
            ProbeOutcome(
                1,
                stderr="[libvpx-vp9 @ 0x1] Failed to initialize encoder: Invalid parameter\n"
                "[libvpx-vp9 @ 0x1]   Additional information: rc_overshoot_pct out of range\n",
            ),
            Trouble.UNSUPPORTED,
            "rc_overshoot_pct out of range",
        ),
        (ProbeOutcome(8, stderr="Unknown encoder 'libx264'\n"), Trouble.MISSING, "without libx264"),
        (ProbeOutcome(1, stderr="something new\n"), Trouble.BROKEN, "something new"),
    ],
)
def test_failure_of_a_library_is_explained(
    answer: ProbeOutcome, trouble: Trouble, word: str
) -> None:
    offered = Capability("libx264", Codec.H264, ffmpeg="9.0")
    found = BACKEND.explain(offered, answer)
    assert found is not None
    assert (found.trouble, found.device, found.ffmpeg) == (trouble, "", "9.0")
    assert word in found.cause
    assert found.hint


def test_software_decodes_on_the_cpu_and_says_so() -> None:
    offered = Capability("libx264", Codec.H264, pix_fmts=("yuv420p",))
    found = BACKEND.arguments(BUILD, offered, Profile(), video(), threads=1, hardware_decode=True)
    assert found.input_args == ()
    assert "CPU" in found.notes[-1]
    assert BACKEND.explain(offered, ProbeOutcome(0)) is None
    assert BACKEND.joins(offered, offered, Profile()) is None


def test_x265_must_look_ahead_further_than_its_b_frames() -> None:
    short = (("rc-lookahead", "4"),)
    with pytest.raises(InvalidOption, match="look ahead"):
        made("libx265", encoder_options=short)
    assert made("libx265", encoder_options=short, b_frames=0)


def test_hardware_formats_are_what_planar_ones_hold() -> None:
    offered = Capability("hevc_x", Codec.HEVC, pix_fmts=("nv12", "p010le"))
    for asked, target in (("yuv420p", "nv12"), ("yuv420p10le", "p010le")):
        profile = Profile(codec=Codec.HEVC, pix_fmt=asked)
        picture = picture_for(profile, video(), offered.pix_fmts, offered.encoder)
        assert picture.pix_fmt.name == target
    main = Profile(codec=Codec.HEVC, codec_profile="main", bit_depth=10)
    with pytest.raises(InvalidOption) as caught:
        picture_for(main, video(), offered.pix_fmts, offered.encoder)
    assert caught.value.option == "codec_profile"
    with pytest.raises(InvalidOption, match="multiple of the chroma"):
        picture_for(Profile(codec=Codec.HEVC), video(width=129), ("nv12",), "hevc_x")
