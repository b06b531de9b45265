"""`picture`, `link`: a picture of a job's film, and a URL that works without a token."""

from __future__ import annotations

from pathlib import Path

import click

from ffcluster.errors import InvalidOption
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.files import check_target, write_bytes
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options, duration
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.runtime import Client, Runtime

_THUMBNAIL_HEIGHT, _PREVIEW_HEIGHT = 180, 720


@click.command(cls=FfclusterCommand, short_help="Fetch a picture of a job's film.")
@click.argument("job_id", metavar="ID", shell_complete=completing.any_job)
@click.option(
    "--frame", type=click.IntRange(0), help="A small picture of the source, of about this frame."
)
@click.option("--at", "at_s", metavar="TIME", callback=duration, help="The frame of this time.")
@click.option(
    "--side",
    type=click.Choice(["source", "result"]),
    help="With --at: of the film, or of what came of it.  [default: source]",
)
@click.option(
    "--height",
    type=click.IntRange(16),
    help="Height in pixels, at least.  [default: 180 with --frame, 720 with --at]",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write the JPEG file.",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace that file if it exists.")
@coordinator_options()
@click.pass_obj
def picture(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    frame: int | None,
    at_s: float | None,
    side: str | None,
    height: int | None,
    target: Path,
    overwrite: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Fetch one picture of job ID's film as JPEG: a small one by --frame, a large one by --at.

    \b
    ffcluster picture ID --frame 1200 --output frame.jpg
    ffcluster picture ID --at 90s --side result --output result.jpg
    """
    if (frame is None) == (at_s is None):
        raise InvalidOption(message="Give either --frame or --at.", option="--frame")
    if side is not None and at_s is None:
        raise InvalidOption(message="--side needs --at TIME.", option="--side")
    check_target(target.absolute(), overwrite=overwrite)

    async def work(client: Client) -> Exit:
        from ffcluster.web.pictures import Side

        if frame is not None:
            data = await client.thumbnail(job_id, frame, height=height or _THUMBNAIL_HEIGHT)
        else:
            seen = Side(side or Side.SOURCE)
            data = await client.preview(
                job_id, at_s or 0.0, side=seen, height=height or _PREVIEW_HEIGHT
            )
        write_bytes(target.absolute(), data)
        output.emit("result", job=job_id, path=target, size_bytes=len(data))
        output.say(f"{target}: a picture of job {job_id}.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Print a URL that needs no token for a while.")
@click.argument("job_id", metavar="ID", shell_complete=completing.any_job)
@click.option(
    "--of",
    "what",
    type=click.Choice(["result", "report", "receipt"]),
    default="result",
    show_default=True,
    help="What it leads to.",
)
@coordinator_options()
@click.pass_obj
def link(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    what: str,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Print a URL of job ID's file that browsers and players can open; it works for some minutes.

    Whoever has the URL can fetch what it leads to.

    \b
    ffcluster link ID
    ffcluster link ID --of report
    """

    async def work(client: Client) -> Exit:
        made = await client.link(job_id, what)
        output.emit("result", job=job_id, url=made.url, expires_at=made.expires_at)
        output.show(made.url)
        output.say(f"It works until {made.expires_at}.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)
