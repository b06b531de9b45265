"""Pixel formats by their ffmpeg names: what they can hold, and which is nearest to another.

A table of patterns rather than of every name: packed, planar and semi-planar YUV, RGB and gray.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

_PLANAR = re.compile(r"yuv(?P<kind>[aj]?)(?P<chroma>4[1-4]\dp)(?P<depth>\d+)?(le|be)?")
_SEMI = re.compile(r"(nv12|nv21|nv16|nv24|nv42|nv20(?:le|be)|[py][0-4]1[0-6](?:le|be)?)")
_PACKED = {"yuyv422", "uyvy422", "yvyu422"}
_GBR = re.compile(r"gbr(?P<alpha>a?)p(?P<depth>\d+)?(le|be)?")
_GRAY = re.compile(r"(?P<alpha>ya|gray)(?P<depth>\d+)?(le|be)?")
_RGB8 = {"rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr", "pal8"}
_RGBA8 = {"rgba", "bgra", "argb", "abgr"}
_RGB16 = re.compile(r"(?P<alpha>rgb48|bgr48|rgba64|bgra64)(le|be)?")

# Subsampling as (log2 of the horizontal, log2 of the vertical) factor.
_SHIFTS = {
    "444": (0, 0),
    "440": (0, 1),
    "422": (1, 0),
    "420": (1, 1),
    "411": (2, 0),
    "410": (2, 2),
}


@attrs.frozen
class PixelFormat:
    """What a pixel format can hold.

    Attributes:
        name: ffmpeg's name.
        family: `yuv`, `rgb` or `gray`.
        shift: log2 of the horizontal and vertical chroma subsampling.
        depth: Bits per sample.
        alpha: Whether it has an alpha plane.
        full_range: Whether the name itself says full range (`yuvj420p`).
        planar: Whether every component has its own plane.
    """

    name: str
    family: str
    shift: tuple[int, int] = (0, 0)
    depth: int = 8
    alpha: bool = False
    full_range: bool = False
    planar: bool = True

    def holds_the_same_as(self, other: PixelFormat) -> bool:
        """Whether converting between the two only moves samples about, losing and adding none."""
        mine = (self.family, self.shift, self.depth, self.alpha)
        return mine == (other.family, other.shift, other.depth, other.alpha)

    def fits(self, width: int, height: int) -> bool:
        """Whether the size is a whole number of chroma samples."""
        return width % (1 << self.shift[0]) == 0 and height % (1 << self.shift[1]) == 0


def describe(name: str) -> PixelFormat | None:
    """What the format called `name` holds, or None when the name is not known."""
    if found := _PLANAR.fullmatch(name):
        return (
            PixelFormat(
                name,
                "yuv",
                _SHIFTS[found["chroma"][:3]],
                int(found["depth"] or 8),
                alpha=found["kind"] == "a",
                full_range=found["kind"] == "j",
            )
            if found["chroma"][:3] in _SHIFTS
            else None
        )
    if name in _PACKED:
        return PixelFormat(name, "yuv", (1, 0), planar=False)
    if _SEMI.fullmatch(name):
        return _semi_planar(name)
    if found := _GBR.fullmatch(name):
        depth = int(found["depth"] or 8)
        return PixelFormat(name, "rgb", depth=depth, alpha=bool(found["alpha"]))
    if found := _GRAY.fullmatch(name):
        depth = int(found["depth"] or 8)
        return PixelFormat(name, "gray", depth=depth, alpha=found["alpha"] == "ya")
    if name in _RGB8 or name in _RGBA8:
        return PixelFormat(name, "rgb", alpha=name in _RGBA8, planar=False)
    if found := _RGB16.fullmatch(name):
        alpha = found["alpha"].endswith("64")
        return PixelFormat(name, "rgb", depth=16, alpha=alpha, planar=False)
    return None


def _semi_planar(name: str) -> PixelFormat:
    shifts = {"0": (1, 1), "2": (1, 0), "4": (0, 0)}
    if name.startswith("nv"):
        chroma = {"12": "0", "21": "0", "16": "2", "20": "2", "24": "4", "42": "4"}[name[2:4]]
        return PixelFormat(
            name, "yuv", shifts[chroma], 10 if name[2:4] == "20" else 8, planar=False
        )
    return PixelFormat(name, "yuv", shifts.get(name[1], (0, 0)), int(name[2:4]), planar=False)


def with_depth(name: str, depth: int) -> str | None:
    """The planar format like `name` with `depth` bits per sample, or None when there is none."""
    known = describe(name)
    if known is None:
        return None
    chroma = {shift: chroma for chroma, shift in _SHIFTS.items()}[known.shift]
    suffix = "" if depth == 8 else f"{depth}le"
    if known.family == "yuv":
        return f"yuv{'a' if known.alpha else ''}{chroma}p{suffix}"
    if known.family == "gray":
        return f"gray{suffix}"
    return f"gbr{'a' if known.alpha else ''}p{suffix}"


def nearest(source: PixelFormat, supported: Sequence[str]) -> str:
    """The supported format that loses least of `source`, then the one that adds least.

    Raises:
        ValueError: Nothing in `supported` is known.
    """
    known = [f for f in map(describe, supported) if f is not None]
    return min(known, key=lambda f: _distance(source, f)).name


def _distance(source: PixelFormat, target: PixelFormat) -> tuple[int, ...]:
    horizontal = target.shift[0] - source.shift[0]
    vertical = target.shift[1] - source.shift[1]
    return (
        int(target.family == "gray" and source.family != "gray"),
        int(source.alpha and not target.alpha),
        max(0, source.depth - target.depth),
        max(0, horizontal) + max(0, vertical),
        int(source.family != target.family),
        max(0, target.depth - source.depth),
        max(0, -horizontal) + max(0, -vertical),
        int(target.alpha and not source.alpha),
        int(target.full_range),
        int(not target.planar),
    )
