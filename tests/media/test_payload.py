"""Whether a packet brings a picture, on headers written by hand."""

from __future__ import annotations

import pytest

from ffcluster.media.bitstream import BitstreamError
from ffcluster.media.payload import PictureFinder


def shows(codec: str, sample: bytes, extradata: bytes = b"") -> bool:
    return PictureFinder(codec, extradata).shows(memoryview(sample))


def units(*payloads: bytes) -> bytes:
    return b"".join(b"\x00\x00\x01" + payload for payload in payloads)


@pytest.mark.parametrize(
    ("codec", "sample", "found"),
    [
        ("h264", units(b"\x65\x88"), True),
        ("h264", units(b"\x67\x64\x00", b"\x68\xee", b"\x41\x9a\x20"), True),
        # A supplement, and a slice that goes on with a picture begun elsewhere.
        ("h264", units(b"\x06\x05\x01\x80"), False),
        ("h264", units(b"\x41\x1a\x20"), False),
        ("hevc", units(b"\x26\x01\x80"), True),
        ("hevc", units(b"\x40\x01\x0c", b"\x4e\x01\x05"), False),
        ("hevc", units(b"\x02\x01\x40"), False),
        # A frame (type 6) that is shown, and one that only serves others.
        ("av1", b"\x12\x00\x32\x02\x10\x00", True),
        ("av1", b"\x12\x00\x32\x02\x00\x00", False),
        ("av1", b"\x12\x00\x1a\x01\x80", True),
        ("av1", b"\x12\x00", False),
        ("vp9", b"\x82\x49\x83\x42", True),
        ("vp9", b"\x80\x49\x83\x42", False),
        ("vp9", b"\x88", True),
        # A hidden frame and a shown one in one packet, then a hidden one alone.
        ("vp9", b"\x80\x01\x82\x02" + b"\xc1\x02\x02\xc1", True),
        ("vp9", b"\x80\x01\x80\x02" + b"\xc1\x02\x02\xc1", False),
        ("ffv1", b"\x00", True),
        ("ffv1", b"", False),
    ],
)
def test_packet_shows_a_picture_or_not(codec: str, sample: bytes, found: bool) -> None:
    assert shows(codec, sample) is found


def test_lengths_are_read_as_the_header_says() -> None:
    avcc = b"\x01\x64\x00\x1f\xfd\xe0\x00"
    assert shows("h264", b"\x00\x02\x65\x88", avcc)
    assert not shows("h264", b"\x00\x02\x06\x05", avcc)


def test_single_av1_picture_needs_no_flags() -> None:
    finder = PictureFinder("av1", b"")
    assert finder.shows(memoryview(b"\x0a\x01\x18\x32\x01\x00"))


@pytest.mark.parametrize("sample", [b"\x32\x05\x10", b"\x0a\x01"])
def test_cut_off_av1_packet_is_an_error(sample: bytes) -> None:
    with pytest.raises(BitstreamError):
        shows("av1", sample)


def test_what_is_no_vp9_frame_is_an_error() -> None:
    with pytest.raises(BitstreamError):
        shows("vp9", b"\x00\x00")
