"""How fast a worker encodes which kind of job: frames per second per slot, measured or guessed."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Measurement
from ffcluster.core.profile import Profile

# A rate read from a running attempt counts from this age on; before it, start-up dominates.
SETTLED_AFTER_S = 1.0
_WEIGHT_OF_NEWEST = 0.5


@attrs.frozen(cache_hash=True)
class RateKey:
    """Jobs with equal keys are taken to encode at the same rate on the same worker."""

    encoder: str
    device: str
    preset: str
    width: int
    height: int
    pix_fmt: str
    filters: tuple[str, ...]

    @classmethod
    def of(cls, capability: Capability, profile: Profile, video: VideoFormat) -> RateKey:
        """The key of a job that is done with `capability`."""
        return cls(
            capability.encoder,
            capability.device,
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


def estimate_fps(
    capability: Capability,
    measurements: Iterable[Measurement],
    profile: Profile,
    video: VideoFormat,
) -> float | None:
    """Guess the frames per second of one slot from the worker's own benchmarks, or None.

    Pixels per second are taken to be the same at every size, which holds well enough for a first
    segment; what filters cost is not known before it was measured.
    """
    own = [
        m
        for m in measurements
        if (m.encoder, m.device) == (capability.encoder, capability.device) and m.fps > 0
    ]
    if not own:
        return None
    best = min(own, key=lambda m: _distance(capability, profile.preset or "", m.preset))
    scale = (best.width * best.height) / max(1, video.width * video.height)
    return _slot_fps(best, capability.slots) * scale


def _distance(capability: Capability, wanted: str, preset: str) -> float:
    """How far one preset is from another on the encoder's own scale; unknown names come last."""
    if wanted == preset:
        return 0.0
    presets = capability.presets
    if wanted in presets and preset in presets:
        return float(abs(presets.index(wanted) - presets.index(preset)))
    return float(len(presets) + 1)


def _slot_fps(measurement: Measurement, slots: int) -> float:
    """Frames per second of each of `slots` sessions side by side."""
    tried = dict(measurement.session_fps)
    together = tried.get(slots)
    if together is not None:
        return together / slots
    # Beyond the sessions that still paid off, all of them share what there is.
    return measurement.fps / max(1, measurement.sessions, slots)
