"""The film of the harness, and the oracle: what a job published against a run without faults.

What is compared is what ffmpeg decodes (hash and time of every picture) and what it reads (hash
and time of every sound packet), never what the cluster says about itself.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from ffcluster.core.profile import Profile, RateControl, RateMode
from tests.inputs import ffmpeg, ffmpeg_path, pictures, tone

FRAMES = 300
RATE = 25
SEGMENT_FRAMES = 25
# Not the film's own keyframes, so that workers must decode ahead of nearly every segment.
SOURCE_GOP = 20
# One segment is longer than all others, so that its commands can be told apart.
_LONGER = 2
ODD_SEGMENT = 5
CUTS = tuple(
    n * SEGMENT_FRAMES + (_LONGER if n == ODD_SEGMENT + 1 else 0)
    for n in range(1, FRAMES // SEGMENT_FRAMES)
)
SEGMENTS = len(CUTS) + 1


def segment_frames(number: int) -> range:
    """Frames of the segment `number`."""
    borders = (0, *CUTS, FRAMES)
    return range(borders[number], borders[number + 1])


class Wrong(AssertionError):
    """What was published, left behind or told is not what it must be."""


@attrs.frozen
class Making:
    """How a run encodes the film. Both ways give the same pictures from the same frames."""

    name: str
    profile: Profile
    suffix: str


MAKINGS = (
    Making(
        "lossless-mkv",
        Profile(rate=RateControl(RateMode.LOSSLESS), preset="ultrafast", gop_frames=25),
        "mkv",
    ),
    Making(
        "crf-mp4",
        Profile(rate=RateControl(quality=30), preset="veryfast", gop_frames=25, b_frames=2),
        "mp4",
    ),
)
LOSSLESS, LOSSY = MAKINGS


@attrs.frozen
class Shown:
    """What comes out of a film: (time in ticks, hash) of every picture and every sound packet."""

    pictures: tuple[tuple[int, str], ...]
    sound: tuple[tuple[int, str], ...]


def make_film(directory: Path) -> Path:
    """Moving pictures of which no two are alike, with sound."""
    path = directory / "film.mkv"
    ffmpeg(*pictures(FRAMES, rate=str(RATE), size="192x128"), *tone(FRAMES / RATE),
           "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
           "-g", str(SOURCE_GOP), "-bf", "2", "-c:a", "aac", str(path))  # fmt: skip
    return path


def look(path: Path) -> Shown:
    """Decode and read a whole film with one ffmpeg process.

    Raises:
        Wrong: ffmpeg complains about it.
    """
    hashes = [path.with_name(f".{path.name}.{kind}.hashes") for kind in ("pictures", "sound")]
    command = [
        ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-i", str(path),
        "-map", "0:v:0", "-vf", "format=yuv420p", "-fps_mode", "passthrough",
        "-enc_time_base", "1:1000", "-f", "framemd5", str(hashes[0]),
        "-map", "0:a:0", "-c", "copy", "-f", "framemd5", str(hashes[1]),
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode or done.stderr.strip():
        raise Wrong(f"ffmpeg does not read {path.name} without complaint: {done.stderr.strip()}")
    try:
        return Shown(_rows(hashes[0]), _rows(hashes[1]))
    finally:
        for file in hashes:
            file.unlink()


def _rows(path: Path) -> tuple[tuple[int, str], ...]:
    rows = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            fields = [field.strip() for field in line.split(",")]
            rows.append((int(fields[2]), fields[-1]))
    return tuple(rows)


def compare(expected: Shown, found: Shown, missing: Sequence[int] = ()) -> None:
    """Prove that `found` is `expected` without the frames numbered `missing`.

    Raises:
        Wrong: It is not.
    """
    left_out = set(missing)
    wanted = tuple(row for n, row in enumerate(expected.pictures) if n not in left_out)
    if len(found.pictures) != len(wanted):
        raise Wrong(f"{len(found.pictures)} pictures are there, not {len(wanted)}")
    times = [time for time, _ in found.pictures]
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise Wrong("the pictures' times do not rise")
    for number, (want, have) in enumerate(zip(wanted, found.pictures, strict=True)):
        if want[0] != have[0]:
            raise Wrong(f"picture {number} is shown at {have[0]} ms, not {want[0]} ms")
        if want[1] != have[1]:
            raise Wrong(f"picture {number} is another one")
    if found.sound != expected.sound:
        raise Wrong(f"sound differs: {len(found.sound)} packets for {len(expected.sound)}")


def one_process(directory: Path, film: Path) -> Shown:
    """What a single lossless ffmpeg makes of the film, without any cluster."""
    path = directory / "single.mkv"
    ffmpeg("-i", str(film), "-map", "0:v:0", "-map", "0:a:0", "-c:v", "libx264", "-qp", "0",
           "-preset", "ultrafast", "-c:a", "copy", "-fps_mode", "passthrough",
           str(path))  # fmt: skip
    return look(path)
