"""Compare a result's pictures with the source's near the segment's borders. In helpers only.

What a worker says of its result counts for nothing here: both files are decoded again, a few
pictures of each, and the source's pass the job's filters. Before a result is refused both are
decoded once more from further back, so that no odd keyframe is held against a worker.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import attrs
import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ffcluster.media.index import MediaIndex
from ffcluster.media.likeness import Objection, Picture, least_db, objection
from ffcluster.media.looking import Filtering, Filters, IncomparableError, decoded, reduced
from ffcluster.media.opening import HelperError
from ffcluster.media.results import open_result
from ffcluster.media.sampling import Packets, choose, source_steps
from ffcluster.media.split import Cutter

# Distances in frames at which a shifted result is looked for.
_OFFSETS = (-3, -2, -1, 1, 2, 3)
_REACH = max(_OFFSETS)
# Packets that may be decoded on top to see the frames before the segment as well.
_BEFORE_STEPS = 32
# A result as near to the source as this is not compared with other segments: pictures that differ
# little from each other could be exchanged unseen, and unnoticed by anybody.
_CLEAR_DB = 36.0
_MOST_OTHERS = 4
# One that is further from it than this is compared with more of them, whatever that costs: good
# encoders come here only at settings at which nobody can tell what is shown.
_DOUBTFUL_DB = 25.0
_MOST_OTHERS_IN_DOUBT = 16
# Keyframes to go back for the second look.
_FURTHER = 3
_KEPT_PICTURES = 256
# Hardware may fill up its blocks.
_LARGEST_PADDING = 15


@attrs.frozen
class Segment:
    """What a result is to be compared with.

    Attributes:
        first: The segment's first frame.
        frames: Number of its frames.
        filters: The job's filters, checked.
        context: Frames on either side that the filters must see.
        others: First frames of segments of the same length that were given out, the latest first.
    """

    first: int
    frames: int
    filters: Filters = ()
    context: int = 0
    others: tuple[int, ...] = ()


class Borders:
    """Compares results with one source, which stays open between calls."""

    def __init__(self, source: Path, index_path: Path) -> None:
        self._cutter = Cutter(source, index_path)
        self._index = MediaIndex(index_path)
        self._source_name = source.name
        aspect = Fraction(*self._index.header["video"]["sample_aspect_ratio"])
        self._has_square_pixels = aspect in (0, 1)
        self._filters: Filters = ()
        self._filtering = Filtering((), square=True)
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._given: tuple[int, int] | None = None
        self._size: tuple[int, int] | None = None

    def compare(self, result: Path, packets: Packets, segment: Segment) -> float | None:
        """Compare what can be reached cheaply nearest to both borders.

        Args:
            result: The result.
            packets: Its packets.
            segment: What it should show.

        Returns:
            The least PSNR in dB of the compared pictures, reduced; None when none was compared.

        Raises:
            HelperError: `result_invalid`, with the figures; or the source is not what it was.
        """
        stop = segment.first + segment.frames
        runs = choose(source_steps(self._index, segment.first, stop), packets.steps())
        try:
            self._use(segment.filters)
            found = [self._compare_run(result, packets, segment, ranks) for ranks in runs]
        except IncomparableError:
            return None
        return min((db for db in found if db is not None), default=None)

    def _use(self, filters: Filters) -> None:
        if filters != self._filters:
            self._filtering = Filtering(filters, square=self._has_square_pixels)
            self._filters = filters
            self._kept.clear()
            self._size = None

    def _compare_run(
        self, result: Path, packets: Packets, segment: Segment, ranks: range
    ) -> float | None:
        frames = range(segment.first + ranks.start, segment.first + ranks.stop)
        source = self._source(segment, self._around(frames))
        shown = self._shown(result, packets, segment, ranks, sparing=True)
        if _objection(shown, source, frames) is not None:
            source = self._source(segment, self._widened(frames), further=True)
            shown = self._shown(result, packets, segment, ranks, sparing=False)
            found = _objection(shown, source, frames)
            if found is not None:
                raise _refused(found)
        least = least_db(shown, source)
        if least is not None and least < _CLEAR_DB:
            self._compare_with_others(shown, source, segment, frames, doubts=least < _DOUBTFUL_DB)
        return least

    def _compare_with_others(
        self,
        shown: dict[int, Picture],
        source: dict[int, Picture],
        segment: Segment,
        frames: range,
        *,
        doubts: bool,
    ) -> None:
        """Look for a segment that was exchanged with this one."""
        for other in segment.others[: _MOST_OTHERS_IN_DOUBT if doubts else _MOST_OTHERS]:
            offset = other - segment.first
            there = range(frames.start + offset, frames.stop + offset)
            if there.stop > self._index.frames:
                continue
            if self._steps(there) > _BEFORE_STEPS and not doubts:
                continue
            found = objection(shown, source | self._source(segment, there), (offset,))
            if found is not None:
                raise _refused(found)

    # --- the source ----------------------------------------------------------------------------

    def _widened(self, frames: range) -> range:
        return range(max(0, frames.start - _REACH), min(self._index.frames, frames.stop + _REACH))

    def _around(self, frames: range) -> range:
        """Frames of the source to compare with: those after too, those before where it is cheap."""
        wide = self._widened(frames)
        late = range(frames.start, wide.stop)
        return wide if self._steps(wide) <= self._steps(late) + _BEFORE_STEPS else late

    def _steps(self, frames: range) -> int:
        """Packets to decode for these frames."""
        index = self._index
        start = index.start_packet(frames.start, frames.stop, 1)
        return max(index.order[frames.start : frames.stop]) - start + 1

    def _source(
        self, segment: Segment, frames: range, *, further: bool = False
    ) -> dict[int, Picture]:
        """The source's pictures of `frames`, filtered and reduced; those that can be decoded."""
        if further:
            self._kept.clear()
        lacking = [k for k in frames if k not in self._kept]
        if lacking:
            made = self._decode(segment, range(lacking[0], lacking[-1] + 1), further=further)
            self._kept.update(made)
        found = {k: self._kept[k] for k in frames if k in self._kept}
        while len(self._kept) > _KEPT_PICTURES:
            self._kept.popitem(last=False)
        return found

    def _decode(self, segment: Segment, frames: range, *, further: bool) -> dict[int, Picture]:
        index = self._index
        first = max(0, frames.start - segment.context)
        stop = min(index.frames, frames.stop + segment.context)
        start = index.start_packet(first, stop, _FURTHER if further else 1)
        frame_of = {index.order[k]: k for k in range(first, stop)}

        def look(video: VideoStream, packets: Iterator[Packet[VideoStream]]) -> dict[int, Picture]:
            numbered = enumerate(packets, start)
            seen = decoded(video, numbered, frame_of, sparing=not further)
            given = ((frame_of[number], self._same_size(frame)) for number, frame in seen)
            return {k: self._reduced(f) for k, f in self._filtering(given) if k in frames}

        try:
            return self._cutter.read(start, max(frame_of), look)
        except av.error.FFmpegError as cause:
            raise HelperError(
                "source_damaged", f"Reading {self._source_name} failed: {cause.strerror}"
            ) from cause

    def _same_size(self, frame: VideoFrame) -> VideoFrame:
        """Refuse to compare where the source's pictures change their size on the way."""
        size = (frame.width, frame.height)
        self._given = self._given or size
        if size != self._given:
            raise IncomparableError("the source's pictures change their size")
        return frame

    def _reduced(self, frame: VideoFrame) -> Picture:
        self._size = self._size or (frame.width, frame.height)
        return reduced(frame, self._size)

    # --- the result ----------------------------------------------------------------------------

    def _shown(
        self, result: Path, packets: Packets, segment: Segment, ranks: range, *, sparing: bool
    ) -> dict[int, Picture]:
        """The result's pictures of `ranks`, by the source's frames that they should show."""
        if self._size is None:
            raise IncomparableError("the source shows nothing here")
        start, last = packets.span(ranks)
        if not sparing:
            start = 0
        frame_of = {packets.by_rank[rank]: segment.first + rank for rank in ranks}
        container, video = open_result(result)
        with container:
            held = (packet for packet in container.demux(video) if packet.size)
            numbered = itertools.islice(enumerate(held), start, last + 1)
            pictures = {}
            for number, frame in decoded(video, numbered, frame_of, sparing=sparing):
                _compare_size((frame.width, frame.height), self._size)
                pictures[frame_of[number]] = reduced(frame, self._size)
        return pictures


def _objection(
    shown: dict[int, Picture], source: dict[int, Picture], frames: range
) -> Objection | None:
    absent = next((k for k in frames if k not in shown), None)
    return objection(shown, source, _OFFSETS) if absent is None else Objection(absent, None)


def _compare_size(found: tuple[int, int], expected: tuple[int, int]) -> None:
    if any(not 0 <= a - b <= _LARGEST_PADDING for a, b in zip(found, expected, strict=True)):
        raise HelperError(
            "result_invalid",
            f"A segment's result is not valid: its pictures are {found[0]} x {found[1]}, "
            f"not {expected[0]} x {expected[1]}",
        )


def _refused(found: Objection) -> HelperError:
    what = f"frame {found.frame} is not the source's picture"
    if found.psnr_db is None:
        what = f"frame {found.frame} cannot be decoded"
    elif found.resembles is not None:
        what += f" but looks like its frame {found.resembles}"
    return HelperError(
        "result_invalid",
        f"A segment's result is not valid: {what}",
        frame=found.frame,
        psnr_db=None if found.psnr_db is None else round(found.psnr_db, 2),
        resembles=found.resembles,
    )
