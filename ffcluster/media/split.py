"""Cut one segment's packets out of a source. Runs in helper processes only; decodes nothing.

Packets are read from a place before the first one that is needed and compared one by one with
the index, so that what lands in a piece is known and not assumed from a seek.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ffcluster.media import ebml
from ffcluster.media.index import NO_TIME, MediaIndex
from ffcluster.media.limits import RAW_FORMATS
from ffcluster.media.opening import HelperError, only, open_input
from ffcluster.media.timing import decode_time, ranks, reorder_delay, to_seconds

_BUFFER_BYTES = 1024 * 1024
# Packets between the place found by a seek and the one that is wanted; more are read only
# where no nearer place is found.
_SEEK_STEPS_S = (0, 2, 10, 60)
# Two frames within this time could fall into one of Matroska's milliseconds.
_SAFE_GAP_S = Fraction(2, 1000)
# Codecs that Matroska holds by their own name; others would go in as Video for Windows, which
# keeps decoding times only.
_MATROSKA_CODECS = frozenset({
    "h264", "hevc", "vvc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "ffv1",
    "prores", "mjpeg", "theora", "msmpeg4v3", "rawvideo", "dirac",
})  # fmt: skip

_SEARCHED_PACKETS = 64
_LONGEST_STRETCH = 5000

_Outcome = TypeVar("_Outcome")


class _NotThePacketError(Exception):
    """A packet is not the one that the index has in this place."""


class _Sink:
    """A file that is written once, from the front, with its size and SHA-256 at the end."""

    def __init__(self, path: Path, frame_ns: int) -> None:
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._header: bytes | None = b"" if frame_ns else None
        self._frame_ns = frame_ns
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        if self._header is not None:
            self._header += bytes(data)
        else:
            self._put(data)
        return len(data)

    def end_header(self) -> None:
        """All that was written so far is the Matroska header."""
        if self._header is not None:
            header, self._header = self._header, None
            self._put(ebml.with_default_duration(header, self._frame_ns))

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    def close(self) -> str:
        self.end_header()
        self._file.close()
        return self._sha256.hexdigest()


class Cutter:
    """Cuts pieces out of one source, which stays open between calls."""

    def __init__(self, source: Path, index_path: Path) -> None:
        self._source = source
        self._index = MediaIndex(index_path)
        self._container: InputContainer | None = None
        header = self._index.header
        self._base = Fraction(*header["video"]["time_base"])
        self._stream_index = int(header["facts"]["video_index"])
        self._is_raw = header["facts"]["format"] in RAW_FORMATS

    def cut(
        self, first: int, stop: int, keyframes: int | None, context: int, target: Path
    ) -> dict[str, Any]:
        """Write the packets that frames [first, stop) need to `target`.

        Args:
            first: First frame of the segment.
            stop: Frame after its last.
            keyframes: Keyframes to go back; None starts at the file's first packet.
            context: Further frames on either side that filters must see.
            target: File to write.

        Returns:
            `Piece` as plain data.
        """
        index = self._index
        if not 0 <= first < stop <= index.frames:
            raise HelperError("internal", f"there are no frames [{first}, {stop})")
        wide_first, wide_stop = max(0, first - context), min(index.frames, stop + context)
        start = index.start_packet(wide_first, wide_stop, keyframes)
        last = index.last_packet(wide_first, wide_stop)
        plan = PiecePlan(index, self._base, start, last)
        try:
            size, digest = self.read(
                start, last, lambda video, packets: self._write(video, packets, plan, target)
            )
        except (av.error.FFmpegError, OSError) as cause:
            self._container = None
            raise _cut_failed(self._source, cause) from cause
        low, high = plan.bounds(first, stop)
        return {
            "size_bytes": size,
            "sha256": digest,
            "trim_start_s": low,
            "trim_end_s": high,
            "packets": last - start + 1,
        }

    def _open(self) -> tuple[InputContainer, VideoStream]:
        if self._container is None:
            self._container = open_input(self._source)
            only(self._container, self._container.streams[self._stream_index])
        video = self._container.streams[self._stream_index]
        if not isinstance(video, VideoStream):
            raise HelperError("source_damaged", f"{self._source.name} has changed meanwhile")
        return self._container, video

    def read(
        self,
        start: int,
        last: int,
        use: Callable[[VideoStream, Iterator[Packet[VideoStream]]], _Outcome],
    ) -> _Outcome:
        """Give packets `start` to `last` to `use`, read from the nearest place a seek finds.

        Args:
            start: First packet.
            last: Last packet.
            use: Is called again, from the start, when the packets were not those of the index.

        Returns:
            What `use` gave when all packets were right.

        Raises:
            HelperError: `source_damaged`, when the source is not what it was.
            av.error.FFmpegError: Reading fails.
        """
        if start and not self._is_raw:
            for back_s in _SEEK_STEPS_S:
                try:
                    _, video = self._open()
                    return use(video, self._after_seek(start, last, back_s))
                except _NotThePacketError:
                    continue
                except av.error.FFmpegError:
                    self._container = None
        self._container = None
        container, video = self._open()
        try:
            return use(video, self._proven(container.demux(video), 0, start, last))
        except _NotThePacketError as cause:
            raise HelperError(
                "source_damaged",
                f"{self._source.name} does not hold the packets that were found in it before",
                "Was it changed in the meantime?",
            ) from cause

    def _after_seek(self, start: int, last: int, back_s: int) -> Iterator[Packet[VideoStream]]:
        container, video = self._open()
        times = [t for t in (self._index.pts[start], self._index.dts[start]) if t != NO_TIME]
        container.seek(min(times, default=0) - int(back_s / self._base), stream=video)
        packets = container.demux(video)
        # The first packets after a seek may be cut or lack their times, so look for a known one.
        for packet in itertools.islice(packets, _SEARCHED_PACKETS):
            landed = self._number(packet, start)
            if landed is not None:
                yield from self._proven(itertools.chain([packet], packets), landed, start, last)
                return
        raise _NotThePacketError

    def _number(self, packet: Packet[VideoStream], start: int) -> int | None:
        """Number of the packet that a seek landed on, unless it lies after `start`."""
        place = packet.pos
        if place is None or place < 0 or not packet.size:
            return None
        index = self._index
        for number in range(start, max(-1, start - _LONGEST_STRETCH), -1):
            if index.pos[number] == place and index.size[number] == packet.size:
                return number
        return None

    def _proven(
        self, packets: Iterable[Packet[VideoStream]], number: int, start: int, last: int
    ) -> Iterator[Packet[VideoStream]]:
        """Read on from packet `number`; give `start` to `last`, each compared with the index."""
        index = self._index
        for packet in packets:
            if not packet.size:
                continue
            place = -1 if packet.pos is None else packet.pos
            if packet.size != index.size[number] or place != index.pos[number]:
                raise _NotThePacketError
            if number >= start:
                yield packet
            if number == last:
                return
            number += 1
        raise _NotThePacketError

    def _write(
        self,
        video: VideoStream,
        packets: Iterable[Packet[VideoStream]],
        plan: PiecePlan,
        target: Path,
    ) -> tuple[int, str]:
        header = self._index.header["video"]
        matroska = header["codec"] in _MATROSKA_CODECS
        rate = Fraction(*header["frame_rate"])
        sink = _Sink(target, round(1_000_000_000 / rate) if matroska and rate else 0)
        try:
            output = av.open(
                sink,
                "w",
                format="matroska" if matroska else "nut",
                container_options={"avoid_negative_ts": "disabled", "fflags": "+bitexact"},
                buffer_size=_BUFFER_BYTES,
            )
            _mux(output, video, packets, plan, sink)
        finally:
            digest = sink.close()
        return sink.size_bytes, digest


def _mux(
    output: OutputContainer,
    video: VideoStream,
    packets: Iterable[Packet[VideoStream]],
    plan: PiecePlan,
    sink: _Sink,
) -> None:
    with output:
        stream = output.add_stream_from_template(video, opaque=True)
        stream.time_base = plan.time_base
        output.start_encoding()
        sink.end_header()
        for packet, (pts, dts) in zip(packets, plan.times(), strict=True):
            packet.stream = stream
            packet.time_base = plan.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, 0
            output.mux_one(packet)


class PiecePlan:
    """Times inside one piece: the source's, less a base that leaves none negative.

    Matroska rounds to milliseconds. Where frames lie closer than that allows, the piece gets an
    even rhythm of its own instead: what a frame's time is, is decided by the index, not by it.

    Attributes:
        time_base: Seconds per tick of the piece's times.
        origin: The time that is 0 in the piece.
    """

    def __init__(self, index: MediaIndex, base: Fraction, start: int, last: int) -> None:
        self._index = index
        self._start = start
        stamps = _filled([index.pts[n] for n in range(start, last + 1)])
        rank = ranks(stamps)
        step = int(index.header["step"])
        self._delay = reorder_delay(rank)
        self._rank = rank
        shown = sorted(stamps)
        self._real = shown
        gaps = map(operator.sub, shown[1:], shown)
        self._even = min(gaps, default=step) * base < _SAFE_GAP_S
        self.time_base = base
        if self._even:
            rate = Fraction(*index.header["video"]["frame_rate"]) or Fraction(25)
            self.time_base = Fraction(1, 1000)
            step = max(4, round(1000 / rate))
            shown = [k * step for k in range(len(shown))]
        self._step = step
        self.origin = decode_time(shown, 0, self._delay, step)
        self._shown = shown

    def times(self) -> Iterator[tuple[int, int]]:
        """(pts, dts) of each packet in decode order."""
        for position, rank in enumerate(self._rank):
            dts = decode_time(self._shown, position, self._delay, self._step)
            yield self._shown[rank] - self.origin, dts - self.origin

    def bounds(self, first: int, stop: int) -> tuple[str | None, str | None]:
        """Where to trim, half-way between frames; None where the piece itself ends there."""
        index = self._index
        low = high = None
        position = self._place(index.shown[first])
        if position > 0:
            low = self._between(position)
        if stop < index.frames:
            position = self._place(index.shown[stop - 1]) + 1
            high = self._between(position)
        return low, high

    def _place(self, time: int) -> int:
        return self._real.index(time)

    def _between(self, position: int) -> str:
        """Half-way between the piece's frames `position - 1` and `position`, in seconds."""
        before = self._shown[position - 1]
        after = self._shown[position] if position < len(self._shown) else before + self._step
        middle = Fraction(before + after, 2) - self.origin
        return to_seconds(middle, self.time_base)


def _filled(stamps: list[int]) -> list[int]:
    """Give packets without a time, which hold no frame, one of their own near the one before."""
    taken = {t for t in stamps if t != NO_TIME}
    previous = min(taken, default=0)
    for position, time in enumerate(stamps):
        if time == NO_TIME:
            while previous in taken:
                previous += 1
            taken.add(previous)
            stamps[position] = time = previous
        previous = time
    return stamps


def _cut_failed(source: Path, cause: Exception) -> HelperError:
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        return HelperError("disk_full", f"There is no room to cut a piece of {source.name}")
    return HelperError("source_damaged", f"Cutting {source.name} failed: {cause}")
