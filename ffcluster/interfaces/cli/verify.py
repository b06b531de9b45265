"""`ffcluster verify`: compare a file with the source that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster.errors import VerificationFailed
from ffcluster.interfaces.cli.files import check_source
from ffcluster.interfaces.cli.options import FfclusterCommand
from ffcluster.interfaces.cli.output import Exit, Output, plain
from ffcluster.interfaces.cli.runtime import Runtime

if TYPE_CHECKING:
    from ffcluster.media.verify import ComparisonReport


@click.command(cls=FfclusterCommand, short_help="Compare SOURCE and OUTPUT.")
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--pictures",
    is_flag=True,
    help="Decode both and compare every picture too; right for lossless outputs only.",
)
@click.option("--ffmpeg", help="The ffmpeg to decode with.  [default: the first that is found]")
@click.pass_obj
def verify(
    runtime: Runtime,
    /,
    output: Output,
    source: Path,
    target: Path,
    pictures: bool,
    ffmpeg: str | None,
) -> Exit:
    """Compare OUTPUT with SOURCE: number of frames, the time of each, and the streams.

    Ends with 0 when all is as it should be, and with 3 when anything differs.
    """
    check_source(source)
    check_source(target)

    async def main(reactor: Any) -> Exit:
        found = await runtime.compare(
            reactor, source.absolute(), target.absolute(), ffmpeg=ffmpeg, pictures=pictures
        )
        if found.differences:
            raise VerificationFailed(
                message=f"{target} is not what {source} asks for: {found.differences[0]}.",
                detail={"differences": list(found.differences), "notes": list(found.notes)},
            )
        proof = proof_lines(found)
        output.emit("result", exact=True, proof=proof, **plain(found))
        output.show("\n".join(["exact", *(f"  {line}" for line in proof)]))
        return Exit.DONE

    return runtime.run(main, output)


def proof_lines(found: ComparisonReport) -> list[str]:
    """Say what was compared, and what was not."""
    streams = ", ".join(found.output_streams)
    lines = [
        f"{found.output_frames} frames, as many as the source has",
        "every frame at its source's time"
        + (
            f", but for the container's rounding of {found.largest_time_error_s * 1000:.3f} ms"
            if found.largest_time_error_s
            else ", to the tick"
        ),
        f"streams: {streams}",
    ]
    if found.pictures_equal:
        lines.append("every decoded picture identical to the source's")
    else:
        lines.append("pictures not compared (only a lossless output has the source's)")
    return [*lines, *found.notes]
