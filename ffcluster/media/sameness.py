"""Whether two encodings of the same frames are the same: packets, decoded pictures, or how far off.

Compares files; knows neither where they come from nor what that means.
"""

from __future__ import annotations

import enum
import math
import re
from fractions import Fraction
from pathlib import Path

import attrs
from twisted.internet.threads import deferToThread

from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import VerificationFailed
from ffcluster.media.command import Command, file_url, input_arguments, seconds
from ffcluster.media.framehash import first_difference, read_hashes
from ffcluster.media.limits import PIECE_FORMATS
from ffcluster.media.runner import Finished, Runner

_PSNR = re.compile(r"PSNR .*average:(\S+) min:(\S+)")
_QUIET = ("-hide_banner", "-loglevel", "warning", "-y", "-copyts", "-noautorotate")


class Match(enum.StrEnum):
    """In what two encodings are the same.

    FILE: in every byte, their containers included.
    PACKETS: in every byte that the encoder wrote; their containers differ.
    PICTURES: in every decoded picture, bit for bit.
    NOTHING: at least one picture differs.
    """

    FILE = "file"
    PACKETS = "packets"
    PICTURES = "pictures"
    NOTHING = "nothing"


@attrs.frozen
class Stretch:
    """The frames of a file that count.

    Attributes:
        path: A Matroska or NUT file with one video stream.
        start_s: Seconds before which decoded frames are dropped; None: none.
        end_s: Seconds from which decoded frames are dropped; None: none.
    """

    path: Path
    start_s: Fraction | None = None
    end_s: Fraction | None = None

    def chain(self) -> tuple[str, ...]:
        """The filter that lets through only these frames, if one is needed."""
        bounds = [
            f"{name}={seconds(value)}"
            for name, value in (("start", self.start_s), ("end", self.end_s))
            if value is not None
        ]
        return (f"trim={':'.join(bounds)}",) if bounds else ()


@attrs.frozen
class Sameness:
    """What two encodings have in common.

    Attributes:
        match: In what they are the same.
        frames: Pictures or packets that were compared.
        first_other: The first picture that differs or that only one of them has, or None.
        mean_psnr_db: Mean PSNR over all pictures, or None where they are the same or their
            numbers or sizes differ.
        least_psnr_db: PSNR of the picture that differs most, or None likewise.
    """

    match: Match
    frames: int
    first_other: int | None = None
    mean_psnr_db: float | None = None
    least_psnr_db: float | None = None


async def compare_encodings(
    runner: Runner, build: FfmpegBuild, made: Stretch, given: Stretch, folder: Path
) -> Sameness:
    """Compare packets, then pictures, then how far the pictures are apart.

    Args:
        runner: Starts ffmpeg.
        build: The ffmpeg that decodes.
        made: One encoding.
        given: The other.
        folder: For files in between.

    Raises:
        VerificationFailed: One of them cannot be decoded.
    """
    packets = [
        await _hashes(runner, _packets_command(build, side, folder / f"{name}.packets"))
        for name, side in (("made", made), ("given", given))
    ]
    if packets[0] and packets[0] == packets[1]:
        return Sameness(Match.PACKETS, len(packets[0]))
    pictures = [
        await _hashes(runner, _pictures_command(build, side, folder / f"{name}.pictures"))
        for name, side in (("made", made), ("given", given))
    ]
    other = first_difference(*pictures)
    if other is None:
        return Sameness(Match.PICTURES, len(pictures[0]))
    mean = least = None
    if len(pictures[0]) == len(pictures[1]):
        mean, least = await _psnr(runner, build, made, given)
    return Sameness(Match.NOTHING, max(map(len, pictures)), other, mean, least)


async def _hashes(runner: Runner, command: Command) -> list[bytes]:
    finished = await runner.run(command).done
    _judge(finished, command)
    target = Path(command.argv[-1].removeprefix("file:"))
    found: list[bytes] = await deferToThread(read_hashes, target)
    return found


def _judge(finished: Finished, command: Command) -> None:
    if finished.returncode != 0 or not finished.ended:
        raise VerificationFailed(
            message="One of the two encodings cannot be decoded",
            detail={"stderr": finished.stderr_tail, "argv": list(command.redacted())},
        )


def _packets_command(build: FfmpegBuild, side: Stretch, target: Path) -> Command:
    """Write a hash of every packet to `target`, as it is stored."""
    argv = (
        build.path, *_QUIET, *input_arguments(side.path, PIECE_FORMATS), "-map", "0:v:0",
        "-c", "copy", "-f", "framehash", "-hash", "sha256", file_url(target),
    )  # fmt: skip
    return Command(argv, "check", reports_progress=True, is_heavy=True)


def _pictures_command(build: FfmpegBuild, side: Stretch, target: Path) -> Command:
    """Write a hash of every decoded picture that counts to `target`."""
    chain = ",".join(side.chain())
    argv = (
        build.path, *_QUIET, *input_arguments(side.path, PIECE_FORMATS), "-map", "0:v:0",
        *(("-vf", chain) if chain else ()), *build.fps_mode_args, *build.enc_time_base_args,
        "-f", "framehash", "-hash", "sha256", file_url(target),
    )  # fmt: skip
    return Command(argv, "check", reports_progress=True, is_heavy=True)


async def _psnr(
    runner: Runner, build: FfmpegBuild, made: Stretch, given: Stretch
) -> tuple[float | None, float | None]:
    """Mean and least PSNR; (None, None) where the pictures cannot be laid side by side."""
    # Frames are compared by their number: times differ between containers.
    sides = [",".join([*side.chain(), "setpts=N/(25*TB)"]) for side in (made, given)]
    graph = f"[0:v:0]{sides[0]}[made];[1:v:0]{sides[1]}[given];[made][given]psnr"
    argv = (
        build.path, "-hide_banner", "-loglevel", "info", "-nostats", "-copyts",
        "-noautorotate", *input_arguments(made.path, PIECE_FORMATS),
        "-noautorotate", *input_arguments(given.path, PIECE_FORMATS),
        "-filter_complex", graph, "-an", "-sn", "-dn", "-f", "null", "-",
    )  # fmt: skip
    finished = await runner.run(Command(argv, "check", is_heavy=True)).done
    found = _PSNR.search(finished.stderr_tail) if finished.returncode == 0 else None
    return (_decibels(found[1]), _decibels(found[2])) if found else (None, None)


def _decibels(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
