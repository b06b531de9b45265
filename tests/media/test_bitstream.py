"""Parameter sets in extradata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.media.bitstream import (
    BitstreamError,
    InBandSets,
    brings_sequence_header,
    fingerprint,
    in_band_prefix,
    parameter_sets,
    refreshes_gradually,
)

SPS, PPS, SEI = b"\x67\x64\x00\x28\xac", b"\x68\xeb\xe3", b"\x06\x05\x10text"
AVCC = b"\x01\x64\x00\x28\xff\xe1\x00\x05" + SPS + b"\x01\x00\x03" + PPS
ANNEX_B = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + PPS + b"\x00\x00\x01" + SEI
VPS, HSPS, HPPS, HSEI = b"\x40\x01v", b"\x42\x01s", b"\x44\x01p", b"\x4e\x01seitext"


def _hvcc(sei: bytes) -> bytes:
    arrays = b""
    for kind, unit in ((32, VPS), (33, HSPS), (34, HPPS), (39, sei)):
        arrays += bytes([kind, 0, 1]) + len(unit).to_bytes(2, "big") + unit
    return b"\x01" + bytes(20) + b"\x03\x04" + arrays


def test_both_layouts_of_h264_give_the_same_sets() -> None:
    assert parameter_sets("h264", AVCC) == [SPS, PPS]
    assert parameter_sets("h264", ANNEX_B) == [SPS, PPS]
    assert fingerprint("h264", AVCC) == fingerprint("h264", ANNEX_B)


def test_messages_in_a_header_do_not_count() -> None:
    assert parameter_sets("hevc", _hvcc(HSEI)) == [VPS, HSPS, HPPS]
    assert fingerprint("hevc", _hvcc(HSEI)) == fingerprint("hevc", _hvcc(b"\x4e\x01other"))


def test_other_sets_have_another_fingerprint() -> None:
    assert fingerprint("h264", AVCC) != fingerprint("h264", AVCC.replace(PPS, b"\x68\xeb\xe4"))


def test_sets_are_put_before_samples_with_their_length() -> None:
    assert in_band_prefix("h264", AVCC) == b"\0\0\0\x05" + SPS + b"\0\0\0\x03" + PPS
    assert in_band_prefix("hevc", _hvcc(HSEI)).startswith(b"\0\0\0\x03" + VPS)
    assert in_band_prefix("vp9", b"") == b""
    with pytest.raises(BitstreamError):
        in_band_prefix("h264", ANNEX_B)


def _sample(*units: bytes) -> memoryview:
    return memoryview(b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))


def test_sets_that_the_header_has_are_not_brought_by_samples() -> None:
    slice_ = b"\x65slice"
    assert InBandSets("h264", AVCC).brought_by(_sample(SPS, PPS, slice_)) == ()
    assert InBandSets("h264", AVCC).brought_by(_sample(SPS + b"\0", PPS)) == ()
    assert InBandSets("hevc", _hvcc(HSEI)).brought_by(_sample(VPS, HSPS, HPPS, HSEI)) == ()


def test_other_sets_are_brought_by_samples_and_change_the_fingerprint() -> None:
    other = b"\x68\xeb\xe4"
    found = InBandSets("h264", AVCC).brought_by(_sample(SPS, other, b"\x65slice"))
    assert found == (other,)
    assert fingerprint("h264", AVCC, found) != fingerprint("h264", AVCC)
    raw = memoryview(b"\0\0\1" + other + b"\0\0\1" + b"\x65slice")
    assert InBandSets("h264", ANNEX_B).brought_by(raw) == (other,)


def test_keyframes_of_av1_and_vp9_rule_only_themselves() -> None:
    for codec in ("av1", "vp9", "ffv1"):
        assert InBandSets(codec, b"\x81\x00").brought_by(memoryview(b"\x0a\x03abc")) == ()


def test_av1_sequence_header_is_found_in_record_and_sample() -> None:
    header, frame = b"\x0a\x03abc", b"\x32\x02xy"
    assert parameter_sets("av1", b"\x81\x00\x0c\x00" + header) == [b"abc"]
    assert brings_sequence_header(b"\x12\x00" + header + frame)
    assert not brings_sequence_header(b"\x12\x00" + frame)


def test_vp9_has_none_and_others_compare_whole() -> None:
    assert fingerprint("vp9", b"anything") == fingerprint("vp9", b"")
    assert fingerprint("ffv1", b"a") != fingerprint("ffv1", b"b")


def test_only_predicted_keyframes_refresh_gradually() -> None:
    # First slice: first_mb_in_slice 0 ("1"), then slice_type 5 (P) or 7 (I).
    predicted, whole, instant = b"\x41\x9a\x00", b"\x41\x88\x80", b"\x65\x88\x80"
    for sample, gradual in ((predicted, True), (whole, False), (instant, False)):
        assert refreshes_gradually(b"\0\0\0\x01" + sample, b"") is gradual
        prefixed = len(sample).to_bytes(4, "big") + sample
        assert refreshes_gradually(prefixed, AVCC) is gradual


@given(st.sampled_from(["h264", "hevc", "av1"]), st.binary(max_size=60))
def test_hostile_headers_are_refused_or_read(codec: str, data: bytes) -> None:
    for text in (data, b"\x01" + data, b"\x81" + data):
        try:
            fingerprint(codec, text)
        except BitstreamError:
            continue
