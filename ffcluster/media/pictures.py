"""Find out which packets show which frames, and when. Runs in helper processes only.

Packets' times are trusted where decoding the first pictures bears them out. Where it does not
(raw streams, fields in packets of their own, frames that no packet's time accounts for, damage)
the whole film is decoded, each packet marked with its number.
"""

from __future__ import annotations

import itertools
import operator
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import av.error
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ffcluster.media.index import FRAME, KEY, NO_TIME, IndexTables, presentation_order
from ffcluster.media.opening import GEN_PTS, HelperError, only
from ffcluster.media.timing import ranks

Open = Callable[[], tuple[InputContainer, VideoStream]]

# Decoded to compare with what the packets' times predict: enough for every reordering to show.
_HEAD_PACKETS = 24
# No codec delays a picture by more packets than this; more means that time jumps.
_LARGEST_DISPLACEMENT = 128
_REPORT_EVERY = 256
_MPEG2 = ("mpeg1video", "mpeg2video")


class _Guess:
    """ffmpeg's choice between a frame's own time and that of the packet that released it.

    Follows `guess_correct_pts` of libavcodec: whichever of the two has been out of order less.
    """

    def __init__(self) -> None:
        self._faulty_pts = self._faulty_dts = 0
        self._last_pts = self._last_dts = NO_TIME

    def time(self, frame: VideoFrame) -> int | None:
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        trusted = self._faulty_pts <= self._faulty_dts or dts is None
        return pts if trusted and pts is not None else dts


class _Seen:
    """One decoded frame: the number of the packet that holds it, and its time."""

    def __init__(self, number: int, time: int | None) -> None:
        self.number = number
        self.time = time


