"""How fast a worker encodes what kind of job, in frames per second per slot."""

from __future__ import annotations

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.profile import Profile

# A rate read from a running attempt counts from this age on; before it, start-up dominates.
SETTLED_AFTER_S = 1.0
_WEIGHT_OF_NEWEST = 0.5


@attrs.frozen
class RateKey:
    """Jobs with equal keys are taken to encode at the same rate on the same worker."""

    encoder: str
    preset: str
    width: int
    height: int
    pix_fmt: str
    filters: tuple[str, ...]

    @classmethod
    def of(cls, encoder: str, profile: Profile, video: VideoFormat) -> RateKey:
        """The key of a job."""
        return cls(
            encoder,
            profile.preset or "",
            video.width,
            video.height,
            profile.pix_fmt or video.pix_fmt,
            tuple(f.name for f in profile.filters),
        )


@attrs.define
class Throughput:
    """A moving mean of measured rates; the newest measurement weighs half."""

    fps: float
    measurements: int = 0

    def add(self, frames: int, elapsed_s: float) -> None:
        """Count a finished attempt of `frames` frames that held a slot for `elapsed_s`."""
        if elapsed_s <= 0:
            return
        measured = frames / elapsed_s
        if self.measurements:
            measured = _WEIGHT_OF_NEWEST * measured + (1 - _WEIGHT_OF_NEWEST) * self.fps
        self.fps = measured
        self.measurements += 1
