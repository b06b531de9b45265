"""The stub NVENC writes real streams: what the other tests here rest on."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.encoders.builds import run
from tests.gpu.cases import BUILDS, hashes, nvidia, stubbed
from tests.gpu.drivers import dump_of, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
EVERY_BUILD = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
FORMATS = {
    "h264_nvenc": ("nv12", "yuv420p", "yuv444p"),
    "hevc_nvenc": ("nv12", "p010le"),
}
# As which planar format a decoder gives what went in.
DECODED = {"nv12": "yuv420p", "p010le": "yuv420p10le"}


def encode(build, gpu, output: Path, *options: str, drawn: str = "testsrc2=s=322x242:r=25:d=1.2"):
    there = stubbed(build, gpu)
    done = run(
        there.path, "-v", "warning", "-nostdin", "-y", "-f", "lavfi", "-i", drawn, *options,
        str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


def packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


@EVERY_BUILD
@pytest.mark.parametrize(
    ("encoder", "pix_fmt"), [(e, f) for e, formats in FORMATS.items() for f in formats]
)
def test_lossless_stream_decodes_to_the_very_pictures(build, encoder, pix_fmt, tmp_path):
    planar = DECODED.get(pix_fmt, pix_fmt)
    source = encode(build, nvidia(), tmp_path / "in.mkv", "-vf", f"format={planar}", "-c:v", "ffv1")
    output = tmp_path / "out.mkv"
    there = stubbed(build, nvidia())
    done = run(
        there.path, "-v", "warning", "-nostdin", "-i", str(source), "-vf", f"format={pix_fmt}",
        "-c:v", encoder, "-tune", "lossless", "-g", "10", "-bf", "3", str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hashes(output) == hashes(source)


@EVERY_BUILD
@pytest.mark.parametrize("encoder", FORMATS)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_forced_pictures_and_gop_are_keyframes(build, encoder, b_frames, tmp_path):
    output = encode(
        build, nvidia(), tmp_path / "out.mkv", "-c:v", encoder, "-bf", str(b_frames), "-g", "12",
        "-forced-idr", "1", "-force_key_frames", "expr:eq(n,7)",
    )  # fmt: skip
    found = sorted(packets(output), key=lambda packet: packet.pts)
    assert [n for n, packet in enumerate(found) if packet.is_keyframe] == [0, 7, 19]
    assert len(hashes(output)) == len(found) == 30


@EVERY_BUILD
@pytest.mark.parametrize("encoder", FORMATS)
def test_reordered_pictures_have_times_in_decoding_order(build, encoder, tmp_path):
    output = encode(build, nvidia(), tmp_path / "out.mp4", "-c:v", encoder, "-bf", "3")
    found = packets(output)
    assert [p.dts for p in found] == sorted(p.dts for p in found)
    assert all(p.dts <= p.pts for p in found)
    assert [p.pts for p in found] != sorted(p.pts for p in found)
    assert len({p.pts for p in found}) == len(hashes(output)) == 30


@EVERY_BUILD
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_streams_are_whole_with_lookahead(build, frames, tmp_path):
    output = encode(
        build, nvidia(), tmp_path / "out.mkv", "-frames:v", str(frames), "-c:v", "h264_nvenc",
        "-bf", "3", "-rc-lookahead", "20",
    )  # fmt: skip
    assert len(hashes(output)) == frames


@EVERY_BUILD
def test_parameter_sets_are_in_the_header_or_in_the_stream(build, tmp_path):
    with_header = encode(build, nvidia(), tmp_path / "out.mp4", "-c:v", "h264_nvenc")
    in_band = encode(build, nvidia(), tmp_path / "out.h264", "-c:v", "h264_nvenc")
    with av.open(str(with_header)) as container:
        assert container.streams.video[0].codec_context.extradata
    first = packets(with_header)[0]
    assert first.is_keyframe
    assert bytes(first)[4] & 31 != 7
    assert bytes(packets(in_band)[0])[4] & 31 == 7


@EVERY_BUILD
def test_colours_that_the_picture_has_reach_the_stream(build, tmp_path):
    dump = tmp_path / "dump"
    tags = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    output = encode(
        build, nvidia(FAKE_DUMP=dump), tmp_path / "out.mkv", "-vf", f"format=nv12,{tags}",
        "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709",
        "-color_range", "tv", "-c:v", "hevc_nvenc",
    )  # fmt: skip
    asked = dict(dump_of(dump))["nvenc init"]
    assert [asked[name] for name in ("range", "primaries", "transfer", "matrix")] == list("0111")
    with av.open(str(output)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 1, 1)


def test_sessions_are_counted_across_processes(tmp_path):
    import subprocess

    build = next(iter(BUILDS.values()))
    locks = tmp_path / "locks"
    locks.mkdir()
    gpu = nvidia(SESSIONS=1, SESSION_DIR=locks, FAKE_DUMP=tmp_path / "dump", FRAME_MS=20)
    there = stubbed(build, gpu)
    command = [
        there.path, "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25",
        "-frames:v", "100000", "-c:v", "h264_nvenc", "-f", "null", "-",
    ]  # fmt: skip
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while "nvenc init" not in dict(dump_of(tmp_path / "dump")):
            assert first.poll() is None
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        first.kill()
        first.wait()
    assert second.returncode != 0
    assert "OpenEncodeSessionEx failed: out of memory (10)" in second.stderr
    # The dead process's session is free again.
    encode(build, gpu, tmp_path / "out.mkv", "-c:v", "h264_nvenc", drawn="color=s=320x240:d=0.1")
