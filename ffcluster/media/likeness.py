"""Decide whether a result's pictures are the source's of the same frames. Pure; no media.

Coding changes pictures, at low rates a lot, so no fixed distance tells a bad picture from a wrong
one. What tells them apart is what they are near to: a wrong picture is near to another frame of
the source and far from its own. Where two frames of the source are alike nothing can be said, and
nothing is. docs/exactness.md has the figures behind the thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs

# Of the coarse pictures, in which grain and the loss of detail average out. Right ones stayed above
# 20 dB on average, and above 16 dB singly, at the worst settings that still show a picture;
# pictures of two scenes are mostly below 15 dB.
_MEAN_FLOOR_DB = 17.0
_FLOOR_DB = 12.0
# Another frame explains a picture when less than this part of the difference between the two
# frames is left. Right pictures stayed above 0.35 at the worst settings, whatever they show.
_UNEXPLAINED = 0.25
# Frames that differ by less than this mean square (about 42 dB) are taken for the same.
_LEAST_DIFFERENCE = 4.0
# With fewer pictures one that an encoder repeats to save bits would look like its neighbour.
_LEAST_PICTURES = 3
_BEST_DB = 100.0
_PEAK = 255.0


@attrs.frozen
class Picture:
    """One picture's luma, reduced.

    Attributes:
        fine: Samples of a picture of about 160 x 90, row by row.
        coarse: The same of at most about 32 x 18, each the mean of a block.
    """

    fine: bytes
    coarse: bytes


@attrs.frozen
class Objection:
    """Why a result's pictures are not the source's.

    Attributes:
        frame: The first frame concerned.
        psnr_db: Likeness to the source's picture of that frame; None where there is no picture.
        resembles: The source's frame that it resembles instead, or None.
    """

    frame: int
    psnr_db: float | None
    resembles: int | None = None


def _mean_square(one: bytes, other: bytes) -> float:
    return math.dist(one, other) ** 2 / len(one)


def _decibels(mean_square: float) -> float:
    if mean_square <= _PEAK**2 / 10 ** (_BEST_DB / 10):
        return _BEST_DB
    return 10 * math.log10(_PEAK**2 / mean_square)


def least_db(result: Mapping[int, Picture], source: Mapping[int, Picture]) -> float | None:
    """Least PSNR in dB of the fine pictures, 100 for equal ones; None when none is in both."""
    both = result.keys() & source.keys()
    return min(
        (_decibels(_mean_square(result[k].fine, source[k].fine)) for k in both), default=None
    )


def objection(
    result: Mapping[int, Picture], source: Mapping[int, Picture], offsets: Iterable[int]
) -> Objection | None:
    """Say why these pictures cannot be right; None when nothing speaks against them.

    Args:
        result: Pictures of consecutive frames of a result, by the frames that they should show.
        source: Pictures of the source by frame: of the same frames and of others.
        offsets: Distances in frames by which the result might be off.
    """
    far = _far(result, source)
    if far is not None:
        return far
    for offset in offsets:
        found = _explained(result, source, offset)
        if found is not None:
            return found
    return None


def _far(result: Mapping[int, Picture], source: Mapping[int, Picture]) -> Objection | None:
    coarse = {
        k: _mean_square(result[k].coarse, source[k].coarse)
        for k in sorted(result.keys() & source.keys())
    }
    if not coarse:
        return None
    worst = max(coarse, key=coarse.__getitem__)
    mean = sum(coarse.values()) / len(coarse)
    if _decibels(mean) < _MEAN_FLOOR_DB or _decibels(coarse[worst]) < _FLOOR_DB:
        return Objection(worst, _decibels(coarse[worst]))
    return None


def _explained(
    result: Mapping[int, Picture], source: Mapping[int, Picture], offset: int
) -> Objection | None:
    frames = [k for k in sorted(result) if k in source and k + offset in source]
    if len(frames) < min(_LEAST_PICTURES, len(result)):
        return None
    difference = left = 0.0
    for k in frames:
        difference += _mean_square(source[k].fine, source[k + offset].fine)
        left += _mean_square(result[k].fine, source[k + offset].fine)
    if difference < _LEAST_DIFFERENCE * len(frames) or left >= _UNEXPLAINED * difference:
        return None
    own = min(_decibels(_mean_square(result[k].fine, source[k].fine)) for k in frames)
    return Objection(frames[0], own, frames[0] + offset)
