"""Put an mp4's index before its data, as `-movflags +faststart` does. Changes nothing else.

The boxes are those of ISO/IEC 14496-12: `moov` holds, below `trak`, tables of the places of data in
the file (`stco` with 32 bits a place, `co64` with 64), which grow by what is put before the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ffcluster.errors import JoinFailed

_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_LARGEST_INDEX = 512 * 1024 * 1024
_MOST_BOXES = 10_000
_COPY_BYTES = 1024 * 1024
_LIMIT = 1 << 32


def put_index_first(source: Path, target: Path) -> bool:
    """Write `source` to `target` with its index before its data.

    Returns:
        False, with nothing written, when it is there already.

    Raises:
        JoinFailed: `source` is no plain mp4 or mov file.
        OSError: It cannot be read, or `target` cannot be written.
    """
    with source.open("rb") as file:
        boxes = list(_boxes(file, source.stat().st_size))
        kinds = [kind for kind, _, _ in boxes]
        if kinds.count(b"moov") != 1 or kinds[0] != b"ftyp" or b"moof" in kinds:
            raise _unusual("it has no index of the usual kind")
        if b"mdat" not in kinds or kinds.index(b"moov") < kinds.index(b"mdat"):
            return False
        _, start, size = boxes[kinds.index(b"moov")]
        if size > _LARGEST_INDEX:
            raise _unusual("its index is too large")
        file.seek(start)
        index = _moved(file.read(size), source.stat().st_size)
        with target.open("wb") as out:
            begin = boxes[0][2]
            _copy(file, out, 0, begin)
            out.write(index)
            _copy(file, out, begin, start - begin)
            _copy(file, out, start + size, source.stat().st_size - start - size)
    return True


def _unusual(why: str) -> JoinFailed:
    return JoinFailed(message=f"The file's index cannot be put first: {why}.")


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, size) of each box of the file."""
    position = 0
    for _ in range(_MOST_BOXES):
        if position >= length:
            return
        file.seek(position)
        kind, _, size = _head(file.read(16), length - position)
        yield kind, position, size
        position += size
    raise _unusual("it has too many boxes")


def _head(data: bytes, room: int) -> tuple[bytes, int, int]:
    """(kind, length of the head, size) of the box that begins with `data`."""
    if len(data) < 8:
        raise _unusual("it is cut off")
    size, kind = struct.unpack_from(">I4s", data)
    head = 8
    if size == 1 and len(data) >= 16:
        (size,) = struct.unpack_from(">Q", data, 8)
        head = 16
    elif size == 0:
        size = room
    if not head <= size <= room:
        raise _unusual("its boxes do not fit")
    return kind, head, size


def _moved(index: bytes, length: int) -> bytes:
    """The index, its places moved by its own new size."""
    # Whether wide places are needed depends on the size, which depends on them: decide for safety.
    wide = length + 2 * len(index) >= _LIMIT
    size = len(_rebuilt(index, 0, wide=wide))
    return _rebuilt(index, size, wide=wide)


def _rebuilt(box: bytes, shift: int, *, wide: bool) -> bytes:
    """One box with all places below it moved by `shift`."""
    kind, head, size = _head(box, len(box))
    body = box[head:size]
    if kind in _PARENTS:
        parts = []
        while body:
            _, _, inner = _head(body, len(body))
            parts.append(_rebuilt(body[:inner], shift, wide=wide))
            body = body[inner:]
        body = b"".join(parts)
    elif kind in (b"stco", b"co64"):
        kind, body = _places(kind, body, shift, wide=wide)
    else:
        return box
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _places(kind: bytes, body: bytes, shift: int, *, wide: bool) -> tuple[bytes, bytes]:
    letter, width = ("I", 4) if kind == b"stco" else ("Q", 8)
    (count,) = struct.unpack_from(">I", body, 4) if len(body) >= 8 else (-1,)
    if len(body) != 8 + count * width:
        raise _unusual("a table has the wrong size")
    places = [place + shift for place in struct.unpack_from(f">{count}{letter}", body, 8)]
    if wide:
        kind, letter = b"co64", "Q"
    return kind, body[:8] + struct.pack(f">{count}{letter}", *places)


def _copy(file: BinaryIO, out: BinaryIO, start: int, length: int) -> None:
    file.seek(start)
    while length > 0:
        block = file.read(min(length, _COPY_BYTES))
        if not block:
            raise _unusual("it is cut off")
        out.write(block)
        length -= len(block)
