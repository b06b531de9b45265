"""What reaches the driver of what a profile asks for, by each backend's own arguments."""

from __future__ import annotations

import pytest

from ffcluster.core.profile import RateControl, RateMode
from tests.gpu.cases import BUILDS, NODES, ask, nvidia
from tests.gpu.drivers import why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
EVERY_BUILD = pytest.mark.parametrize("release", BUILDS)
NVENC = pytest.mark.parametrize("encoder", ["h264_nvenc", "hevc_nvenc"])
VAAPI = pytest.mark.parametrize("encoder", ["h264_vaapi", "hevc_vaapi"])
INDEXED = pytest.mark.parametrize("encoder", ["av1_vaapi", "vp9_vaapi"])
# NV_ENC_PARAMS_RC_MODE, NV_ENC_TUNING_INFO and NV_ENC_BUFFER_FORMAT.
CONSTANT_QP, VARIABLE, LOSSLESS_TUNING, TEN_BIT_FORMAT = "0", "1", "4", "0x10000"
BITRATE = RateControl(
    RateMode.BITRATE, target_bps=5_000_000, max_bps=8_000_000, buffer_bits=16_000_000
)


def picked(found: dict[str, str], *names: str) -> list[str]:
    return [found[name] for name in names]


@EVERY_BUILD
@NVENC
def test_nvenc_quality(release, encoder):
    init = ask(release, "nvenc", encoder, rate=RateControl(quality=23.5)).one("nvenc init")
    assert picked(init, "rc", "quality", "avg", "max") == [VARIABLE, "23.500", "0", "0"]


@EVERY_BUILD
@NVENC
def test_nvenc_quality_with_a_peak(release, encoder):
    rate = RateControl(quality=30, max_bps=8_000_000)
    init = ask(release, "nvenc", encoder, rate=rate).one("nvenc init")
    assert picked(init, "quality", "avg", "max") == ["30.000", "0", "8000000"]


@EVERY_BUILD
@NVENC
def test_nvenc_least_quality_value_is_not_automatic(release, encoder):
    init = ask(release, "nvenc", encoder, rate=RateControl(quality=1)).one("nvenc init")
    assert picked(init, "quality", "avg") == ["1.000", "0"]


@EVERY_BUILD
@NVENC
def test_nvenc_bit_rate_peak_and_buffer(release, encoder):
    init = ask(release, "nvenc", encoder, rate=BITRATE).one("nvenc init")
    expected = [VARIABLE, "0.000", "5000000", "8000000", "16000000"]
    assert picked(init, "rc", "quality", "avg", "max", "vbv") == expected


@EVERY_BUILD
@NVENC
@pytest.mark.parametrize("b_frames", [0, 1, 3])
def test_nvenc_gop_and_b_frames(release, encoder, b_frames):
    asked = ask(release, "nvenc", encoder, gop_frames=48, b_frames=b_frames)
    assert picked(asked.one("nvenc init"), "gop", "bframes") == ["48", str(b_frames)]


@EVERY_BUILD
@NVENC
def test_nvenc_lossless(release, encoder):
    asked = ask(release, "nvenc", encoder, rate=RateControl(RateMode.LOSSLESS))
    init = asked.one("nvenc init")
    assert picked(init, "tuning", "rc", "qp") == [LOSSLESS_TUNING, CONSTANT_QP, "0,0,0"]


@EVERY_BUILD
def test_nvenc_10_bit(release):
    asked = ask(release, "nvenc", "hevc_nvenc", pix_fmt="yuv420p10le")
    assert asked.one("nvenc init")["profile"] == "main10"
    assert {picture["format"] for picture in asked.every("nvenc picture")} == {TEN_BIT_FORMAT}


@EVERY_BUILD
@NVENC
def test_nvenc_forced_keyframes_are_idr(release, encoder):
    asked = ask(release, "nvenc", encoder, "-force_key_frames", "expr:eq(n,7)")
    forced = [p["number"] for p in asked.every("nvenc picture") if p["idr"] == "1"]
    assert set(forced) - {"0"} == {"7"}


@EVERY_BUILD
@NVENC
@pytest.mark.parametrize("preset", ["p1", "p5", "p7"])
def test_nvenc_preset(release, encoder, preset):
    init = ask(release, "nvenc", encoder, preset=preset).one("nvenc init")
    assert init["preset"] == preset[1:]


