"""Look at a source's header and first picture, in a process of its own.

A hostile file may end this process, never the one that asks. Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from ffcluster.interfaces.dropin.selection import Source
from ffcluster.media.carry import SourceFacts, StreamFact

_PATIENCE_S = 60.0
_MOST_BYTES = 4 * 1024 * 1024


def probe(path: Path) -> Source | None:
    """What a source holds, or None when it is no video that the cluster would read."""
    command = [sys.executable, "-m", __spec__.name, str(path.absolute())]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode != 0 or len(done.stdout) > _MOST_BYTES:
            return None
        return _source(json.loads(done.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None


def _source(data: dict[str, Any]) -> Source:
    facts = data["facts"]
    streams = tuple(
        StreamFact(**{**stream, "dispositions": tuple(stream["dispositions"])})
        for stream in facts["streams"]
    )
    return Source(
        SourceFacts(
            facts["format"], facts["video_index"], streams, facts["chapters"], facts["start_us"]
        ),
        rate=Fraction(*data["rate"]),
        is_regular=data["is_regular"],
        offset_s=Fraction(*data["offset_s"]),
        tick_s=Fraction(*data["tick_s"]),
        is_turned=data["is_turned"],
        duration_s=data["duration_s"],
    )


def look(path: Path) -> dict[str, Any]:
    """Read the header and the first picture of a file.

    Raises:
        Exception: It is no video that can be read safely.
    """
    from ffcluster.media.facts import display_matrix, source_facts
    from ffcluster.media.opening import open_input, video_streams

    with open_input(path) as container:
        video = video_streams(container)[0]
        facts = source_facts(container, video)
        tick = video.time_base or Fraction(1, 1000)
        frame = next(iter(container.decode(video)))
        begin = Fraction(container.start_time or 0, 1_000_000)
        first = frame.pts * tick if frame.pts is not None else begin
        rate = video.average_rate or Fraction(0)
        # What a microsecond cannot hold is no distance.
        offset = first - begin if abs(first - begin) > Fraction(1, 500_000) else Fraction(0)
        return {
            "facts": facts,
            "rate": [rate.numerator, rate.denominator],
            "is_regular": bool(rate) and rate == video.base_rate,
            "offset_s": [offset.numerator, offset.denominator],
            "tick_s": [tick.numerator, tick.denominator],
            "is_turned": bool(display_matrix(frame)) and round(frame.rotation) % 360 != 0,
            "duration_s": (container.duration or 0) / 1_000_000,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(Path(sys.argv[1]))))
