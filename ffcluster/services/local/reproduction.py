"""What is asked of `ffcluster.services.local.reproduce`, and what it answers: plain data."""

from __future__ import annotations

from pathlib import Path

import attrs

from ffcluster.core.timeline import FrameRange
from ffcluster.media.sameness import Match


@attrs.frozen(kw_only=True)
class Wish:
    """What shall be made again, and with what.

    Attributes:
        number: The segment's place in the film, from 0; None where `frame` is given.
        frame: A frame that the segment holds.
        source: The film, or None where the receipt says.
        output: The published file, or the committed result itself; None takes the published file
            where the receipt says, if it can be read here.
        ffmpegs: The ffmpegs to use, the preferred one first; () to look for one.
        keep: Directory in which both files are kept, or None.
    """

    number: int | None = None
    frame: int | None = None
    source: Path | None = None
    output: Path | None = None
    ffmpegs: tuple[str, ...] = ()
    keep: Path | None = None


@attrs.frozen(kw_only=True)
class Reproduction:
    """What came of making a segment again.

    Attributes:
        job: The job's id.
        segment: The segment's place in the film.
        frames: Its frames.
        epoch: The committed attempt.
        worker: Whose it was.
        encoder: What made it, there and here.
        device: The device here, "" for the CPU.
        match: In what both are the same.
        frames_compared: Packets or pictures that were compared; 0 where whole files were.
        against: What the new result was compared with, in words.
        first_other: The first frame of the film whose picture differs, or None.
        mean_psnr_db: How far apart the pictures are, or None where they are the same.
        least_psnr_db: The same for the picture that differs most.
        sha256: SHA-256 of the new result.
        committed_sha256: SHA-256 of the committed one, or "".
        ffmpeg: Version of the ffmpeg here.
        committed_ffmpeg: Version of the ffmpeg that made the committed one.
        argv: The encoding command here, paths redacted.
        committed_argv: The committed attempt's.
        encode_s: Seconds that it took here.
        warnings: What is not as it was then, in words.
        kept: Files that were kept.
    """

    job: str
    segment: int
    frames: FrameRange
    epoch: int
    worker: str
    encoder: str
    device: str
    match: Match
    frames_compared: int
    against: str
    first_other: int | None
    mean_psnr_db: float | None
    least_psnr_db: float | None
    sha256: str
    committed_sha256: str
    ffmpeg: str
    committed_ffmpeg: str
    argv: tuple[str, ...]
    committed_argv: tuple[str, ...]
    encode_s: float
    warnings: tuple[str, ...] = ()
    kept: tuple[Path, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every picture is the same, bit for bit."""
        return self.match is not Match.NOTHING
