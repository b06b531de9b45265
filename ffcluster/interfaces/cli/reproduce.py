"""`ffcluster reproduce`: make one segment of a job again, and say whether the same comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster.core.receipts import JobReceipt
from ffcluster.errors import InvalidOption, NotFound
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.machines import device_in_words
from ffcluster.interfaces.cli.named import read_token
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    coordinator_options,
    ffmpegs_option,
)
from ffcluster.interfaces.cli.output import Exit, Output, plain
from ffcluster.interfaces.cli.runtime import Runtime

if TYPE_CHECKING:
    from ffcluster.services.local.reproduction import Reproduction

_LARGEST_RECEIPT_BYTES = 2**30


def _segment(_ctx: click.Context, _param: click.Parameter, text: str) -> dict[str, int]:
    name, digits = ("frame", text[1:]) if text.startswith("@") else ("number", text)
    if not digits.isascii() or not digits.isdecimal():
        raise click.BadParameter("a segment's number from 0, or @FRAME")
    return {name: int(digits)}


@click.command(cls=FfclusterCommand, short_help="Make one segment of a job again, and compare.")
@click.argument("job_id", metavar="JOB", shell_complete=completing.any_job)
@click.argument("segment", metavar="SEGMENT", callback=_segment)
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The job's receipt, instead of asking the coordinator.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The film.  [default: where the receipt says]",
)
@click.option(
    "--output",
    "published",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The published file, or the committed result itself, to compare with.  "
    "[default: the published file where the receipt says]",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the new and the committed encoding in this directory.",
)
@ffmpegs_option
@coordinator_options()
@click.pass_obj
def reproduce(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    segment: dict[str, int],
    receipt: Path | None,
    source: Path | None,
    published: Path | None,
    keep: Path | None,
    ffmpeg: tuple[str, ...],
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Make one segment of JOB again on this machine, and say whether the same comes of it.

    SEGMENT is its number from 0, or @FRAME for the one that holds a frame of the film. It is cut
    and encoded just as it was for the attempt that was committed.

    Ends with 0 when packets or pictures are the same, with 3 when they differ, and with 6 when it
    cannot be made or compared here.
    """

    async def main(reactor: Any) -> Exit:
        from ffcluster.services.local.reproduction import Wish

        if receipt is not None:
            found = _read(receipt, job_id)
        else:
            token = read_token(token_file, output)
            client = await runtime.connect(reactor, coordinator, token)
            try:
                found = await client.receipt(job_id)
            finally:
                await client.close()
        wish = Wish(**segment, source=source, output=published, ffmpegs=ffmpeg, keep=keep)
        made = await runtime.reproduce(reactor, found, wish)
        for warning in made.warnings:
            output.warn(f"Not as it was: {warning}.")
        output.emit("result", same=made.same, **plain(made))
        output.show("\n".join(_lines(made)))
        return Exit.DONE if made.same else Exit.UNVERIFIED

    return runtime.run(main, output)


def _read(path: Path, job_id: str) -> JobReceipt:
    from ffcluster.services.keeping.receiptfile import read_receipt

    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_RECEIPT_BYTES)
    except OSError as error:
        raise InvalidOption(
            message=f"{path} cannot be read: {error.strerror}.", option="--receipt"
        ) from error
    found = read_receipt(data, str(path))
    if found.id != job_id:
        raise NotFound(message=f"{path} is the receipt of job {found.id}, not of {job_id}.")
    return found


def _lines(made: Reproduction) -> list[str]:
    frames = f"frames {made.frames.first} to {made.frames.stop - 1}"
    return [
        f"segment {made.segment} ({frames}): {_verdict(made)}",
        f"  compared with {made.against}",
        f"  {made.encoder} on {device_in_words(made.device)}, ffmpeg {made.ffmpeg}, "
        f"{made.encode_s:.1f} s; committed was attempt {made.epoch} of {made.worker}",
        *(f"  kept: {path}" for path in made.kept),
    ]


def _verdict(made: Reproduction) -> str:
    if made.same:
        what = {
            "file": "same, byte for byte",
            "packets": f"same, every byte of its {made.frames_compared} packets "
            "(the file around them is another)",
            "pictures": f"same {made.frames_compared} pictures, bit for bit (their bytes differ)",
        }
        return what[made.match]
    apart = ""
    if made.mean_psnr_db is not None and made.least_psnr_db is not None:
        apart = f"; PSNR {made.mean_psnr_db:.2f} dB, least {made.least_psnr_db:.2f} dB"
    return f"DIFFERENT, first in frame {made.first_other}{apart}"
