"""`submit`, `wait`, `jobs`, `job`, `cancel`, `workers`: talk with a running coordinator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from ffcluster.core.views import JobView, WorkerView
from ffcluster.errors import NotFound
from ffcluster.interfaces.cli.files import check_source, check_target
from ffcluster.interfaces.cli.following import fetch, follow, submit_source
from ffcluster.interfaces.cli.machines import (
    capabilities_table,
    device_in_words,
    devices_of,
    diagnoses_lines,
    measurements_table,
    plugins_table,
)
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    JobOptions,
    coordinator_options,
    job_options,
    read_token,
)
from ffcluster.interfaces.cli.output import Exit, Output, clock, megabytes, table
from ffcluster.interfaces.cli.progress import headline, percent_of, progress_for
from ffcluster.interfaces.cli.report import kind_in_words, made_in_words, report, used_by
from ffcluster.interfaces.cli.runtime import Client, Runtime


def _with_client(
    runtime: Runtime,
    output: Output,
    coordinator: str,
    token_file: Path | None,
    work: Callable[[Client], Awaitable[Exit]],
) -> Exit:
    """Run `work` with a session that is closed afterwards."""
    token = read_token(token_file, output)

    async def main(reactor: Any) -> Exit:
        client = await runtime.connect(reactor, coordinator, token)
        try:
            return await work(client)
        finally:
            await client.close()

    return runtime.run(main, output)


@click.command(cls=FfclusterCommand, short_help="Hand INPUT to a coordinator and return.")
@click.argument("source", metavar="INPUT")
@click.argument("name", metavar="[NAME]", required=False)
@coordinator_options()
@click.option("--on-server", is_flag=True, help="INPUT is a path that the coordinator can read.")
@job_options
@click.pass_obj
def submit(
    runtime: Runtime,
    /,
    output: Output,
    source: str,
    name: str | None,
    coordinator: str,
    token_file: Path | None,
    on_server: bool,
    options: JobOptions,
) -> Exit:
    """Hand INPUT to a coordinator, print the job's id and return.

    NAME is the output's file name; its suffix chooses the container. Without it the coordinator's
    --file-name-output counts. `ffcluster wait` follows the job and fetches the file.
    """
    if not on_server:
        check_source(Path(source))
    request = options.request(Path(source).name, name, server_path=source if on_server else None)

    async def work(client: Client) -> Exit:
        progress = progress_for(output)
        try:
            view = await submit_source(client, request, source, progress, output)
        finally:
            progress.stop()
        output.emit("result", job=view.id)
        output.show(view.id)
        return Exit.DONE

    return _with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Follow a job to its end; fetch its file.")
@click.argument("job_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Fetch the finished file to this path.",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace that file if it exists.")
@coordinator_options()
@click.pass_obj
def wait(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    target: Path | None,
    overwrite: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Follow job ID to its end. Ctrl-C stops following; the job goes on."""
    if target is not None:
        check_target(target.absolute(), overwrite=overwrite)

    async def work(client: Client) -> Exit:
        progress = progress_for(output)
        try:
            view = await follow(client, await client.job(job_id), progress)
            if view.outcome is not None and target is not None:
                await fetch(client, view, target.absolute(), progress)
        finally:
            progress.stop()
        return report(view, target, output)

    return _with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="List all jobs.")
@coordinator_options()
@click.pass_obj
def jobs(runtime: Runtime, /, output: Output, coordinator: str, token_file: Path | None) -> Exit:
    """List all jobs that the coordinator knows."""

    async def work(client: Client) -> Exit:
        views = await client.jobs()
        for view in views:
            output.emit("job", job=view)
        output.emit("result", count=len(views))
        rows = [
            (view.id, view.state, f"{percent_of(view):.0f} %", f"{view.fps:.1f}", clock(view.eta_s),
             view.encoder or "-", view.spec.source_name, view.spec.output_name)
            for view in views
        ]  # fmt: skip
        headings = ("ID", "STATE", "DONE", "FRAMES/S", "ETA", "ENCODER", "SOURCE", "OUTPUT")
        hint = "No jobs. Submit one: ffcluster submit INPUT"
        output.show(table(headings, rows) if rows else hint)
        return Exit.DONE

    return _with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Show one job.")
