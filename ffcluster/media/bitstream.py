"""Parameter sets of H.264, HEVC and AV1 as containers store them. Pure; decodes no picture.

Formats: avcC is ISO/IEC 14496-15, 5.3.3.1; hvcC is 8.3.3.1 of the same; av1C is "AV1 Codec ISO
Media File Format Binding", 2.3. Without such a record the data is Annex B.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

# NAL unit types of parameter sets: SPS, PPS, SPS extension, subset SPS; and VPS, SPS, PPS.
_H264_SETS = frozenset({7, 8, 13, 15})
_HEVC_SETS = frozenset({32, 33, 34})
_AV1_SEQUENCE_HEADER = 1
_H264_SLICE, _H264_IDR, _H264_I_SLICE = 1, 5, 2


class BitstreamError(Exception):
    """Parameter sets are not laid out as the format says."""


def _sized(data: bytes, position: int) -> tuple[bytes, int]:
    length = int.from_bytes(data[position : position + 2], "big")
    end = position + 2 + length
    if end > len(data):
        raise BitstreamError("a parameter set is cut off")
    return data[position + 2 : end], end


def _annex_b(data: bytes) -> Iterator[bytes]:
    for part in data.split(b"\x00\x00\x01")[1:]:
        unit = part.rstrip(b"\x00")
        if unit:
            yield unit


def _from_avcc(data: bytes) -> list[bytes]:
    units: list[bytes] = []
    if len(data) < 7:
        raise BitstreamError("avcC is too short")
    position, count = 6, data[5] & 0x1F
    for _ in range(count):
        unit, position = _sized(data, position)
        units.append(unit)
    if position >= len(data):
        raise BitstreamError("avcC has no picture parameter sets")
    count, position = data[position], position + 1
    for _ in range(count):
        unit, position = _sized(data, position)
        units.append(unit)
    return units


def _from_hvcc(data: bytes) -> list[bytes]:
    if len(data) < 23:
        raise BitstreamError("hvcC is too short")
    units: list[bytes] = []
    position = 23
    for _ in range(data[22]):
        if position + 3 > len(data):
            raise BitstreamError("hvcC is cut off")
        kind = data[position] & 0x3F
        count = int.from_bytes(data[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            unit, position = _sized(data, position)
            if kind in _HEVC_SETS:
                units.append(unit)
    return units


def parameter_sets(codec: str, extradata: bytes) -> list[bytes]:
    """The parameter-set NAL units in a codec's extradata, in order, other units left out.

    Raises:
        BitstreamError: It is not laid out as the format says.
    """
    if codec == "h264":
        if extradata[:1] == b"\x01":
            return _from_avcc(extradata)
        return [u for u in _annex_b(extradata) if u[0] & 0x1F in _H264_SETS]
    if codec == "hevc":
        if extradata[:1] == b"\x01":
            return _from_hvcc(extradata)
        return [u for u in _annex_b(extradata) if u[0] >> 1 & 0x3F in _HEVC_SETS]
    if codec == "av1":
        body = extradata[4:] if extradata[:1] == b"\x81" else extradata
        return [payload for kind, payload in av1_units(body) if kind == _AV1_SEQUENCE_HEADER]
    if codec == "vp9":
        return []
    return [extradata] if extradata else []


def fingerprint(codec: str, extradata: bytes, brought: Sequence[bytes] = ()) -> str:
    """SHA-256 (hex) over the parameter sets; equal ones may be joined under one header.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The header.
        brought: Sets that every keyframe brings and the header does not have.
    """
    digest = hashlib.sha256(codec.encode())
    for unit in (*parameter_sets(codec, extradata), *brought):
        digest.update(len(unit).to_bytes(4, "big") + unit)
    return digest.hexdigest()


class InBandSets:
    """Finds parameter sets that a stream's samples bring although its header has others.

    Such a set rules until the next one comes, in whatever segment that is.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec = codec
        watched = codec in ("h264", "hevc")
        known = parameter_sets(codec, extradata) if watched else []
        self._known = frozenset(unit.rstrip(b"\x00") for unit in known)
        self._extradata = extradata
        self._watched = watched

    def brought_by(self, sample: memoryview) -> tuple[bytes, ...]:
        """The sets in `sample` that are not in the header."""
        if not self._watched:
            return ()
        units = nal_units(self._codec, self._extradata, sample)
        found = (bytes(unit).rstrip(b"\x00") for unit in units if unit and self._is_set(unit[0]))
        return tuple(unit for unit in found if unit not in self._known)

    def _is_set(self, header: int) -> bool:
        if self._codec == "h264":
            return header & 0x1F in _H264_SETS
        return header >> 1 & 0x3F in _HEVC_SETS


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * n
        if not byte & 0x80:
            return value, position
    raise BitstreamError("an AV1 size is cut off")


