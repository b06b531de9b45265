"""What ffmpegs said when drivers failed, from the files in recordings/.

Each entry is `== name | version | exit code` and the stderr that followed. `written` stands for
the version where no such hardware was at hand and the text was put together from ffmpeg's
sources.
"""

from __future__ import annotations

import functools
from pathlib import Path

import attrs

from ffcluster.encoders.backend import ProbeOutcome

_FOLDER = Path(__file__).with_name("recordings")


@attrs.frozen
class Recorded:
    """One failure of one ffmpeg."""

    name: str
    ffmpeg: str
    outcome: ProbeOutcome


@functools.cache
def recorded(family: str) -> tuple[Recorded, ...]:
    """Every failure that was recorded with the encoders of `family`."""
    found: list[Recorded] = []
    text = (_FOLDER / f"{family}.txt").read_text(encoding="utf-8")
    for entry in text.removeprefix("== ").split("\n== "):
        head, _, stderr = entry.partition("\n")
        name, ffmpeg, code = head.split(" | ")
        found.append(Recorded(name, ffmpeg, ProbeOutcome(int(code), stderr=stderr)))
    return tuple(found)


def failure(family: str, name: str, ffmpeg: str = "") -> ProbeOutcome:
    """One of them: of `ffmpeg`, or of any."""
    return next(
        r.outcome for r in recorded(family) if r.name == name and r.ffmpeg.startswith(ffmpeg)
    )
