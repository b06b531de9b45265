"""`ffcluster encode`: one film in, one proven file out, here or through a coordinator."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ffcluster.core.model import JobRequest
from ffcluster.core.views import JobView
from ffcluster.errors import InvalidOption, Unreachable
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.files import check_source, check_target, publish
from ffcluster.interfaces.cli.following import fetch, follow, submit_source, unless
from ffcluster.interfaces.cli.named import read_token
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    JobOptions,
    coordinator_options,
    ffmpegs_option,
    job_options,
    patience_option,
    queue_options,
)
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.progress import Progress, progress_for
from ffcluster.interfaces.cli.report import report
from ffcluster.interfaces.cli.runtime import Client, Runtime
from ffcluster.interfaces.cli.told import webhook_options

if TYPE_CHECKING:
    from ffcluster.web.webhooks import WantedWebhook


@attrs.frozen(kw_only=True)
class EncodeOrder:
    """What the user asked `encode` to do, checked."""

    source: str
    target: Path
    options: JobOptions
    overwrite: bool = False
    on_server: bool = False
    detach: bool = False
    workers: int = 1
    ffmpeg: tuple[str, ...] = ()
    priority: int = 0
    idempotency_key: str = ""
    patience_s: float = 0.0
    webhook: WantedWebhook | None = None


@click.command(cls=FfclusterCommand, short_help="Encode INPUT into OUTPUT.")
@click.argument("source", metavar="INPUT", shell_complete=completing.file)
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path, dir_okay=False))
@coordinator_options(required=False)
@click.option("--on-server", is_flag=True, help="INPUT is a path that the coordinator can read.")
@click.option("--detach", is_flag=True, help="Leave the job to the coordinator and return its id.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Workers to start here; each gets its share of the cores.",
)
@ffmpegs_option
@click.option("-y", "--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@queue_options
@webhook_options
@patience_option
@job_options
@click.pass_obj
def encode(
    runtime: Runtime,
    /,
    output: Output,
    source: str,
    target: Path,
    coordinator: str | None,
    token_file: Path | None,
    **given: Any,
) -> Exit:
    """Encode INPUT into OUTPUT, frame for frame what one ffmpeg would have made.

    The suffix of OUTPUT chooses the container: mp4, mov, mkv or webm. Without --coordinator the
    work is done here, by a coordinator and workers that live only as long as the command.

    \b
    ffcluster encode film.mkv film.mp4 --codec hevc --quality 24
    ffcluster encode film.mkv film.mp4 --coordinator ws://HOST:5001 --token-file FILE
    """
    options: JobOptions = given.pop("options")
    order = EncodeOrder(source=source, target=target.absolute(), options=options, **given)
    _check(order, coordinator)
    if coordinator is None:
        return runtime.run(lambda reactor: _encode_here(reactor, runtime, order, output), output)
    token = read_token(token_file, output)
    return runtime.run(
        lambda reactor: _encode_there(reactor, runtime, order, output, coordinator, token), output
    )


def _check(order: EncodeOrder, coordinator: str | None) -> None:
    """Refuse what cannot end well before anything is started."""
    from ffcluster.encoders.params import container_for

    container_for(order.target.name)
    needs = {
        "--on-server": order.on_server,
        "--detach": order.detach,
        "--priority": order.priority,
        "--idempotency-key": order.idempotency_key,
        "--webhook": order.webhook,
    }
    for name in (name for name, given in needs.items() if given and coordinator is None):
        raise InvalidOption(
            message=f"{name} needs a coordinator.",
            advice="Name one with --coordinator ws://HOST:5001.",
            option=name,
        )
    if not order.on_server:
        check_source(Path(order.source))
    check_target(order.target, overwrite=order.overwrite)
    if order.target.exists() and not order.on_server and order.target.samefile(order.source):
        raise InvalidOption(message="INPUT and OUTPUT are the same file.", option="OUTPUT")


async def _encode_here(reactor: Any, runtime: Runtime, order: EncodeOrder, output: Output) -> Exit:
    """Encode with a private cluster whose files lie beside the output, so that it is renamed."""
    target = order.target
    prefix = f".{target.stem[:64]}."
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=".ffcluster", dir=target.parent))
    exactly = order.options.exactly is not False
    cluster = await runtime.start_local(reactor, folder, order.workers, order.ffmpeg, exactly)
    progress = progress_for(output)
    try:
        source = Path(order.source).absolute()
        request = order.options.request(source.name, order.target.name, server_path=str(source))
        view = await cluster.client.request(request)
        output.emit("job", job=view)
        view = await unless(cluster.broken, follow(cluster.client, view, progress))
        if view.outcome is not None:
            publish(Path(view.outcome.path), order.target, overwrite=order.overwrite)
    finally:
        progress.stop()
        await cluster.close()
    return report(view, order.target, output)


async def _encode_there(
    reactor: Any,
    runtime: Runtime,
    order: EncodeOrder,
    output: Output,
    coordinator: str,
    token: str | None,
) -> Exit:
    """Encode with a coordinator elsewhere: send, follow, fetch."""
    client = await runtime.connect(reactor, coordinator, token)
    progress = progress_for(output)
    try:
        view = await submit_source(
            client, _request_there(order), order.source, progress, output, order.webhook
        )
        if order.detach:
            output.emit("result", job=view.id, detached=True)
            output.show(view.id)
            return Exit.DONE
        view = await _followed_or_cancelled(client, view, progress, order.patience_s, output)
        if view.outcome is not None:
            await fetch(client, view, order.target, progress)
    finally:
        progress.stop()
        await client.close()
    return report(view, order.target, output)


def _request_there(order: EncodeOrder) -> JobRequest:
    source_name = Path(order.source).name
    server_path = order.source if order.on_server else None
    request = order.options.request(source_name, order.target.name, server_path=server_path)
    return attrs.evolve(request, priority=order.priority, idempotency_key=order.idempotency_key)


async def _followed_or_cancelled(
    client: Client, view: JobView, progress: Progress, patience_s: float, output: Output
) -> JobView:
    from twisted.internet.defer import CancelledError

    try:
        return await follow(client, view, progress, patience_s)
    except CancelledError:
        try:
            await client.cancel(view.id)
        except Unreachable:
            output.warn(
                f"The coordinator cannot be reached, so job {view.id} goes on there: "
                f"ffcluster cancel {view.id}"
            )
        raise
    except Unreachable as error:
        advice = f"The job goes on without you: ffcluster wait {view.id} --output FILE"
        raise attrs.evolve(error, advice=advice) from error