def av1_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The open bitstream units in `data`: (type, payload)."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1
        if header & 2:
            size, position = _leb128(data, position)
        else:
            size = len(data) - position
        if position + size > len(data):
            raise BitstreamError("an AV1 unit is cut off")
        yield header >> 3 & 15, data[position : position + size]
        position += size


def in_band_prefix(codec: str, extradata: bytes) -> bytes:
    """What to put before a keyframe so that it brings its own parameter sets.

    Units are length-prefixed with as many bytes as the record says that the samples use. Empty
    for codecs whose keyframes bring everything themselves.

    Raises:
        BitstreamError: The record is broken or is no record.
    """
    if codec not in ("h264", "hevc"):
        return b""
    if extradata[:1] != b"\x01":
        raise BitstreamError("there is no configuration record")
    length_bytes = (extradata[4] if codec == "h264" else extradata[21]) & 3
    return b"".join(
        len(unit).to_bytes(length_bytes + 1, "big") + unit
        for unit in parameter_sets(codec, extradata)
    )


def brings_sequence_header(sample: bytes) -> bool:
    """Whether an AV1 keyframe's sample has its own sequence header."""
    return any(kind == _AV1_SEQUENCE_HEADER for kind, _ in av1_units(sample))


def refreshes_gradually(sample: bytes, extradata: bytes) -> bool:
    """Whether an H.264 sample that is flagged as a keyframe is only a place to recover from.

    With intra refresh such pictures are predicted from others (slice types, 7.4.3): decoding
    that starts there is right only some pictures later.
    """
    if extradata[:1] == b"\x01" and len(extradata) > 4:
        units = _length_prefixed(sample, (extradata[4] & 3) + 1)
    else:
        units = _annex_b(sample)
    for unit in units:
        kind = unit[0] & 0x1F
        if kind == _H264_IDR:
            return False
        if kind == _H264_SLICE:
            bits = _Bits(unit[1:17])
            bits.exp_golomb()
            return bits.exp_golomb() % 5 != _H264_I_SLICE
    return False


def nal_units(codec: str, extradata: bytes, sample: memoryview) -> Iterator[memoryview]:
    """The NAL units of an H.264 or HEVC sample, laid out as its stream's header says."""
    place = 4 if codec == "h264" else 21
    if extradata[:1] == b"\x01" and len(extradata) > place:
        return _length_prefixed(sample, (extradata[place] & 3) + 1)
    return (memoryview(unit) for unit in _annex_b(bytes(sample)))


_Sample = TypeVar("_Sample", bytes, memoryview)


def _length_prefixed(sample: _Sample, length_bytes: int) -> Iterator[_Sample]:
    position = 0
    while position + length_bytes < len(sample):
        start = position + length_bytes
        position = start + int.from_bytes(sample[position:start], "big")
        yield sample[start:position]


class _Bits:
    """Bits of a NAL unit's first bytes."""

    def __init__(self, data: bytes) -> None:
        raw = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = "".join(f"{byte:08b}" for byte in raw)
        self._position = 0

    def exp_golomb(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        one = self._bits.find("1", self._position)
        if one < 0:
            return 0
        end = one + (one - self._position) + 1
        value = int(self._bits[one:end], 2) - 1
        self._position = end
        return value
