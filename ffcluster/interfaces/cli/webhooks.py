"""`webhooks`: have URLs told of events, see what they were told, tell them nothing more."""

from __future__ import annotations

from pathlib import Path

import click

from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output, printable, table
from ffcluster.interfaces.cli.runtime import Client, Runtime


@click.group(short_help="Have URLs told of events.")
def webhooks() -> None:
    """Have URLs told of events, see what they were told, and tell them nothing more.

    This needs the coordinator's own token.
    """


@webhooks.command(cls=FfclusterCommand, short_help="Have a URL told of events.")
@click.argument("url", metavar="URL")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    help="A kind of event, such as job.state; several times; * is every one.",
)
@coordinator_options()
@click.pass_obj
def add(
    runtime: Runtime,
    /,
    output: Output,
    url: str,
    kinds: tuple[str, ...],
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Have URL told of events of all jobs, and print the secret that they are signed with.

    The secret is shown only this time.

    \b
    ffcluster webhooks add https://example.org/hook --kind job.state
    """

    async def work(client: Client) -> Exit:
        made = await client.add_webhook(url, kinds=kinds)
        output.emit("result", webhook=made.webhook, secret=made.secret)
        output.show(made.secret)
        output.say(
            f"Webhook {made.webhook.id} is told of: {', '.join(made.webhook.kinds)}\n"
            f"To stop that: ffcluster webhooks remove {made.webhook.id}"
        )
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@webhooks.command("list", cls=FfclusterCommand, short_help="List the webhooks.")
@click.option(
    "--job",
    "job_id",
    metavar="ID",
    shell_complete=completing.any_job,
    help="The webhook of this job instead.",
)
@coordinator_options()
@click.pass_obj
def list_(
    runtime: Runtime,
    /,
    output: Output,
    job_id: str | None,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """List the webhooks of all jobs, without their secrets."""

    async def work(client: Client) -> Exit:
        found = await client.webhooks(job_id=job_id)
        for webhook in found:
            output.emit("webhook", webhook=webhook)
        output.emit("result", count=len(found))
        rows = [
            (w.id, printable(w.url), ", ".join(w.kinds), w.waiting, w.created_at,
             printable(w.disabled) or "-")
            for w in found
        ]  # fmt: skip
        headings = ("ID", "URL", "KINDS", "WAITING", "MADE", "DISABLED")
        output.show(table(headings, rows) if rows else "No webhooks.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@webhooks.command(cls=FfclusterCommand, short_help="Tell a webhook nothing more.")
@click.argument("webhook_id", metavar="ID")
@coordinator_options()
@click.pass_obj
def remove(
    runtime: Runtime, /, output: Output, webhook_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Forget the webhook ID; what it was still to be told is dropped."""

    async def work(client: Client) -> Exit:
        await client.remove_webhook(webhook_id)
        output.emit("result", webhook=webhook_id, removed=True)
        output.show(f"{webhook_id}: removed")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@webhooks.command(cls=FfclusterCommand, short_help="Show what a webhook was told.")
@click.argument("webhook_id", metavar="ID")
@coordinator_options()
@click.pass_obj
def deliveries(
    runtime: Runtime, /, output: Output, webhook_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Show what the webhook ID was, and is still to be, told; the latest first."""

    async def work(client: Client) -> Exit:
        found = await client.deliveries(webhook_id)
        for delivery in found:
            output.emit("delivery", delivery=delivery)
        output.emit("result", count=len(found))
        rows = [
            (d.event, d.kind, d.at, d.state, d.tries, d.status or "-", printable(d.error) or "-")
            for d in found
        ]
        headings = ("EVENT", "KIND", "HAPPENED", "STATE", "TRIES", "STATUS", "ERROR")
        output.show(table(headings, rows) if rows else "It was told nothing yet.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)
