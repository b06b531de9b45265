"""The media index on disk: one entry per video packet, and the order in which frames are shown.

Written once by the process that demuxes the source, read through a memory map by all others, so
that no process holds more of a long film than it looks at. Standard library only.

Format, version 1, little endian:

    8 bytes   magic `FFCINDEX`
    u32       version
    u32       length of the header in bytes
    header    JSON object: `packets`, `frames`, and what the source holds (see `facts`)
    padding   to a multiple of 8
    i64[packets]  pts     presentation time in ticks; NO_TIME where unknown
    i64[packets]  dts     decoding time in ticks; NO_TIME where unknown
    i64[packets]  pos     byte position in the file; -1 where unknown
    i64[frames]   order   number of the packet that holds the k-th presented frame
    i64[frames]   shown   presentation time of the k-th presented frame, strictly ascending
    i32[packets]  size    bytes
    u8[packets]   flags   KEY, FRAME (its packet holds a presented frame)
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

MAGIC = b"FFCINDEX"
VERSION = 1
NO_TIME = -(2**63)
KEY = 1
FRAME = 2
_PREFIX = struct.Struct("<8sII")
_LARGEST_HEADER_BYTES = 64 * 1024 * 1024


class IndexFormatError(Exception):
    """The file is not an index of this version, or was cut off."""


class IndexTables:
    """The columns of an index while it is made.

    Attributes:
        pts: Presentation times in decode order, in ticks.
        dts: Decoding times.
        pos: Byte positions.
        size: Sizes in bytes.
        flags: KEY and FRAME.
        order: Packet numbers in presentation order.
        shown: Presentation times in presentation order.
    """

    def __init__(self) -> None:
        self.pts = array("q")
        self.dts = array("q")
        self.pos = array("q")
        self.size = array("i")
        self.flags = array("B")
        self.order = array("q")
        self.shown = array("q")

    def drop_last(self) -> None:
        """Forget the last packet."""
        for column in (self.pts, self.dts, self.pos, self.size, self.flags):
            column.pop()

    def write(self, path: Path, header: dict[str, Any]) -> None:
        """Write all columns and `header` to `path`, which appears complete or not at all."""
        counts = {"packets": len(self.pts), "frames": len(self.shown)}
        text = json.dumps(header | counts).encode()
        temporary = path.with_name(path.name + ".part")
        columns = (self.pts, self.dts, self.pos, self.order, self.shown, self.size, self.flags)
        with temporary.open("wb") as file:
            file.write(_PREFIX.pack(MAGIC, VERSION, len(text)))
            file.write(text)
            file.write(bytes(-file.tell() % 8))
            for column in columns:
                file.write(column)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


class MediaIndex:
    """An index file, open for reading.

    Attributes:
        header: What the source holds.
        packets: Number of video packets.
        frames: Number of presented frames.
        pts, dts, pos, size, flags, order, shown: Columns, see the module.
    """

    pts: memoryview[int]
    dts: memoryview[int]
    pos: memoryview[int]
    order: memoryview[int]
    shown: memoryview[int]
    size: memoryview[int]
    flags: memoryview[int]

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._views: list[memoryview[Any]] = []
        try:
            self._read()
        except (struct.error, ValueError, KeyError, TypeError) as cause:
            self.close()
            raise IndexFormatError(f"{path.name} is not an index of version {VERSION}") from cause

    def _read(self) -> None:
        magic, version, length = _PREFIX.unpack_from(self._map)
        if magic != MAGIC or version != VERSION or length > _LARGEST_HEADER_BYTES:
            raise ValueError("wrong magic or version")
        self.header: dict[str, Any] = json.loads(self._map[_PREFIX.size : _PREFIX.size + length])
        self.packets = int(self.header["packets"])
        self.frames = int(self.header["frames"])
        offset = _PREFIX.size + length
        offset += -offset % 8
        columns: list[tuple[str, Literal["q", "i", "B"], int]] = [
            ("pts", "q", self.packets),
            ("dts", "q", self.packets),
            ("pos", "q", self.packets),
            ("order", "q", self.frames),
            ("shown", "q", self.frames),
            ("size", "i", self.packets),
            ("flags", "B", self.packets),
        ]
        for name, kind, count in columns:
            length = count * struct.calcsize(kind)
            if offset + length > len(self._map):
                raise ValueError("cut off")
            view = memoryview(self._map)[offset : offset + length].cast(kind)
            self._views.append(view)
            setattr(self, name, view)
            offset += length

    def close(self) -> None:
        """Let go of the file."""
        for view in self._views:
            view.release()
        self._views.clear()
        self._map.close()

    @property
    def end_ticks(self) -> int:
        """Presentation time at which the last frame ends."""
        return int(self.header["end_pts_ticks"])

    def start_packet(self, first: int, stop: int, keyframes: int | None) -> int:
        """Packet at which decoding must start to get frames [first, stop).

        Args:
            first: First frame.
            stop: Frame after the last.
            keyframes: How many keyframes to go back (1 is nearly always enough); None goes to
                the start of the file.
        """
        if keyframes is None:
            return 0
        keyframes += bool(self.header["gradual"])
        lowest = min(self.order[first:stop])
        wanted = self.shown[first]
        for packet in range(lowest, -1, -1):
            if self.flags[packet] & KEY and self.pts[packet] <= wanted:
                keyframes -= 1
                if keyframes == 0:
                    return packet
        return 0

    def last_packet(self, first: int, stop: int) -> int:
        """Last packet that frames [first, stop) need, with those after it that hold no frame."""
        last = max(self.order[first:stop])
        while last + 1 < self.packets and self._holds_nothing(last + 1):
            last += 1
        return last

    def _holds_nothing(self, packet: int) -> bool:
        """Whether the packet only serves others; not so what lies before the film's first frame."""
        time = self.pts[packet]
        return not self.flags[packet] & FRAME and (time == NO_TIME or time >= self.shown[0])


def presentation_order(pts: Sequence[int], flags: Iterable[int]) -> array[int]:
    """Numbers of the packets that hold a frame, in the order in which they are shown."""
    held = [n for n, flag in enumerate(flags) if flag & FRAME]
    held.sort(key=pts.__getitem__)
    return array("q", held)