@EVERY_BUILD
def test_nvenc_device(release):
    for number in "01":
        asked = ask(release, "nvenc", "h264_nvenc", device=f"cuda:{number}")
        assert asked.one("nvenc init")["gpu"] == number


@EVERY_BUILD
@NVENC
def test_nvenc_extras_help_unless_refused(release, encoder):
    init = ask(release, "nvenc", encoder).one("nvenc init")
    extras = ("aq", "strength", "temporal_aq", "lookahead", "multipass")
    assert picked(init, *extras) == ["1", "8", "1", "32", "1"]
    refused = ("temporal-aq", "rc-lookahead", "b_ref_mode")
    gpu = nvidia(GPUS=2, TEMPORAL_AQ=0, LOOKAHEAD=0, BREF=0)
    init = ask(release, "nvenc", encoder, gpu=gpu, without=refused).one("nvenc init")
    assert picked(init, *extras) == ["1", "8", "0", "0", "1"]


@EVERY_BUILD
@NVENC
def test_nvenc_gets_the_colours_of_the_source(release, encoder):
    init = ask(release, "nvenc", encoder).one("nvenc init")
    assert picked(init, "range", "primaries", "transfer", "matrix") == ["0", "1", "1", "1"]


@EVERY_BUILD
@VAAPI
def test_vaapi_quality_is_icq(release, encoder):
    asked = ask(release, "vaapi", encoder, rate=RateControl(quality=24))
    assert picked(asked.one("va rate"), "icq", "bps") == ["24", "0"]


@EVERY_BUILD
@VAAPI
def test_vaapi_quality_without_icq_is_the_quantizer(release, encoder):
    asked = ask(release, "vaapi", encoder, without=("ICQ",), rate=RateControl(quality=24))
    assert {picture["qp"] for picture in asked.every("va picture")} == {"24"}
    assert not asked.every("va rate")


@EVERY_BUILD
@INDEXED
def test_vaapi_quantizer_of_av1_and_vp9_has_its_own_range(release, encoder):
    if encoder == "av1_vaapi" and release == "5_1":
        pytest.skip("ffmpeg 5.1 has no av1_vaapi")
    asked = ask(release, "vaapi", encoder, rate=RateControl(quality=140))
    assert "140" in {picture["qp"] for picture in asked.every("va picture")}


@EVERY_BUILD
@VAAPI
def test_vaapi_bit_rate_peak_and_buffer(release, encoder):
    asked = ask(release, "vaapi", encoder, rate=BITRATE)
    # A VA driver is told the peak, and the target as a share of it.
    assert picked(asked.one("va rate"), "bps", "percent") == ["8000000", "62"]
    assert asked.one("va buffer")["bits"] == "16000000"


@EVERY_BUILD
@VAAPI
@pytest.mark.parametrize("b_frames", [0, 2])
def test_vaapi_gop_and_b_frames(release, encoder, b_frames):
    asked = ask(release, "vaapi", encoder, gop_frames=48, b_frames=b_frames)
    found = asked.one("va sequence")
    assert picked(found, "gop", "idr", "distance") == ["48", "48", str(b_frames + 1)]


@EVERY_BUILD
def test_vaapi_10_bit(release):
    asked = ask(release, "vaapi", "hevc_vaapi", pix_fmt="yuv420p10le")
    assert asked.one("va sequence")["depth"] == "10"


@EVERY_BUILD
@VAAPI
def test_vaapi_forced_keyframes_are_idr(release, encoder):
    asked = ask(
        release, "vaapi", encoder, "-force_key_frames", "expr:eq(n,7)", gop_frames=250, b_frames=0
    )
    idr = [number for number, p in enumerate(asked.every("va picture")) if p["idr"] == "1"]
    assert idr == [0, 7]


@EVERY_BUILD
@VAAPI
@pytest.mark.parametrize("preset", ["7", "4", "1"])
def test_vaapi_preset(release, encoder, preset):
    assert ask(release, "vaapi", encoder, preset=preset).one("va level")["quality"] == preset


@EVERY_BUILD
def test_vaapi_works_on_every_node(release):
    for node in NODES:
        assert ask(release, "vaapi", "h264_vaapi", device=node).every("va picture")
