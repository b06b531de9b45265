"""`cancel`, `pause`, `resume`, `retry`, `prioritise`, `remove`: change what becomes of a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from ffcluster.core.views import JobView
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import PRIORITY, FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.progress import state_in_words
from ffcluster.interfaces.cli.runtime import Client, Runtime

Change = Callable[[Client], Awaitable[JobView]]


def _changed(
    runtime: Runtime, output: Output, coordinator: str, token_file: Path | None, change: Change
) -> Exit:
    """Make a change and say how the job stands after it."""

    async def work(client: Client) -> Exit:
        view = await change(client)
        output.emit(
            "result", job=view.id, state=view.state, paused=view.paused, priority=view.priority
        )
        output.show(f"{view.id}: {state_in_words(view)}, priority {view.priority}")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@click.command(cls=FfclusterCommand, short_help="Cancel a job.")
@click.argument("job_id", metavar="ID", shell_complete=completing.open_job)
@coordinator_options()
@click.pass_obj
def cancel(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Cancel job ID: its workers stop at once, and nothing is published.

    Nothing is kept of it: to stop for a while only, there is `ffcluster pause ID`.
    """
    return _changed(runtime, output, coordinator, token_file, lambda c: c.cancel(job_id))


@click.command(cls=FfclusterCommand, short_help="Start nothing more of a job.")
@click.argument("job_id", metavar="ID", shell_complete=completing.open_job)
@coordinator_options()
@click.pass_obj
def pause(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Pause job ID: segments that are being encoded are finished, and no other is started.

    It stays paused, over restarts of the coordinator too, until `ffcluster resume ID`.
    """
    return _changed(runtime, output, coordinator, token_file, lambda c: c.pause(job_id))


@click.command(cls=FfclusterCommand, short_help="Go on with a paused job.")
@click.argument("job_id", metavar="ID", shell_complete=completing.paused_job)
@coordinator_options()
@click.pass_obj
def resume(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Go on with job ID, which was paused."""
    return _changed(runtime, output, coordinator, token_file, lambda c: c.resume(job_id))


@click.command(cls=FfclusterCommand, short_help="Go on with a job that failed, or begin it anew.")
@click.argument("job_id", metavar="ID", shell_complete=completing.failed_job)
@coordinator_options()
@click.pass_obj
def retry(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Go on with job ID, which failed, from the segments that were committed.

    As long as the coordinator keeps them (its --keep-failed); after that, and for a job that was
    cancelled, it begins anew, where its film was uploaded as long as that is kept
    (--keep-uploads). Mend first what `ffcluster job ID --attempts` shows.
    """
    return _changed(runtime, output, coordinator, token_file, lambda c: c.retry(job_id))


@click.command(
    cls=FfclusterCommand,
    short_help="Give a job another priority.",
    # A priority below 0 is no option.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("job_id", metavar="ID", shell_complete=completing.open_job)
@click.argument("priority", metavar="PRIORITY", type=PRIORITY)
@coordinator_options()
@click.pass_obj
def prioritise(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str,
    priority: int,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Give job ID the PRIORITY -1000 to 1000; jobs start with 0.

    Workers take segments of jobs with a higher priority first, and of equal ones those of the job
    that was submitted first. What is being encoded is finished.
    """
    return _changed(
        runtime, output, coordinator, token_file, lambda c: c.prioritise(job_id, priority)
    )


@click.command(cls=FfclusterCommand, short_help="Forget a job that has ended.")
@click.argument("job_id", metavar="ID", shell_complete=completing.ended_job)
@coordinator_options()
@click.pass_obj
def remove(
    runtime: Runtime, /, output: Output, job_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Forget job ID, which has ended: its receipt, and what is kept of it for a retry.

    A published file stays where it is.
    """

    async def work(client: Client) -> Exit:
        await client.remove(job_id)
        output.emit("result", job=job_id, removed=True)
        output.show(f"{job_id}: removed")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)
