"""Measurements of this machine, remembered between runs. Measures nothing itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import attrs

from ffcluster.core.model import Measurement
from ffcluster.services.statefile import StateFile

MEASUREMENTS_NAME = "measurements.json"
# As many as a worker may tell its coordinator.
_MOST_MEASUREMENTS = 1024
_HIGHEST_FPS = 1e6


@attrs.frozen
class _Measured:
    """The file: one measurement for each encoder, device, preset and size, the newest first."""

    measurements: tuple[Measurement, ...] = ()


async def load_measurements(state_dir: Path) -> tuple[Measurement, ...]:
    """What was measured on this machine before, the newest first; nothing when unreadable."""
    kept = await _file(state_dir).read()
    found = [m for m in kept.measurements if plausible(m)] if kept is not None else []
    return tuple(found[:_MOST_MEASUREMENTS])


async def store_measurements(state_dir: Path, measured: Iterable[Measurement]) -> None:
    """Remember measurements, in place of older ones of the same thing.

    Raises:
        DiskFull, OutputUnwritable: The file system does not take it.
    """
    newest = {about(m): m for m in measured}
    for known in await load_measurements(state_dir):
        newest.setdefault(about(known), known)
    await _file(state_dir).write(_Measured(tuple(newest.values())[:_MOST_MEASUREMENTS]))


def _file(state_dir: Path) -> StateFile[_Measured]:
    return StateFile(state_dir / MEASUREMENTS_NAME, _Measured)


def about(measurement: Measurement) -> tuple[str, str, str, int, int]:
    """What tells measurements apart: of the same thing only the newest counts."""
    m = measurement
    return m.encoder, m.device, m.preset, m.width, m.height


def plausible(measurement: Measurement) -> bool:
    """Whether it can be what a machine measured: a coordinator makes plans by it."""
    m = measurement
    rates = (m.fps, m.speed, *(fps for _, fps in m.session_fps))
    return (
        all(0 < rate <= _HIGHEST_FPS and math.isfinite(rate) for rate in rates)
        and min(m.width, m.height, m.sessions) > 0
        and max(m.sessions, *(sessions for sessions, _ in m.session_fps), 0) <= _MOST_MEASUREMENTS
        and (m.vmaf is None or 0 <= m.vmaf <= 100)
        and m.bitrate_bps >= 0
    )
