"""Where segments begin and end. Knows keyframes and a wanted size; no worker, no clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from ffcluster.core.media import MediaSummary
from ffcluster.core.model import JobSpec
from ffcluster.core.timeline import FrameRange

# A segment shorter than this many seconds of film costs more in keyframes than it gains in balance.
MIN_SEGMENT_S = 2.0
# How far from the wanted size a keyframe may lie and still be preferred to a cut elsewhere.
_SNAP_LOW, _SNAP_HIGH = 0.7, 1.4


def min_segment_frames(summary: MediaSummary) -> int:
    """Fewest frames that are worth a segment of their own in this film."""
    return max(1, round(summary.mean_fps * MIN_SEGMENT_S))


def next_segment(
    spec: JobSpec,
    summary: MediaSummary,
    frontier: int,
    wanted_frames: int,
    *,
    snap: bool = True,
) -> FrameRange:
    """Carve the segment that starts at `frontier`.

    The end is the keyframe nearest to the wanted size if one is near, else exactly that size.
    What would be left over is taken along when it is not worth a segment of its own. Forced cuts
    (`spec.cut_frames`) are obeyed as they are; a profile whose filters see the whole film gets
    one segment.

    Args:
        spec: The job.
        summary: Its source.
        frontier: First frame that no segment covers; less than the film's frame count.
        wanted_frames: Frames that the worker should get.
        snap: Whether a keyframe nearby is preferred to exactly that size.
    """
    total = summary.frame_count
    if spec.profile.needs_single_segment:
        return FrameRange(0, total)
    if spec.cut_frames:
        cuts = sorted(set(spec.cut_frames))
        position = bisect_right(cuts, frontier)
        stop = cuts[position] if position < len(cuts) else total
        return FrameRange(frontier, min(stop, total))
    scrap = min_segment_frames(summary) // 2
    wanted = max(1, wanted_frames)
    if total - frontier <= wanted + scrap:
        return FrameRange(frontier, total)
    stop = _snap(summary, frontier, wanted) if snap else frontier + wanted
    return FrameRange(frontier, total if total - stop <= scrap else stop)


def _snap(summary: MediaSummary, frontier: int, wanted: int) -> int:
    cuts = summary.cut_frames
    target = frontier + wanted
    position = bisect_left(cuts, target)
    near = [cuts[i] for i in (position - 1, position) if 0 <= i < len(cuts)]
    low, high = frontier + wanted * _SNAP_LOW, frontier + wanted * _SNAP_HIGH
    near = [cut for cut in near if low <= cut <= high]
    return min(near, key=lambda cut: abs(cut - target)) if near else target


def plan_even(spec: JobSpec, summary: MediaSummary, wanted_frames: int) -> list[FrameRange]:
    """Carve the whole film into segments of about one size, as a dry run shows it."""
    segments: list[FrameRange] = []
    frontier = 0
    while frontier < summary.frame_count:
        frames = next_segment(spec, summary, frontier, wanted_frames)
        segments.append(frames)
        frontier = frames.stop
    return segments
