"""`ffcluster status`: the cluster as a whole, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output, clock, megabytes, plain, printable
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.web.models.status import Disk, Me, Status


@click.command(cls=FfclusterCommand, short_help="Show how the cluster is doing as a whole.")
@coordinator_options()
@click.pass_obj
def status(runtime: Runtime, /, output: Output, coordinator: str, token_file: Path | None) -> Exit:
    """Show the coordinator's version, its jobs and workers by state, its disk, warnings, and you.

    \b
    ffcluster status --coordinator ws://HOST:5001 --token-file FILE
    ffcluster status --json
    """

    async def work(client: Client) -> Exit:
        found = await client.status()
        me = await client.me()
        output.emit("result", **plain(found), me=me)
        output.show(f"{_describe(found)}\n{_you(me)}")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _describe(found: Status) -> str:
    ffmpeg = f", ffmpeg {found.ffmpeg}" if found.ffmpeg else ""
    lines = [
        f"ffcluster {found.version}{ffmpeg}, up for {clock(found.uptime_s)}",
        f"Jobs: {_counts(found.jobs)}",
        f"Workers: {_counts(found.workers)}; jobs start with {found.required_workers} or more",
        f"{found.fps:.1f} frames/s",
    ]
    lines.append(_disk(found.disk))
    lines += [f"Warning: {printable(text)}" for text in found.warnings]
    if not sum(found.workers.values()) and found.worker_command:
        lines.append(f"Start a worker: {printable(found.worker_command)}")
    return "\n".join(lines)


def _you(me: Me) -> str:
    scopes = ", ".join(scope.value for scope in me.scopes)
    return f"You: {printable(me.name) or 'no token is asked for'}; may do what needs {scopes}"


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items() if count) or "none"


def _disk(disk: Disk) -> str:
    limit = f" of {megabytes(disk.limit_bytes)}" if disk.limit_bytes is not None else ""
    free = f", {megabytes(disk.free_bytes)} free" if disk.free_bytes is not None else ""
    used = "not counted yet" if disk.used_bytes is None else f"{megabytes(disk.used_bytes)}"
    short = f"; {printable(disk.short_of)}" if disk.short_of else ""
    return f"Disk: {used}{limit} used{free}{short}"
