"""Every software encoder, really run, on every ffmpeg at hand."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type as SideDataType

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import FilterScope, Profile, RateControl, RateMode, VideoFilter
from ffcluster.encoders.backend import EncodeArguments
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.filter_table import FILTERS
from ffcluster.encoders.filters import filter_text, make_filter, parse_filters
from ffcluster.encoders.rules import (
    AnyOf,
    Choice,
    Expression,
    Int,
    Number,
    Numbers,
    Pattern,
    Rule,
    Words,
)
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.software import SoftwareBackend
from ffcluster.encoders.software_schemas import SCHEMAS
from ffcluster.errors import UnsupportedOption
from tests.encoders.builds import build_id, builds, capability, detected, run, video

BACKEND = SoftwareBackend()
BY_NAME = {schema.encoder: schema for schema in SCHEMAS}
FASTEST = {
    "libx264": "ultrafast",
    "libx265": "ultrafast",
    "libsvtav1": "12",
    "libaom-av1": "8",
    "libvpx-vp9": "8",
}
CODEC_NAMES = {
    "libx264": "h264",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "libaom-av1": "av1",
    "libvpx-vp9": "vp9",
    "ffv1": "ffv1",
}
FRAMES = 8
# What ffmpeg or an encoder says when it did not take something that it was given.
COMPLAINTS = (
    "has not been used for any stream",
    "Error parsing option",
    "Unknown option",
    "Invalid value for",
    "Unrecognized option",
)

every_build = pytest.mark.parametrize("build", builds(), ids=build_id)
every_encoder = pytest.mark.parametrize("encoder", sorted(BY_NAME))


def profile_for(encoder: str, **changes: object) -> Profile:
    schema = BY_NAME[encoder]
    fields: dict[str, object] = {"codec": schema.codec, "encoder": encoder}
    fields["preset"] = FASTEST.get(encoder)
    if schema.rate_modes == (RateMode.LOSSLESS,):
        fields["rate"] = RateControl(RateMode.LOSSLESS)
    return Profile(**{**fields, **changes})  # type: ignore[arg-type]


def arguments(
    build: FfmpegBuild, profile: Profile, source: VideoFormat, threads: int = 1
) -> EncodeArguments:
    assert profile.encoder is not None
    offered = capability(build, profile.encoder)
    assert offered is not None, f"{build.path} has no {profile.encoder}"
    return BACKEND.arguments(build, offered, profile, source, threads=threads)


def encode(
    build: FfmpegBuild,
    profile: Profile,
    source: VideoFormat,
    out: Path,
    *,
    threads: int = 1,
    input_args: Sequence[str] = (),
) -> str:
    """Encode a test picture in `source`'s format; give back what ffmpeg said."""
    made = arguments(build, profile, source, threads)
    size = f"{source.width}x{source.height}"
    pattern = f"testsrc2=s={size}:r=25:d={FRAMES / 25},format={source.pix_fmt}"
    done = run(
        build.path,
        "-hide_banner",
        "-nostdin",
        "-y",
        *(input_args or ("-f", "lavfi", "-i", pattern)),
        "-vf",
        ",".join((*made.context_filters, *made.filters)),
        *build.fps_mode_args,
        *build.enc_time_base_args,
        *made.output_args,
        "-f",
        "matroska",
        str(out),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for complaint in COMPLAINTS:
        assert complaint not in done.stderr, done.stderr[-2000:]
    return done.stderr


def pictures(build: FfmpegBuild, *args: str) -> list[str]:
    """MD5 of every decoded picture."""
    done = run(build.path, "-v", "error", *args, "-an", "-f", "framemd5", "-")
    assert done.returncode == 0, done.stderr
    return [line.split(",")[5].strip() for line in done.stdout.splitlines() if line[:1] != "#"]


def header(path: Path) -> str:
    """SHA-256 of the codec's parameter sets, without SEI."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        data = context.extradata or b""
        if context.name == "hevc":
            data = _without_sei(data)
    return hashlib.sha256(data).hexdigest()


def _without_sei(record: bytes) -> bytes:
    kept, position = b"", 23
    for _ in range(record[22]):
        kind = record[position] & 63
        count = int.from_bytes(record[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(record[position : position + 2], "big")
            if kind in (32, 33, 34):
                kept += record[position : position + 2 + size]
            position += 2 + size
    return kept


def rates(schema: EncoderSchema) -> list[RateControl]:
    found: list[RateControl] = []
    if RateMode.QUALITY in schema.rate_modes:
        found += [RateControl(), RateControl(quality=30)]
        if RateMode.QUALITY in schema.peak:
            found.append(RateControl(quality=30, max_bps=900_000, buffer_bits=1_800_000))
    if RateMode.BITRATE in schema.rate_modes:
        found.append(RateControl(RateMode.BITRATE, target_bps=500_000))
        if RateMode.BITRATE in schema.peak:
            found.append(
                RateControl(
                    RateMode.BITRATE,
                    target_bps=500_000,
                    max_bps=900_000,
                    buffer_bits=1_000_000,
                )
            )
    if RateMode.LOSSLESS in schema.rate_modes:
        found.append(RateControl(RateMode.LOSSLESS))
    return found


def formats(build: FfmpegBuild, encoder: str) -> list[str]:
    offered = capability(build, encoder)
    wanted = ("yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p", "yuv420p12le")
    return [name for name in wanted if offered and name in offered.pix_fmts]


@every_build
@every_encoder
def test_every_rate_mode_and_bit_depth_encodes(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    for rate, pix_fmt in itertools.product(rates(BY_NAME[encoder]), formats(build, encoder)):
        if rate.mode is RateMode.LOSSLESS and encoder == "libvpx-vp9" and pix_fmt[-2:] == "le":
            continue
        out = tmp_path / "out.mkv"
        encode(build, profile_for(encoder, rate=rate), video(pix_fmt=pix_fmt), out)
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name in (CODEC_NAMES[encoder], "libdav1d", "libvpx-vp9")
            frames = list(container.decode(stream))
        assert len(frames) == FRAMES
        assert frames[0].format.name == pix_fmt


@every_build
@every_encoder
def test_every_preset_tune_gop_and_b_frame_setting_encodes(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    schema = BY_NAME[encoder]
    settings: list[dict[str, object]] = [{"gop_frames": 5}]
    settings += [{"preset": name} for name in schema.presets if int_or(name, 9) >= 3]
    settings += [{"tune": name} for name in schema.tunes]
    settings += [{"b_frames": n} for n in (0, 3) if schema.max_b_frames]
    for changes in settings:
        encode(build, profile_for(encoder, **changes), video(), tmp_path / "out.mkv")


def int_or(text: str, fallback: int) -> int:
    return int(text) if text.lstrip("-").isdigit() else fallback


@every_build
@pytest.mark.parametrize(
    ("encoder", "name", "pix_fmt"),
    [
        ("libx264", "baseline", "yuv420p"),
        ("libx264", "high", "yuv420p"),
        ("libx264", "high10", "yuv420p10le"),
        ("libx264", "high422", "yuv422p10le"),
        ("libx264", "high444", "yuv444p"),
        ("libx265", "main", "yuv420p"),
        ("libx265", "main10", "yuv420p10le"),
        ("libx265", "main422-10", "yuv422p10le"),
        ("libx265", "main444-8", "yuv444p"),
        ("libx265", "main444-12", "yuv444p12le"),
        ("libsvtav1", "main", "yuv420p10le"),
        ("libaom-av1", "main", "yuv420p10le"),
        ("libaom-av1", "high", "yuv444p"),
        ("libaom-av1", "professional", "yuv422p"),
        ("libvpx-vp9", "0", "yuv420p"),
        ("libvpx-vp9", "1", "yuv444p"),
        ("libvpx-vp9", "2", "yuv420p10le"),
        ("libvpx-vp9", "3", "yuv422p10le"),
    ],
)
def test_codec_profiles_encode_the_formats_that_they_hold(
    build: FfmpegBuild, encoder: str, name: str, pix_fmt: str, tmp_path: Path
) -> None:
    profile = profile_for(encoder, codec_profile=name)
    encode(build, profile, video(pix_fmt=pix_fmt), tmp_path / "out.mkv")


SAMPLES = {
    "deblock": "-1,-1",
    "psy-rd": "1.0",
    "mastering-display": "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
    "master-display": "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
    "cll": "1000,400",
    "max-cll": "1000,400",
    "content-light": "1000,400",
    "level": "4.1",
    "level-idc": "4.1",
    "colorprim": "bt709",
    "colormatrix": "bt709",
    "transfer": "bt709",
    "tiles": "2x1",
    "rc-lookahead": "20",
    "tile-columns": "1",
    "tile-rows": "1",
    "tune": "1",
    "film-grain": "8",
    "range": "limited",
    "ctu": "32",
    "qpmax": "51",
    "max-qp": "60",
    "qm-max": "15",
}
SVT_MASTERING = "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.0001)"


def sample(name: str, rule: Rule) -> str:
    """A harmless value that the rule takes."""
    if name in SAMPLES:
        return SAMPLES[name]
    if isinstance(rule, Choice):
        return sorted(rule.allowed)[-1]
    if isinstance(rule, Int):
        return str(max(rule.low, min(rule.high, 2)))
    if isinstance(rule, Number):
        return f"{max(rule.low, min(rule.high, 1)):g}"
    if isinstance(rule, Numbers):
        return "1"
    if isinstance(rule, AnyOf):
        return sample(name, rule.rules[0])
    if isinstance(rule, Expression):
        return "iw"
    if isinstance(rule, Words):
        return sorted(rule.allowed)[0]
    assert isinstance(rule, Pattern)
    raise AssertionError(f"{name} needs a sample")


@every_build
@every_encoder
def test_every_option_on_the_allowlist_is_understood(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    schema = BY_NAME[encoder]
    refused = []
    for name, rule in schema.options.items():
        is_svt = encoder == "libsvtav1" and name == "mastering-display"
        value = schema.check_option(name, SVT_MASTERING if is_svt else sample(name, rule))
        profile = profile_for(encoder, encoder_options=((name, value),))
        try:
            encode(build, profile, video(), tmp_path / "out.mkv")
        except UnsupportedOption as error:
            # Refused with the reason, because this ffmpeg's library is too old for it.
            if encoder != "libsvtav1" or "newer ffmpeg" not in str(error):
                refused.append(str(error))
        except AssertionError as error:
            refused.append(f"{name}={value}: {str(error)[-300:]}")
    assert not refused, "\n".join(refused)


@every_build
@pytest.mark.parametrize(
    ("encoder", "pix_fmt"),
    [
        *itertools.product(
            ("libx264", "libx265", "ffv1"),
            ("yuv420p", "yuvj420p", "yuv420p10le", "yuv422p", "yuv422p10le", "yuv444p"),
        ),
        *itertools.product(
            ("libvpx-vp9",), ("yuv420p", "yuvj420p", "yuv422p", "yuv440p", "yuv444p", "gbrp")
        ),
        *itertools.product(("libx265", "ffv1"), ("yuv420p12le", "yuv444p12le", "gbrp10le")),
        *itertools.product(("libx265", "ffv1"), ("gray", "gray10le")),
        *itertools.product(("ffv1",), ("yuv420p16le", "rgb24", "bgra", "yuva420p", "nv12")),
    ],
)
def test_lossless_keeps_every_sample(
    build: FfmpegBuild, encoder: str, pix_fmt: str, tmp_path: Path
) -> None:
    color = (("color_range", "pc"),) if pix_fmt.startswith("yuvj") else ()
    source = video(pix_fmt=pix_fmt, color=color)
    profile = profile_for(encoder, rate=RateControl(RateMode.LOSSLESS))
    out = tmp_path / "out.mkv"
    encode(build, profile, source, out)
    pattern = f"testsrc2=s=128x96:r=25:d={FRAMES / 25},format={pix_fmt}"
    look_at = arguments(build, profile, source).compare_as
    # Packed and semi-planar pictures are looked at in the order in which they came.
    look_at = look_at if look_at.replace("j", "") == pix_fmt.replace("j", "") else pix_fmt
    before = pictures(build, "-f", "lavfi", "-i", pattern)
    after = pictures(build, "-i", str(out), "-vf", f"format={look_at}")
    assert len(before) == FRAMES
    assert after == before


@every_build
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "ffv1", "libsvtav1", "libaom-av1"])
def test_header_is_the_same_whatever_a_piece_says_of_its_rate(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    headers = set()
    for number, (rate, frames, threads) in enumerate(
        [("25", FRAMES, 1), ("240", 1, 1), ("1000", 3, 2), ("7", 2, 4)]
    ):
        pattern = f"testsrc2=s=128x96:r={rate},trim=end_frame={frames},format=yuv420p,settb=1/1000"
        out = tmp_path / f"{number}.mkv"
        encode(
            build,
            profile_for(encoder),
            video(),
            out,
            threads=threads,
            input_args=("-f", "lavfi", "-i", pattern),
        )
        headers.add(header(out))
    assert len(headers) == 1


@every_build
@every_encoder
def test_colour_tags_of_the_source_are_in_the_output(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    color = (
        ("color_range", "tv"),
        ("colorspace", "bt2020nc"),
        ("color_primaries", "bt2020"),
        ("color_trc", "smpte2084"),
        ("chroma_sample_location", "topleft"),
    )
    out = tmp_path / "out.mkv"
    encode(build, profile_for(encoder), video(pix_fmt="yuv420p10le", color=color), out)
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.color_range, context.colorspace)
        tags += (context.color_primaries, context.color_trc)
    assert [int(tag) for tag in tags] == [1, 9, 9, 16]


@every_build
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_hdr10_metadata_of_the_source_is_in_the_stream(
    build: FfmpegBuild, encoder: str, tmp_path: Path
) -> None:
    source = video(
        pix_fmt="yuv420p10le",
        mastering_display=SAMPLES["master-display"],
        content_light="1000,400",
    )
    out = tmp_path / "out.mkv"
    encode(build, profile_for(encoder), source, out)
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        kinds = {data.type for data in frame.side_data}
    assert SideDataType.MASTERING_DISPLAY_METADATA in kinds
    assert SideDataType.CONTENT_LIGHT_LEVEL in kinds


@every_build
@pytest.mark.parametrize("name", sorted(FILTERS))
def test_every_filter_and_option_on_the_allowlist_is_understood(
    build: FfmpegBuild, name: str
) -> None:
    if name not in build.filters:
        assert name == "zscale", f"{build.path} has no filter {name}"
        return
    spec = FILTERS[name]
    samples = {
        "w": "64", "h": "iw/2", "x": "2", "y": "2", "fps": "30000/1001", "pix_fmts": "gray|yuv420p",
        "sar": "4/3", "dar": "16/9", "aspect": "16/9", "color": "black@0.5", "lx": "5", "ly": "5",
        "cx": "5", "cy": "5", "s": "9", "size": "5", "max": "100", "la": "0.5", "ca": "0.5",
        "cycle": "5", "block": "8", "range": "tv", "p": "7", "pc": "5", "r": "7", "rc": "5",
    }  # fmt: skip
    if name in ("delogo", "drawbox"):
        samples |= {"h": "32"}
    if name == "zscale":
        samples |= {"primaries": "bt2020", "primariesin": "bt709", "transfer": "linear"}
        samples |= {"matrix": "bt709", "matrixin": "bt709", "transferin": "bt709"}
    if name == "pad":
        samples |= {"w": "iw+8", "h": "ih*2"}
    if name == "atadenoise":
        samples |= {"s": "9"}
    if name == "hue":
        samples |= {"h": "30", "s": "1", "b": "0"}
    if name in ("lut", "lutyuv", "lutrgb"):
        samples = dict.fromkeys(spec.options, "negval")
    for option, rule in spec.options.items():
        given = {o: samples.get(o, "") or sample(o, spec.options[o]) for o in spec.required}
        given |= {o: samples[o] for o in spec.together}
        given[option] = samples[option] if option in samples else sample(option, rule)
        _accepts(build, make_filter(name, given.items()))
    if not spec.required:
        _accepts(build, make_filter(name))


def _accepts(build: FfmpegBuild, video_filter: VideoFilter) -> None:
    text = filter_text(video_filter)
    picture = "gbrpf32le" if video_filter.name == "tonemap" else "yuv420p"
    picture += ",setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    done = run(
        build.path, "-v", "error", "-f", "lavfi",
        "-i", "testsrc2=s=128x96:r=25:d=0.4", "-vf", f"format={picture},{text}", "-f", "null", "-",
    )  # fmt: skip
    assert done.returncode == 0, f"{text}: {done.stderr[-800:]}"


@every_build
@pytest.mark.parametrize(
    "text", ["yadif", "bwdif=mode=send_frame", "w3fdif=mode=frame", "atadenoise=s=5"]
)
def test_context_makes_a_window_filter_exact_at_segment_borders(
    build: FfmpegBuild, text: str
) -> None:
    (video_filter,) = parse_filters(text)
    assert video_filter.scope is FilterScope.WINDOW
    context = video_filter.context_frames
    source = "testsrc2=s=128x96:r=50:d=0.8,format=yuv420p,tinterlace=interleave_top,settb=1/25"
    whole = pictures(build, "-f", "lavfi", "-i", source, "-vf", filter_text(video_filter))
    first, stop = 8, 13
    chain = (
        f"trim=start_frame={first - context}:end_frame={stop + context},"
        f"{filter_text(video_filter)},trim=start_frame={context}:end_frame={stop - first + context}"
    )
    part = pictures(build, "-f", "lavfi", "-i", source, "-vf", chain)
    assert part == whole[first:stop]


@every_build
def test_detection_finds_every_software_encoder_that_is_listed(build: FfmpegBuild) -> None:
    found = {c.encoder for c in detected(build).capabilities}
    assert found == set(BY_NAME) & build.encoders
    assert {"libx264", "libx265", "libvpx-vp9", "ffv1"} <= found
    assert not detected(build).errors
