"""Media time: integer ticks of a rational time base, and half-open ranges of frames."""

from __future__ import annotations

from fractions import Fraction

import attrs


@attrs.frozen(order=True)
class FrameRange:
    """Presented frames `first` (included) to `stop` (excluded) of a source, counted from 0."""

    first: int
    stop: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.first < self.stop:
            raise ValueError(f"no frames in [{self.first}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.first

    def __str__(self) -> str:
        return f"[{self.first}, {self.stop})"

    def widened(self, frames: int, frame_count: int) -> FrameRange:
        """Add `frames` on either side, within a film of `frame_count` frames."""
        return FrameRange(max(0, self.first - frames), min(frame_count, self.stop + frames))


@attrs.frozen
class TimeBase:
    """Seconds per tick, as FFmpeg's time bases: num / den, both positive."""

    num: int
    den: int

    def __attrs_post_init__(self) -> None:
        if self.num <= 0 or self.den <= 0:
            raise ValueError(f"time base {self.num}/{self.den} is not positive")

    @property
    def fraction(self) -> Fraction:
        """Seconds per tick."""
        return Fraction(self.num, self.den)

    def seconds(self, ticks: int) -> Fraction:
        """Turn ticks into seconds without rounding."""
        return ticks * self.fraction

    def ticks(self, seconds: Fraction) -> int:
        """Turn seconds into the nearest tick."""
        return round(seconds / self.fraction)
