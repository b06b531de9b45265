"""`workers`, `drain-worker`, `resume-worker`, `remove-worker`: see and steer who encodes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click

from ffcluster.core.views import WorkerView
from ffcluster.errors import Conflict, NotFound
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.machines import (
    capabilities_table,
    device_in_words,
    devices_of,
    diagnoses_lines,
    load_in_words,
    measurements_table,
    plugins_table,
)
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output, table
from ffcluster.interfaces.cli.runtime import Client, Runtime


@click.command(cls=FfclusterCommand, short_help="List the workers.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completing.worker)
@click.option("--verbose", is_flag=True, help="Show what works on each, what does not, and why.")
@coordinator_options()
@click.pass_obj
def workers(
    runtime: Runtime,
    /,
    output: Output,
    names: tuple[str, ...],
    verbose: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """List the workers, what they do and what they can.

    With NAMEs only these, in every detail. A worker that is Absent lost its connection and keeps
    what it encodes until its lease ends; one that is Disconnected has nothing any more.
    """

    async def work(client: Client) -> Exit:
        views = [v for v in await client.workers() if not names or v.name in names or v.id in names]
        known = {word for view in views for word in (view.name, view.id)}
        if missing := sorted(set(names) - known):
            raise _unknown(" or ".join(missing))
        for view in views:
            output.emit("worker", worker=view)
        output.emit("result", count=len(views))
        if verbose or names:
            output.show("\n\n".join(map(_describe, views)) or _nobody(coordinator))
        else:
            output.show(_overview(views) if views else _nobody(coordinator))
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Give a worker nothing more.")
@click.argument("name", metavar="NAME", shell_complete=completing.worker)
@coordinator_options()
@click.pass_obj
def drain_worker(
    runtime: Runtime, /, output: Output, name: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Give the worker NAME (or of that id) nothing more; what it encodes is finished.

    That lasts, even when the worker or the coordinator is restarted, until
    `ffcluster resume-worker NAME`.
    """
    return _changed(
        runtime, output, coordinator, token_file, name, lambda c, v: c.drain_worker(v.id)
    )


@click.command(cls=FfclusterCommand, short_help="Let a drained or resting worker work again.")
@click.argument("name", metavar="NAME", shell_complete=completing.worker)
@coordinator_options()
@click.pass_obj
def resume_worker(
    runtime: Runtime, /, output: Output, name: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Let the worker NAME (or of that id) work again: ends its draining and its devices' rest."""
    return _changed(
        runtime, output, coordinator, token_file, name, lambda c, v: c.resume_worker(v.id)
    )


@click.command(cls=FfclusterCommand, short_help="Forget a worker.")
@click.argument("name", metavar="NAME", shell_complete=completing.worker)
@coordinator_options()
@click.pass_obj
def remove_worker(
    runtime: Runtime, /, output: Output, name: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Forget the worker NAME (or of that id); what it encodes is given to others.

    A worker that still runs comes back as a new one: stop it first, or drain it.
    """

    async def work(client: Client) -> Exit:
        view = await _find(client, name)
        await client.remove_worker(view.id)
        output.emit("result", worker=view.id, name=view.name, removed=True)
        output.show(f"{view.name}: removed")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _changed(
    runtime: Runtime,
    output: Output,
    coordinator: str,
    token_file: Path | None,
    name: str,
    change: Callable[[Client, WorkerView], Awaitable[WorkerView]],
) -> Exit:
    """Make a change and say how the worker stands after it."""

    async def work(client: Client) -> Exit:
        view = await change(client, await _find(client, name, prefers_connected=True))
        output.emit(
            "result",
            worker=view.id,
            name=view.name,
            state=view.state,
            draining=view.draining,
            running=view.running,
            quarantines=view.quarantines,
        )
        output.show(f"{view.name}: {_state(view)}, {view.running} running")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


async def _find(client: Client, name: str, *, prefers_connected: bool = False) -> WorkerView:
    """The worker that is called `name`, or has that id.

    Args:
        client: The coordinator.
        name: Name or id.
        prefers_connected: Of several, take the only one that is not gone.

    Raises:
        NotFound: There is none.
        Conflict: There are several.
    """
    found = [view for view in await client.workers() if name in (view.id, view.name)]
    if not found:
        raise _unknown(name)
    present = [view for view in found if view.state != "Disconnected"]
    if prefers_connected and len(present) == 1:
        return present[0]
    if len(found) > 1:
        ids = ", ".join(f"{view.id} ({view.state}, {view.address})" for view in found)
        raise Conflict(
            message=f"{len(found)} workers are called {name}.", advice=f"Give the id of one: {ids}."
        )
    return found[0]


def _unknown(name: str) -> NotFound:
    return NotFound(
        message=f"There is no worker {name}.", advice="`ffcluster workers` lists them all."
    )


def _nobody(coordinator: str) -> str:
    from ffcluster.net.address import CoordinatorAddress

    address = CoordinatorAddress.parse(coordinator)
    where = f"--server-ip {address.host} --server-port {address.port}"
    return f"No workers. Start one: ffcluster worker {where}"


def _overview(views: Sequence[WorkerView]) -> str:
    headings = (
        "NAME", "ID", "STATE", "RUNNING", "FRAMES/S", "SEGMENTS", "FAILED", "DEVICES", "ENCODERS",
    )  # fmt: skip
    rests = [f"{view.name}: {line}" for view in views for line in _quarantine_lines(view)]
    return "\n".join([table(headings, [_row(view) for view in views]), *rests])


def _row(view: WorkerView) -> tuple[object, ...]:
    encoders = ", ".join(dict.fromkeys(c.encoder for c in view.capabilities)) or "none"
    return (
        view.name, view.id, _state(view), view.running, round(view.fps, 1), view.segments_done,
        view.failures, devices_of(view.capabilities) or "none", encoders,
    )  # fmt: skip


def _state(view: WorkerView) -> str:
    if view.drained_by_operator:
        return f"{view.state}, drained"
    return f"{view.state}, draining" if view.draining else view.state


def _quarantine_lines(view: WorkerView) -> list[str]:
    """What rests, until when, and why."""
    return [
        f"{device_in_words(rest.device)} ({rest.backend}) is given nothing until "
        f"{time.strftime('%H:%M:%S', time.localtime(rest.until))}: {rest.reason}"
        for rest in view.quarantines
    ]


def _describe(view: WorkerView) -> str:
    """All that a worker said of its machine."""
    builds = ", ".join(view.builds) or view.ffmpeg
    lines = [
        f"{view.name}: {_state(view)}, {view.address}, id {view.id}",
        f"ffcluster {view.version}, {view.platform}, {view.cpus} cores, ffmpeg {builds}",
        *([load_in_words(view.load)] if view.load else []),
        *_quarantine_lines(view),
        "",
        capabilities_table(view.capabilities),
    ]
    troubles = diagnoses_lines(view.diagnoses)
    lines += ["", "Does not work, or only in part:", *troubles] if troubles else []
    lines += ["", plugins_table(view.plugins)] if view.plugins else []
    return "\n".join([*lines, "", measurements_table(view.measurements)])
