"""Read and compare ffmpeg's framemd5 files. Looks at the pictures' hashes, never at times."""

from __future__ import annotations

from pathlib import Path


def read_hashes(path: Path) -> list[bytes]:
    """The MD5 of each picture, in the order in which they are shown."""
    with path.open("rb") as file:
        return [
            bytes.fromhex(line.rsplit(b",", 1)[-1].strip().decode("ascii"))
            for line in file
            if not line.startswith(b"#") and line.strip()
        ]


def first_difference(one: list[bytes], other: list[bytes]) -> int | None:
    """Number of the first picture that differs or is missing from one of the two, or None."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return None if len(one) == len(other) else min(len(one), len(other))
