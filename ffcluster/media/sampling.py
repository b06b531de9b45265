"""Choose which frames of a segment are compared with the source. Pure; reads no media.

The nearer to the segment's borders the better, yet no further from a keyframe, in the source and in
the result, than the comparison may cost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ffcluster.media.index import KEY, MediaIndex

# Frames compared at each border.
RUN_FRAMES = 4
# Pictures decoded to reach the first frames: the longest usual distance of keyframes.
_HEAD_STEPS = 250
# The same for the last frames, which are as far from a keyframe as can be: a part of the segment.
_TAIL_STEPS = 32
_TAIL_PART = 8


class Packets:
    """A result's packets in decode order.

    Args:
        times: Presentation times.
        keys: Whether each is a keyframe.

    Attributes:
        by_rank: Number of the packet that holds each frame, in presentation order.
        start_of: For each packet, the keyframe at which decoding must start to get it.
    """

    def __init__(self, times: Sequence[int], keys: Sequence[bool]) -> None:
        self.by_rank = sorted(range(len(times)), key=times.__getitem__)
        self.start_of: list[int] = []
        seen: list[int] = []
        for number, time in enumerate(times):
            if keys[number]:
                seen.append(number)
            # Pictures that are shown before the keyframe lean on the one before it.
            whole = next((key for key in reversed(seen) if times[key] <= time), 0)
            self.start_of.append(whole)

    def steps(self) -> list[int]:
        """Packets to decode for each frame, in presentation order."""
        return [packet - self.start_of[packet] + 1 for packet in self.by_rank]

    def span(self, ranks: range) -> tuple[int, int]:
        """First and last packet to decode for the frames of `ranks`."""
        packets = [self.by_rank[rank] for rank in ranks]
        return min(self.start_of[packet] for packet in packets), max(packets)


def source_steps(index: MediaIndex, first: int, stop: int) -> list[int]:
    """Packets to decode for each of the source's frames [first, stop)."""
    start = index.start_packet(first, stop, 1)
    last = max(index.order[first:stop])
    keys = [n for n in range(start, last + 1) if index.flags[n] & KEY] or [start]
    steps = []
    for frame in range(first, stop):
        packet = index.order[frame]
        place = bisect_right(keys, packet) - 1
        if index.header["gradual"] or index.pts[keys[place]] > index.shown[frame]:
            place -= 1
        steps.append(packet - keys[max(0, place)] + 1)
    return steps


def choose(in_source: Sequence[int], in_result: Sequence[int]) -> tuple[range, ...]:
    """The runs of frames to compare, counted from the segment's first frame; there may be none.

    Args:
        in_source: Packets to decode for each frame of the source, see `source_steps`.
        in_result: The same for the result.
    """
    frames = len(in_result)
    length = min(RUN_FRAMES, frames)
    steps = [max(pair) for pair in zip(in_source, in_result, strict=True)]
    places = range(frames - length + 1)
    head = next((r for r in places if steps[r] <= _HEAD_STEPS), None)
    if head is None:
        return ()
    most = max(_TAIL_STEPS, frames // _TAIL_PART)
    tail = next((r for r in reversed(places) if steps[r] <= most), head)
    if tail <= head + length:
        return (range(head, tail + length),)
    return range(head, head + length), range(tail, tail + length)
