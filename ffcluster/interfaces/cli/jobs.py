"""`submit`, `wait`, `jobs`, `job`: hand films to a coordinator and see what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from ffcluster.core.views import JobView
from ffcluster.errors import InvalidOption
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.details import show_attempt, show_segment
from ffcluster.interfaces.cli.files import check_source, check_target, write_text
from ffcluster.interfaces.cli.following import fetch, follow, submit_source, with_client
from ffcluster.interfaces.cli.machines import device_in_words
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    JobOptions,
    coordinator_options,
    job_options,
    patience_option,
    queue_options,
)
from ffcluster.interfaces.cli.output import Exit, Output, clock, megabytes, table
from ffcluster.interfaces.cli.progress import (
    fps_of,
    headline,
    output_of,
    percent_of,
    progress_for,
    state_in_words,
)
from ffcluster.interfaces.cli.receipts import attempt_rows, attempts_table
from ffcluster.interfaces.cli.report import (
    kind_in_words,
    made_in_words,
    missing_in_words,
    report,
    used_by,
)
from ffcluster.interfaces.cli.runtime import Client, Runtime
from ffcluster.interfaces.cli.told import webhook_options

if TYPE_CHECKING:
    from ffcluster.web.webhooks import WantedWebhook


@click.command(cls=FfclusterCommand, short_help="Hand INPUT to a coordinator and return.")
@click.argument("source", metavar="INPUT", shell_complete=completing.file)
@click.argument("name", metavar="[NAME]", required=False)
@coordinator_options()
@click.option("--on-server", is_flag=True, help="INPUT is a path that the coordinator can read.")
@queue_options
@webhook_options
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
    priority: int,
    idempotency_key: str,
    webhook: WantedWebhook | None,
    options: JobOptions,
) -> Exit:
    """Hand INPUT to a coordinator, print the job's id and return.

    NAME is the output's file name; its suffix chooses the container. Without it the coordinator's
    --file-name-output counts. `ffcluster wait` follows the job and fetches the file.

    \b
    ffcluster submit film.mkv film.mp4 --codec hevc --quality 24
    ffcluster submit /films/film.mkv --on-server --priority 10
    ffcluster submit film.mkv --webhook https://example.org/done
    """
    if not on_server:
        check_source(Path(source))
    request = attrs.evolve(
        options.request(Path(source).name, name, server_path=source if on_server else None),
        priority=priority,
        idempotency_key=idempotency_key,
    )

    async def work(client: Client) -> Exit:
        progress = progress_for(output)
        try:
            view = await submit_source(client, request, source, progress, output, webhook)
        finally:
            progress.stop()
        output.emit("result", job=view.id)
        output.show(view.id)
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Follow a job to its end; fetch its file.")
@click.argument("job_id", metavar="ID", shell_complete=completing.any_job)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Fetch the finished file to this path.",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace that file if it exists.")
@patience_option
@coordinator_options()
@click.pass_obj
def wait(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    target: Path | None,
    overwrite: bool,
    patience_s: float,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Follow job ID to its end. Ctrl-C stops following; the job goes on.

    A coordinator that restarts meanwhile is found again.

    \b
    ffcluster wait ID --output film.mp4
    """
    if target is not None:
        check_target(target.absolute(), overwrite=overwrite)

    async def work(client: Client) -> Exit:
        progress = progress_for(output)
        try:
            view = await follow(client, await client.job(job_id), progress, patience_s)
            if view.outcome is not None and target is not None:
                await fetch(client, view, target.absolute(), progress)
        finally:
            progress.stop()
        return report(view, target, output)

    return with_client(runtime, output, coordinator, token_file, work)


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
            (view.id, state_in_words(view), view.priority, f"{percent_of(view):.0f} %",
             fps_of(view), clock(view.eta_s), view.encoder or "-", _source(view),
             output_of(view))
            for view in views
        ]  # fmt: skip
        headings = (
            "ID", "STATE", "PRIORITY", "DONE", "FRAMES/S", "ETA", "ENCODER", "SOURCE", "OUTPUT",
        )  # fmt: skip
        hint = "No jobs. Submit one: ffcluster submit INPUT"
        output.show(table(headings, rows) if rows else hint)
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Show one job.")
@click.argument("job_id", metavar="ID", shell_complete=completing.any_job)
@click.option("--segments", is_flag=True, help="Show every segment too.")
@click.option("--attempts", is_flag=True, help="Show every attempt at every segment too.")
@click.option(
    "--segment",
    metavar="FIRST_FRAME",
    type=click.IntRange(0),
    help="Show only the segment that begins at this frame, with every attempt at it.",
)
@click.option(
    "--attempt",
    metavar="EPOCH",
    type=click.IntRange(0),
    help="Show only this attempt: its command, its times, the end of its log.",
)
@click.option(
    "--receipt",
    metavar="FILE",
    is_flag=False,
    flag_value="-",
    help="Write how it was made as JSON to FILE, or to stdout without one (after ID).",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write how it was made for people: one HTML file, once the job is over.",
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace FILE if it exists.")
@coordinator_options()
@click.pass_obj
def job(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    segments: bool,
    attempts: bool,
    segment: int | None,
    attempt: int | None,
    receipt: str | None,
    report_file: Path | None,
    overwrite: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Show job ID: its state, its workers and, if you want, how each segment was made.

    A receipt has all that is known of it: for every attempt the worker, encoder, device, driver,
    ffmpeg and its arguments, times, hashes, and why it did not count. `ffcluster reproduce` makes
    a segment again from it. A report tells people the same in pictures and tables.

    \b
    ffcluster job ID --segments
    ffcluster job ID --segment 250
    ffcluster job ID --attempt 7
    """
    shown = {"--segment": segment, "--attempt": attempt, "--report": report_file}
    _check_alone(shown, receipt, others=segments or attempts)
    target = Path(receipt).absolute() if receipt not in (None, "-") else None
    for path in filter(None, (target, report_file and report_file.absolute())):
        check_target(path, overwrite=overwrite)

    async def work(client: Client) -> Exit:
        if segment is not None:
            return await show_segment(client, job_id, segment, output)
        if attempt is not None:
            return await show_attempt(client, job_id, attempt, output)
        if report_file is not None:
            return await _write_report(client, job_id, report_file.absolute(), output)
        if receipt is not None:
            return await _write_receipt(client, job_id, target, output)
        view = await client.job(job_id, segments=segments)
        tried = await client.receipt(job_id) if attempts else None
        output.emit("result", job=view, **({"attempts": attempt_rows(tried)} if tried else {}))
        output.show(_describe(view) + (f"\n{attempts_table(tried)}" if tried else ""))
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _check_alone(shown: Mapping[str, object], receipt: str | None, *, others: bool) -> None:
    """Refuse two answers at once, of which one would be lost."""
    alone = [name for name, given in shown.items() if given is not None]
    if alone and len(alone) + (receipt is not None) + others > 1:
        raise InvalidOption(
            message=f"{alone[0]} is answered alone; leave the other options out.", option=alone[0]
        )
    if receipt is not None and others:
        raise InvalidOption(
            message="A receipt has every segment and every attempt already.", option="--receipt"
        )


async def _write_receipt(client: Client, job_id: str, target: Path | None, output: Output) -> Exit:
    from ffcluster.services.keeping.receiptfile import receipt_document, receipt_text

    found = await client.receipt(job_id)
    if target is None:
        output.emit("result", receipt=receipt_document(found))
        output.show(receipt_text(found))
        return Exit.DONE
    write_text(target, receipt_text(found) + "\n")
    output.emit("result", job=found.id, path=target)
    output.say(f"{target}: how job {found.id} was made, {len(found.segments)} segments.")
    return Exit.DONE


async def _write_report(client: Client, job_id: str, target: Path, output: Output) -> Exit:
    write_text(target, await client.report(job_id))
    output.emit("result", job=job_id, path=target)
    output.say(f"{target}: how job {job_id} was made.")
    return Exit.DONE


def _source(view: JobView) -> str:
    """The source's name, and where the job came from if no client asked for it."""
    origin = f" ({view.spec.origin})" if view.spec.origin else ""
    return f"{view.spec.source_name}{origin}"


def _describe(view: JobView) -> str:
    lines = [f"{view.id}  {_source(view)} -> {output_of(view)}", headline(view)]
    if view.priority:
        lines.append(f"Priority {view.priority}")
    if view.error is not None:
        lines += [f"Error: {view.error.message}", *filter(None, [view.error.advice])]
    if view.outcome is not None:
        lines.append(f"{view.outcome.path}: {megabytes(view.outcome.size_bytes)}")
        lines += [f"  {made_in_words(made)}" for made in view.outcome.made_by]
        lines += missing_in_words(view.outcome)
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
            number,
            s.first_frame,
            s.frame_count,
            s.state,
            s.worker,
            f"{s.encoder}{' (in place of hardware)' if s.fallback else ''}",
            device_in_words(s.device) if s.encoder else "",
            kind_in_words(s.kind),
            s.attempts,
        )
        for number, s in enumerate(view.segments)
    ]
    headings = (
        "NUMBER", "FIRST FRAME", "FRAMES", "STATE", "WORKER", "ENCODER", "DEVICE", "KIND",
        "ATTEMPTS",
    )  # fmt: skip
    return table(headings, rows)
