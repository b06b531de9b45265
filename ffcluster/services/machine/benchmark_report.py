"""What a benchmark is asked for and what it answers: data only."""

from __future__ import annotations

from pathlib import Path

import attrs

from ffcluster.core.model import Capability, Diagnosis, Measurement
from ffcluster.core.profile import Codec

# With less time than this for a measurement, large pictures would measure nothing but the start.
_SHORT_S = 5.0
_LARGE, _SMALL = (1920, 1080), (1280, 720)


@attrs.frozen(kw_only=True)
class BenchmarkRequest:
    """What to measure.

    Attributes:
        ffmpegs: The ffmpegs to use, the preferred one first; () for the first that is found.
        encoders: Only these encoders; () for all.
        codecs: Only these codecs; () for all.
        devices: Only these devices, "cpu" for the processor; () for all.
        presets: Presets on the encoder's own scale or on that of its codec's reference encoder;
            () for the encoder's default and a fast one.
        qualities: Constant qualities on the reference encoder's scale; () for the encoder's
            default. Only the first is measured with several sessions, and remembered.
        duration_s: Seconds for each measurement.
        source: A film whose middle is the clip, or None for a synthetic clip.
        size: Width and height of a synthetic clip, or None for 1920x1080, or 1280x720 where
            there is little time.
        max_sessions: Most sessions side by side.
        hardware_decode: Decode on the device as well where it can.
        state_dir: Where results are remembered, or None for nowhere.
        fresh: Detect anew, whatever is remembered.
    """

    ffmpegs: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    codecs: tuple[Codec, ...] = ()
    devices: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    qualities: tuple[float, ...] = ()
    duration_s: float = 5.0
    source: Path | None = None
    size: tuple[int, int] | None = None
    max_sessions: int = 16
    hardware_decode: bool = False
    state_dir: Path | None = None
    fresh: bool = False

    def wants(self, capability: Capability) -> bool:
        """Whether `capability` is asked for."""
        return (
            (not self.encoders or capability.encoder in self.encoders)
            and (not self.codecs or capability.codec in self.codecs)
            and (not self.devices or (capability.device or "cpu") in self.devices)
        )

    @property
    def synthetic_size(self) -> tuple[int, int]:
        """Width and height of a synthetic clip."""
        return self.size or (_LARGE if self.duration_s >= _SHORT_S else _SMALL)


@attrs.frozen
class BenchmarkRow:
    """One setting and what came of it.

    Attributes:
        measurement: What was measured.
        codec: The codec.
        quality: The quality that was asked for, on the reference encoder's scale, or None.
        own_quality: The same on the encoder's own scale, or None for its default.
        limit: Why there are not more sessions, in words, or "" where no limit was met.
    """

    measurement: Measurement
    codec: Codec
    quality: float | None = None
    own_quality: float | None = None
    limit: str = ""


@attrs.frozen(kw_only=True)
class BenchmarkReport:
    """What a benchmark found out.

    Attributes:
        clip: What was encoded, in words.
        rows: What was measured.
        diagnoses: What could not be measured, and why.
        notes: What a person should know of the figures.
        stored: Where they are remembered, or None.
    """

    clip: str
    rows: tuple[BenchmarkRow, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    notes: tuple[str, ...] = ()
    stored: Path | None = None


@attrs.frozen
class BenchmarkStep:
    """Where a benchmark is: the setting it measures now, of how many, and what was found."""

    number: int
    total: int
    what: str
    found: BenchmarkRow | Diagnosis | None = None