@click.argument("job_id", metavar="ID")
@click.option("--segments", is_flag=True, help="Show every segment too.")
@coordinator_options()
@click.pass_obj
def job(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    segments: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Show job ID: its state, its workers and, if you want, its segments."""

    async def work(client: Client) -> Exit:
        view = await client.job(job_id, segments=segments)
        output.emit("result", job=view)
        output.show(_describe(view))
        return Exit.DONE

    return _with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Cancel a job.")
@click.argument("job_id", metavar="ID")
@coordinator_options()
@click.pass_obj
def cancel(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Cancel job ID: its workers stop at once, and nothing is published."""

    async def work(client: Client) -> Exit:
        view = await client.cancel(job_id)
        output.emit("result", job=view.id, state=view.state)
        output.show(f"{view.id}: {view.state}")
        return Exit.DONE

    return _with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="List the connected workers.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
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

    With NAMEs only these, in every detail.
    """

    async def work(client: Client) -> Exit:
        views = [v for v in await client.workers() if not names or v.name in names]
        missing = sorted(set(names) - {view.name for view in views})
        if missing:
            raise NotFound(
                message=f"There is no worker {' or '.join(missing)}.",
                advice="`ffcluster workers` lists them all.",
            )
        for view in views:
            output.emit("worker", worker=view)
        output.emit("result", count=len(views))
        headings = (
            "NAME", "STATE", "RUNNING", "FRAMES/S", "SEGMENTS", "FAILED", "DEVICES", "ENCODERS",
        )  # fmt: skip
        if verbose or names:
            output.show("\n\n".join(map(_describe_worker, views)) or _nobody(coordinator))
        else:
            rows = [_worker_row(view) for view in views]
            output.show(table(headings, rows) if rows else _nobody(coordinator))
        return Exit.DONE

    return _with_client(runtime, output, coordinator, token_file, work)


def _nobody(coordinator: str) -> str:
    return f"No workers. Start one: ffcluster worker {_where(coordinator)}"


def _where(coordinator: str) -> str:
    from ffcluster.net.address import CoordinatorAddress

    address = CoordinatorAddress.parse(coordinator)
    return f"--server-ip {address.host} --server-port {address.port}"


def _worker_row(view: WorkerView) -> tuple[object, ...]:
    state = f"{view.state}, draining" if view.draining else view.state
    encoders = ", ".join(dict.fromkeys(c.encoder for c in view.capabilities)) or "none"
    return (
        view.name, state, view.running, round(view.fps, 1), view.segments_done, view.failures,
        devices_of(view.capabilities) or "none", encoders,
    )  # fmt: skip


def _describe_worker(view: WorkerView) -> str:
    """All that a worker said of its machine."""
    builds = ", ".join(view.builds) or view.ffmpeg
    lines = [
        f"{view.name}: {view.state}{', draining' if view.draining else ''}, {view.address}",
        f"ffcluster {view.version}, {view.platform}, {view.cpus} cores, ffmpeg {builds}",
        "",
        capabilities_table(view.capabilities),
    ]
    troubles = diagnoses_lines(view.diagnoses)
    lines += ["", "Does not work, or only in part:", *troubles] if troubles else []
    lines += ["", plugins_table(view.plugins)] if view.plugins else []
    return "\n".join([*lines, "", measurements_table(view.measurements)])


def _describe(view: JobView) -> str:
    lines = [f"{view.id}  {view.spec.source_name} -> {view.spec.output_name}", headline(view)]
    if view.error is not None:
        lines += [f"Error: {view.error.message}", *filter(None, [view.error.advice])]
    if view.outcome is not None:
        lines.append(f"{view.outcome.path}: {megabytes(view.outcome.size_bytes)}")
        lines += [f"  {made_in_words(made)}" for made in view.outcome.made_by]
        lines += [f"Note: {note}" for note in view.outcome.notes]
    if view.shares:
        rows = [
            (s.worker, used_by(s), s.segments, s.frames, round(s.fps, 1), s.failures)
            for s in view.shares
        ]
        lines.append(table(("WORKER", "ENCODER", "SEGMENTS", "FRAMES", "FRAMES/S", "FAILED"), rows))
    if view.segments:
        lines.append(_segments_table(view))
    return "\n".join(lines)


def _segments_table(view: JobView) -> str:
    rows = [
        (
            s.first_frame,
            s.frame_count,
            s.state,
            s.worker,
            f"{s.encoder}{' (in place of hardware)' if s.fallback else ''}",
            device_in_words(s.device) if s.encoder else "",
            kind_in_words(s.kind),
            s.attempts,
        )
        for s in view.segments
    ]
    headings = (
        "FIRST FRAME", "FRAMES", "STATE", "WORKER", "ENCODER", "DEVICE", "KIND", "ATTEMPTS",
    )  # fmt: skip
    return table(headings, rows)