class Pictures:
    """Fills in a table's FRAME flags, order and times.

    Args:
        tables: What demuxing gave; `pts` may lack times.
        reopen: Opens the source anew.
        step: Ticks from frame to frame at the nominal rate.

    Attributes:
        first_frame: The first picture.
        silent: Number of packets at the start that show nothing.
    """

    def __init__(self, tables: IndexTables, reopen: Open, step: Fraction) -> None:
        self._tables = tables
        self._reopen = reopen
        self._step = step
        self.first_frame: VideoFrame | None = None
        self.silent = 0

    def trust_times(self) -> bool:
        """Take the order and the times from the packets, if decoding the first bears them out."""
        tables = self._tables
        if NO_TIME in tables.pts:
            self._fill_times()
        order = _order_by_time(tables)
        if order is None or not self._head_agrees():
            return False
        # Packets at the start may just have turned out to show nothing.
        tables.order = array("q", (n for n in order if tables.flags[n] & FRAME))
        tables.shown = array("q", map(tables.pts.__getitem__, tables.order))
        self._correct_tail()
        return bool(tables.shown)

    def decode_all(self, report: Callable[[float], None], *, from_zero: bool = False) -> None:
        """Decode the film to find out what each packet shows.

        Args:
            report: Called now and then with the part that is done.
            from_zero: Whether the first frame is shown at 0: a raw stream has no times of its own.
        """
        tables = self._tables
        total = max(1, len(tables.pts))
        container, video = self._reopen()
        seen: list[_Seen] = []
        with container:
            only(container, video)
            video.codec_context.thread_type = "AUTO"
            for frame in self._decoded(video, _held(container, video)):
                seen.append(frame)
                if len(seen) % _REPORT_EVERY == 0:
                    report(min(1.0, len(seen) / total))
        self._adopt(seen, from_zero=from_zero)

    def _fill_times(self) -> None:
        """Let libavformat work out missing times; without reordering they are decoding times."""
        tables = self._tables
        container, video = self._reopen()
        with container:
            container.flags |= GEN_PTS
            only(container, video)
            worked_out = array(
                "q", (NO_TIME if p.pts is None else p.pts for p in _held(container, video))
            )
        del worked_out[len(tables.pts) :]
        if len(worked_out) < len(tables.pts) or NO_TIME in worked_out:
            return
        in_order = all(map(operator.lt, worked_out, worked_out[1:]))
        nowhere = all(time == NO_TIME for time in tables.pts)
        if in_order and nowhere and NO_TIME not in tables.dts:
            tables.pts[:] = tables.dts
        else:
            tables.pts[:] = worked_out

    def _head_agrees(self) -> bool:
        """Decode the first packets; whether they show what their times predict.

        Packets at the start whose pictures lean on others before the file's start show nothing,
        and lose their FRAME flag.
        """
        container, video = self._reopen()
        with container:
            only(container, video)
            video.codec_context.thread_type = "SLICE"
            packets = list(itertools.islice(_held(container, video), _HEAD_PACKETS))
            seen = list(self._decoded(video, packets))
        tables = self._tables
        head = range(min(len(packets), len(tables.pts)))
        predicted = sorted((tables.pts[n], n) for n in head if tables.flags[n] & FRAME)
        found = [(frame.time, frame.number) for frame in seen]
        if not found:
            return False
        silent = predicted[: len(predicted) - len(found)]
        if found != predicted[len(silent) :]:
            return False
        for _, number in silent:
            tables.flags[number] &= ~FRAME
        self.silent = len(silent)
        return True

    def _correct_tail(self) -> None:
        """Take the last frame's time from the decoder where fields repeat (soft telecine)."""
        tables, shown = self._tables, self._tables.shown
        container, video = self._reopen()
        with container:
            if video.codec_context.codec.canonical_name not in _MPEG2 or len(shown) < 2:
                return
            start = next(
                (n for n in range(len(tables.pts) - 1, -1, -1) if tables.flags[n] & KEY), 0
            )
            only(container, video)
            packets = list(itertools.islice(_held(container, video), start, None))
            tail = [frame.time for frame in self._decoded(video, packets)][-2:]
        if len(tail) == 2 and tail[0] == shown[-2] and tail[1] is not None and tail[1] > shown[-2]:
            shown[-1] = tail[1]
            tables.pts[tables.order[-1]] = tail[1]

    def _decoded(
        self, video: VideoStream, packets: Iterable[Packet[VideoStream]]
    ) -> Iterator[_Seen]:
        """Decode `packets`, the first of them number 0 or that of its place, and flush."""
        context = video.codec_context
        context.flags |= Flags.copy_opaque.value
        guess = _Guess()
        numbered: Iterator[tuple[int, Packet[VideoStream] | None]] = itertools.chain(
            enumerate(packets), [(-1, None)]
        )
        for number, packet in numbered:
            if packet is not None:
                packet.opaque = number
            try:
                frames = context.decode(packet)
            except av.error.FFmpegError:
                continue
            for frame in frames:
                self.first_frame = self.first_frame or frame
                if isinstance(frame.opaque, int):
                    yield _Seen(frame.opaque, guess.time(frame))

    def _adopt(self, seen: Sequence[_Seen], *, from_zero: bool) -> None:
        tables = self._tables
        order = array("q", dict.fromkeys(f.number for f in seen if f.number < len(tables.pts)))
        holders = set(order)
        for n in range(len(tables.flags)):
            tables.flags[n] = (tables.flags[n] & ~FRAME) | (FRAME if n in holders else 0)
        times = {frame.number: frame.time for frame in seen}
        given = [time for n in order if (time := times[n]) is not None]
        _refuse_jumps(given)
        known = sorted(set(given))
        if len(known) < len(order):
            start = known[0] if known else 0
            known = [start + round(k * self._step) for k in range(len(order))]
        if from_zero and known:
            known = [time - known[0] for time in known]
        tables.order, tables.shown = order, array("q", known)
        for number, time in zip(order, known, strict=True):
            tables.pts[number] = time


def _held(container: InputContainer, video: VideoStream) -> Iterator[Packet[VideoStream]]:
    return (packet for packet in container.demux(video) if packet.size)


def _refuse_jumps(times: list[int]) -> None:
    """Refuse a film whose clock starts anew on the way: sound and pictures would drift apart.

    Raises:
        HelperError: `source_unreadable`.
    """
    rank = ranks(times)
    place = next((k for k, r in enumerate(rank) if abs(k - r) > _LARGEST_DISPLACEMENT), None)
    if place is not None:
        raise HelperError(
            "source_unreadable",
            f"The film's clock jumps back: about frame {place} times come again",
            "Repair its times first: ffmpeg -i SOURCE -map 0 -c copy REPAIRED.mkv",
            frame=place,
        )


def _order_by_time(tables: IndexTables) -> array[int] | None:
    """Packets in the order of their times, or None where those cannot be right.

    Each packet must have a time, each frame one of its own, and none may lie far from its place.
    """
    if NO_TIME in tables.pts:
        return None
    order = presentation_order(tables.pts, tables.flags)
    times = list(map(tables.pts.__getitem__, order))
    if any(map(operator.eq, times, times[1:])):
        return None
    holders = (n for n, flag in enumerate(tables.flags) if flag & FRAME)
    if max(map(abs, map(operator.sub, order, holders)), default=0) > _LARGEST_DISPLACEMENT:
        return None
    return order
