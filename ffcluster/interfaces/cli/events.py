"""`ffcluster events`: what happened in the cluster, and what happens, one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ffcluster.errors import Unreachable
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options, patience_option
from ffcluster.interfaces.cli.output import Exit, Output, plain, printable
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.web.stream import LoggedEvent


@click.command(cls=FfclusterCommand, short_help="Show what happened, or happens, in the cluster.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--job",
    "job_id",
    metavar="ID",
    shell_complete=completing.any_job,
    help="Only what happens to this job.",
)
@click.option(
    "--after",
    metavar="NUMBER",
    type=click.IntRange(0),
    help="Begin after this event.  [default: the oldest that is kept; with --follow, the newest]",
)
@patience_option
@coordinator_options()
@click.pass_obj
def events(
    runtime: Runtime,
    /,
    output: Output,
    follow: bool,
    job_id: str | None,
    after: int | None,
    patience_s: float,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Show the events that the coordinator keeps, oldest first; with --follow, new ones.

    Events are numbered without gaps: a program that stopped goes on with --after and the last
    number that it has seen. With --follow, a coordinator that goes away is found again, and
    nothing is missed.

    \b
    ffcluster events --job ID
    ffcluster events --follow --after 4711 --json
    """

    async def work(client: Client) -> Exit:
        count, last = 0, after
        stream = client.events(
            job_id=job_id, after=after, follow=follow, patience_s=patience_s,
            on_outage=lambda error: _outage(error, output),
        )  # fmt: skip
        try:
            async for event in stream:
                count, last = count + 1, event.number
                output.emit("event", event=event)
                output.show(_line(event))
        finally:
            await stream.close()
        output.emit("result", count=count, last=last)
        if not count:
            output.say("No events.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _outage(error: Unreachable | None, output: Output) -> None:
    if error is None:
        output.emit("coordinator", reachable=True, message="")
        output.say("The coordinator can be reached again.")
    else:
        output.emit("coordinator", reachable=False, message=error.message)
        output.say(f"The coordinator cannot be reached; trying again. {error.message}")


def _line(event: LoggedEvent) -> str:
    about = " ".join(filter(None, (
        f"job {event.job_id}" if event.job_id else "",
        f"worker {event.worker_id}" if event.worker_id else "",
        f"epoch {event.epoch}" if event.epoch is not None else "",
    )))  # fmt: skip
    data = json.dumps(plain(event.data), ensure_ascii=False) if event.data else ""
    return printable(
        "  ".join(filter(None, (str(event.number), event.at, event.kind, about, data)))
    )
