"""Talk with a coordinator, hand it a film, follow its job: what several commands do alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ffcluster.core.model import JobRequest
from ffcluster.core.views import JobView
from ffcluster.interfaces.cli.named import read_token
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.progress import Progress
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.web.webhooks import WantedWebhook


async def submit_source(
    client: Client,
    request: JobRequest,
    source: str,
    progress: Progress,
    output: Output,
    webhook: WantedWebhook | None = None,
) -> JobView:
    """Upload the source unless the coordinator reads it itself, and submit the job."""
    if request.server_path is None:
        upload_id = await client.upload(
            Path(source), lambda done, total: progress.transfer("upload", done, total)
        )
        request = attrs.evolve(request, upload_id=upload_id)
    view = await client.request(request, webhook=webhook)
    output.emit("job", job=view)
    return view


async def fetch(client: Client, view: JobView, target: Path, progress: Progress) -> None:
    """Download a job's published file to `target`, whole or not at all."""
    await client.download(
        view.id, target, lambda done, total: progress.transfer("download", done, total)
    )


async def follow(
    client: Client, view: JobView, progress: Progress, patience_s: float = 0.0
) -> JobView:
    """Show a job's progress until it ends; answers its last view.

    Args:
        client: The coordinator.
        view: The job.
        progress: Where to show it.
        patience_s: How long to look for a coordinator that went away.
    """
    return await client.wait(
        view.id, progress.job, on_outage=progress.outage, patience_s=patience_s
    )


def with_client(
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


async def unless(broken: Any, work: Coroutine[Any, Any, JobView]) -> JobView:
    """Do `work`, but give up with the error of `broken`, a Deferred, when that fails first."""
    from twisted.internet.defer import Deferred, DeferredList, FirstError

    working: Deferred[JobView] = Deferred.fromCoroutine(work)
    race: Any = DeferredList(
        [working, broken], fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
    )
    try:
        answer: tuple[JobView, int] = await race
    except FirstError as first:
        working.cancel()
        error = first.subFailure.value
        raise error or first from None
    return answer[0]
