"""Look at a file's outer structure: is it a video at all, and is it whole? Reads a few bytes.

ffmpeg opens a truncated file without complaint and exits with 0. The outer structure of the
common containers says where the file should end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<smil", b"<asx", b"[Reference]")
_PRINTABLE = frozenset(range(32, 127)) | {9, 10, 12, 13}
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT_ID = 0x18538067
_TS_SYNC = 0x47
_MAX_BOXES = 200_000
_BOX_NAMES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"})


def describe_foreign(path: Path) -> str:
    """Say what a file that ffmpeg does not open is instead, or ""."""
    with path.open("rb") as file:
        head = file.read(4096)
    stripped = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if stripped.startswith(_PLAYLISTS):
        return "a playlist or another list of files, not a video"
    if head and all(byte in _PRINTABLE or byte >= 128 for byte in head) and b"\n" in head:
        return "a text file, not a video"
    return ""


def missing_part(path: Path) -> str:
    """Say what is missing from the file's outer structure, or "" when it ends where it should."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[4:8] in _BOX_NAMES:
            return _missing_box(file, size)
        if head.startswith(_EBML):
            return _missing_matroska(file, size)
        if head[:4] == b"RIFF":
            declared = int.from_bytes(head[4:8], "little") + 8
            return _shortfall(declared, size) if head[8:12] == b"AVI " else ""
        return _missing_transport(file, size)


def _shortfall(declared: int, size: int) -> str:
    if declared <= size:
        return ""
    return f"the file ends {declared - size} bytes before its header says"


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk ISO base media boxes: (type, start of the content, declared end)."""
    position = start
    for _ in range(_MAX_BOXES):
        if position + 8 > end:
            return
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        content = position + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), position + 16
        elif length == 0:
            length = end - position
        if length < content - position:
            return
        yield kind, content, position + length
        position += length


def _missing_box(file: BinaryIO, size: int) -> str:
    has_index = False
    for kind, _, end in boxes(file, 0, size):
        if end > size:
            note = "" if has_index or kind == b"moov" else " and its index (moov) is missing"
            return _shortfall(end, size) + note
        has_index = has_index or kind in (b"moov", b"moof")
    return "" if has_index else "its index (moov) is missing"


def has_movie_index(path: Path) -> bool:
    """Whether an mp4 or mov file still has its index, without which nothing can be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:8] not in _BOX_NAMES:
            return True
        return any(kind == b"moov" and end <= size for kind, _, end in boxes(file, 0, size))


def _vint(file: BinaryIO, *, keep_marker: bool) -> tuple[int, int] | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = first[0] if keep_marker else first[0] & (0xFF >> length)
    rest = file.read(length - 1)
    for byte in rest:
        value = value << 8 | byte
    return value, length


def _missing_matroska(file: BinaryIO, size: int) -> str:
    file.seek(4)
    header = _vint(file, keep_marker=False)
    if header is None:
        return ""
    file.seek(header[0], os.SEEK_CUR)
    element = _vint(file, keep_marker=True)
    length = _vint(file, keep_marker=False)
    if element is None or length is None or element[0] != _SEGMENT_ID:
        return ""
    if length[0] == (1 << 7 * length[1]) - 1:
        return ""
    return _shortfall(file.tell() + length[0], size)


def _missing_transport(file: BinaryIO, size: int) -> str:
    file.seek(0)
    head = file.read(204 * 4)
    for packet, lead in ((188, 0), (192, 4), (204, 0)):
        places = range(lead, len(head), packet)
        if len(head) > packet and all(head[place] == _TS_SYNC for place in places):
            rest = size % packet
            return f"its last transport packet has {rest} of {packet} bytes" if rest else ""
    return ""
