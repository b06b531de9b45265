"""What is believed of a result that a worker sent: nothing that its packets do not show."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from av.packet import Packet

from ffcluster.media.bitstream import in_band_prefix
from ffcluster.media.opening import HelperError
from ffcluster.media.results import examine
from tests.inputs import ffmpeg, pictures

_CODECS = {
    "h264": ("libx264", "-x264-params", "scenecut=0:ref=1", "scenecut=0:ref=4"),
    "hevc": ("libx265", "-x265-params", "log-level=none:ctu=16", "log-level=none:ctu=64"),
}


def encoded(path: Path, codec: str, settings: str) -> Path:
    encoder, option, *_ = _CODECS[codec]
    ffmpeg(*pictures(24, size="128x96"), "-pix_fmt", "yuv420p", "-c:v", encoder, "-preset",
           "ultrafast", "-g", "8", option, settings, str(path))  # fmt: skip
    return path


def with_sets_of(other: Path, source: Path, target: Path, codec: str, keyframes: set[int]) -> Path:
    """Copy `source` and put the parameter sets of `other` before some of its keyframes."""
    with av.open(str(other)) as donor:
        prefix = in_band_prefix(codec, donor.streams.video[0].codec_context.extradata or b"")
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        video = film.streams.video[0]
        written = copy.add_stream_from_template(video, opaque=True)
        number = -1
        for packet in film.demux(video):
            if not packet.size:
                continue
            number += packet.is_keyframe
            out = packet
            if packet.is_keyframe and number in keyframes:
                out = Packet(prefix + bytes(packet))
                out.pts, out.dts, out.duration = packet.pts, packet.dts, packet.duration
                out.is_keyframe, out.time_base = True, packet.time_base
            out.stream = written
            copy.mux_one(out)
    return target


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_foreign_sets_at_every_keyframe_make_another_kind(tmp_path: Path, codec: str) -> None:
    _, _, one, other = _CODECS[codec]
    plain = encoded(tmp_path / "plain.mkv", codec, one)
    donor = encoded(tmp_path / "donor.mkv", codec, other)
    mixed = with_sets_of(donor, plain, tmp_path / "mixed.mkv", codec, {0, 1, 2})
    kinds = [examine(path, codec, 24)["parameter_sets"] for path in (plain, donor, mixed)]
    assert len(set(kinds)) == 3
    # Its own sets in band say nothing new.
    same = with_sets_of(plain, plain, tmp_path / "same.mkv", codec, {0, 1, 2})
    assert examine(same, codec, 24)["parameter_sets"] == kinds[0]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("keyframes", [{0}, {2}])
def test_sets_that_change_on_the_way_are_refused(
    tmp_path: Path, codec: str, keyframes: set[int]
) -> None:
    """They would still rule when the next segment begins, which may have been made without them."""
    _, _, one, other = _CODECS[codec]
    plain = encoded(tmp_path / "plain.mkv", codec, one)
    donor = encoded(tmp_path / "donor.mkv", codec, other)
    changing = with_sets_of(donor, plain, tmp_path / "changing.mkv", codec, keyframes)
    with pytest.raises(HelperError, match="changes its parameter sets"):
        examine(changing, codec, 24)


def remuxed(
    source: Path, target: Path, change: Callable[[int, Packet], Packet | None], *, more: int = 0
) -> Path:
    """Copy `source`, each packet as `change` gives it, the last one `more` times again."""
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        video = film.streams.video[0]
        written = copy.add_stream_from_template(video, opaque=True)
        packets = [p for p in film.demux(video) if p.size]
        step = packets[-1].duration or 40
        for number, packet in enumerate(packets):
            out = change(number, packet)
            if out is not None:
                out.stream = written
                copy.mux_one(out)
        last, end = bytes(packets[-1]), max(p.pts or 0 for p in packets)
        for number in range(more):
            out = Packet(last)
            out.pts = out.dts = end + (number + 1) * step
            out.stream, out.time_base = written, video.time_base
            copy.mux_one(out)
    return target


def replaced(packet: Packet, data: bytes) -> Packet:
    out = Packet(data)
    out.pts, out.dts, out.duration = packet.pts, packet.dts, packet.duration
    out.is_keyframe, out.time_base = packet.is_keyframe, packet.time_base
    return out


def plain(directory: Path, codec: str = "h264") -> Path:
    return encoded(directory / "plain.mkv", codec, _CODECS[codec][2])


def vp9(directory: Path) -> Path:
    path = directory / "vp9.mkv"
    ffmpeg(*pictures(24, size="128x96"), "-pix_fmt", "yuv420p", "-c:v", "libvpx-vp9", "-cpu-used",
           "8", "-deadline", "realtime", "-b:v", "200k", str(path))  # fmt: skip
    return path


def refused(path: Path, codec: str = "h264", frames: int | None = 24) -> HelperError:
    with pytest.raises(HelperError) as caught:
        examine(path, codec, frames)
    return caught.value


def test_other_codec_is_refused(tmp_path: Path) -> None:
    error = refused(plain(tmp_path, "hevc"))
    assert (error.code, error.message) == (
        "result_invalid",
        "A segment's result is not valid: it is hevc, not h264",
    )


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_packet_without_a_picture_is_refused_although_the_count_is_right(
    tmp_path: Path, codec: str
) -> None:
    note = {
        "h264": b"\x00\x00\x00\x04\x06\x05\x01\x80",
        "hevc": b"\x00\x00\x00\x04\x4e\x01\x05\x80",
    }
    path = remuxed(
        plain(tmp_path, codec),
        tmp_path / "lying.mkv",
        lambda n, p: replaced(p, note[codec]) if n == 5 else p,
    )
    error = refused(path, codec)
    assert error.code == "result_invalid"
    assert "packet 5 shows no picture" in error.message


def blocks_of(path: Path) -> list[tuple[int, bytes]]:
    """Place in the file and content of each packet."""
    data, found = path.read_bytes(), []
    with av.open(str(path)) as film:
        for packet in film.demux(film.streams.video[0]):
            if packet.size:
                content = bytes(packet)
                found.append((data.index(content), content))
    return found


def test_hidden_vp9_frame_in_a_packet_of_its_own_is_refused(tmp_path: Path) -> None:
    path = vp9(tmp_path)
    place, content = blocks_of(path)[5]
    data = bytearray(path.read_bytes())
    # Bit 1 of the first byte is show_frame.
    assert content[0] & 0xFA == 0x82
    data[place] &= ~0x02
    path.write_bytes(data)
    assert "packet 5 shows no picture" in refused(path, "vp9").message


def test_too_few_and_too_many_packets_are_counted(tmp_path: Path) -> None:
    film = plain(tmp_path)
    few = remuxed(film, tmp_path / "few.mkv", lambda n, p: p if n != 20 else None)
    many = remuxed(film, tmp_path / "many.mkv", lambda n, p: p, more=1)
    for path, found in ((few, 23), (many, 25)):
        error = refused(path)
        assert error.code == "wrong_frame_count"
        assert error.detail == {"expected": 24, "found": found}


def test_flood_of_packets_is_not_read_to_its_end(tmp_path: Path) -> None:
    flood = remuxed(vp9(tmp_path), tmp_path / "flood.mkv", lambda n, p: p, more=12_000)
    error = refused(flood, "vp9")
    assert error.code == "wrong_frame_count"
    assert error.detail["found"] < 12_000


def test_order_that_the_codec_cannot_have_is_refused(tmp_path: Path) -> None:
    """VP9 shows its packets as they come, so times that say otherwise are made up."""
    path = vp9(tmp_path)
    blocks, data = blocks_of(path), bytearray(path.read_bytes())
    # Before a block's content: its time within the cluster (2 bytes) and flags (1 byte).
    one, other = (slice(place - 3, place - 1) for place, _ in blocks[10:12])
    data[one], data[other] = data[other], data[one]
    path.write_bytes(data)
    error = refused(path, "vp9")
    assert error.code == "result_invalid"
    assert "out of order" in error.message


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_file_that_was_cut_off_is_refused_even_where_any_count_is_right(
    tmp_path: Path, part: float
) -> None:
    film = plain(tmp_path)
    whole = film.read_bytes()
    film.write_bytes(whole[: int(len(whole) * part)])
    for frames in (24, None):
        error = refused(film, frames=frames)
        assert error.code == "result_invalid"
        assert "cut off" in error.message


@pytest.mark.parametrize("seed", range(12))
def test_damaged_file_is_refused_or_read_but_never_breaks_the_reader(
    tmp_path: Path, seed: int
) -> None:
    film, chance = plain(tmp_path), random.Random(seed)
    data = bytearray(film.read_bytes())
    for _ in range(1 + seed * 4):
        data[chance.randrange(len(data))] = chance.randrange(256)
    film.write_bytes(data)
    code = "right"
    try:
        examine(film, "h264", 24)
    except HelperError as error:
        code = error.code
    assert code in ("right", "result_invalid", "wrong_frame_count")


def test_giant_pictures_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "giant.mkv"
    ffmpeg(*pictures(2, size="256x256"), "-pix_fmt", "yuv420p", "-c:v", "ffv1", str(path))
    # PixelWidth and PixelHeight of Matroska's track entry.
    data, small = path.read_bytes(), (b"\xb0\x82\x01\x00", b"\xba\x82\x01\x00")
    assert [data.count(element) for element in small] == [1, 1]
    for element in small:
        data = data.replace(element, element[:2] + (40_000).to_bytes(2, "big"))
    path.write_bytes(data)
    error = refused(path, "ffv1", 2)
    assert error.code == "result_invalid"
    assert "larger than any may be" in error.message


def test_second_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    ffmpeg(*pictures(4), *pictures(4), "-map", "0:v", "-map", "1:v", "-c:v", "libx264", str(path))
    assert "exactly one video stream" in refused(path, frames=4).message


def test_what_is_no_matroska_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.mkv"
    path.write_text("ffconcat version 1.0\nfile 'other.mkv'\n")
    assert refused(path).code == "result_invalid"
