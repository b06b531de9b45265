"""Add a frame rate to a Matroska header. Pure; knows just enough EBML for that (RFC 8794, 9559).

Every piece must declare the same rate: from their times alone each would seem to have another,
and encoders would write that into their headers.
"""

from __future__ import annotations

_SEGMENT = 0x18538067
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_DEFAULT_DURATION = 0x23E383
_EBML_HEADER = 0x1A45DFA3


class _Element:
    """One element's place: where its size field, its content and its end are."""

    def __init__(self, data: bytes, start: int) -> None:
        self.start = start
        id_length = 9 - data[start].bit_length()
        self.id = int.from_bytes(data[start : start + id_length], "big")
        self.size_at = start + id_length
        self.size_length = 9 - data[self.size_at].bit_length()
        self.content = self.size_at + self.size_length
        field = int.from_bytes(data[self.size_at : self.content], "big")
        mask = (1 << 7 * self.size_length) - 1
        self.is_open = field & mask == mask
        self.end = len(data) if self.is_open else self.content + (field & mask)


def _find(data: bytes, start: int, end: int, wanted: int) -> _Element | None:
    while start < end:
        element = _Element(data, start)
        if element.id == wanted:
            return element
        start = element.end
    return None


def with_default_duration(header: bytes, duration_ns: int) -> bytes:
    """Declare in a muxer's Matroska header that each frame of track 1 lasts `duration_ns`.

    What the header declares already is replaced; one that is not understood is given back as it is.
    """
    path: list[_Element] = []
    start, end = 0, len(header)
    for wanted in (_SEGMENT, _TRACKS, _TRACK_ENTRY):
        element = _find(header, start, end, wanted)
        if element is None:
            return header
        path.append(element)
        start, end = element.content, min(element.end, len(header))
    declared = _DEFAULT_DURATION.to_bytes(3, "big") + b"\x88" + duration_ns.to_bytes(8, "big")
    present = _find(header, start, end, _DEFAULT_DURATION)
    cut = (present.start, present.end) if present else (end, end)
    return _with(header, path, declared, *cut)


def _with(header: bytes, path: list[_Element], new: bytes, start: int, end: int) -> bytes:
    """Put `new` in the place of bytes `start` to `end` and let all elements around it grow."""
    data = header[:start] + new + header[end:]
    growth = len(new) - (end - start)
    for element in reversed(path):
        if element.is_open:
            continue
        size = element.end - element.content + growth
        # A size field of eight bytes holds any size, so its own length changes just once.
        field = (1 << 56 | size).to_bytes(8, "big")
        data = data[: element.size_at] + field + data[element.content :]
        growth += len(field) - element.size_length
    return data
