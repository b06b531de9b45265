"""`tokens`: give out secrets that open less than the coordinator's own, list them, revoke them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ffcluster.errors import FfclusterError, OutputUnwritable
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output, table
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.net.access import TokenView

# As in `ffcluster.services.keeping.tokens`, which `--help` is not to wait for.
ISSUED_SCOPES = ("worker", "client", "viewer")


@click.group(short_help="Give out tokens, list them, revoke them.")
def tokens() -> None:
    """Give out tokens that open only what their owner needs, list them, and revoke them.

    This needs the coordinator's own token.
    """


@tokens.command(cls=FfclusterCommand, short_help="Make a token.")
@click.argument("name", metavar="NAME")
@click.option(
    "--scope",
    type=click.Choice(ISSUED_SCOPES),
    required=True,
    help="worker: come as a worker; client: submit, steer and look; viewer: only look.",
)
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to a new file that only you can read, instead of stdout.",
)
@coordinator_options()
@click.pass_obj
def add(
    runtime: Runtime,
    /,
    output: Output,
    name: str,
    scope: str,
    target: Path | None,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """Make a token for NAME, and print its secret: the only time that it is told.

    The coordinator keeps no more of it than a hash. Who loses it needs another one.
    """
    from ffcluster.interfaces.cli.files import create_private
    from ffcluster.net.access import Scope

    if target is not None and target.exists():
        raise OutputUnwritable(
            message=f"{target} exists already.",
            advice="Choose another name; an existing file is never replaced.",
        )

    async def work(client: Client) -> Exit:
        made, secret = await client.add_token(name, Scope(scope))
        if target is not None:
            try:
                create_private(target, secret + "\n")
            except FfclusterError:
                # Nobody was told the secret, so nobody shall have to wonder what it is for.
                await client.revoke_token(made.id)
                raise
        command = _command(made.scope, coordinator, target or Path(f"{made.id}.token"))
        told = {"path": target} if target is not None else {"secret": secret}
        output.emit("result", token=made, command=command, **told)
        if target is None:
            output.show(secret)
        output.say(_explain(made, target, command))
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@tokens.command("list", cls=FfclusterCommand, short_help="List the tokens.")
@coordinator_options()
@click.pass_obj
def list_(runtime: Runtime, /, output: Output, coordinator: str, token_file: Path | None) -> Exit:
    """List the tokens that are good, and the latest that were revoked; never their secrets."""

    async def work(client: Client) -> Exit:
        found = await client.tokens()
        for token in found:
            output.emit("token", token=token)
        output.emit("result", count=len(found))
        output.show(_overview(found) if found else "No tokens but the coordinator's own.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


@tokens.command(cls=FfclusterCommand, short_help="Revoke a token.")
@click.argument("token_id", metavar="ID")
@coordinator_options()
@click.pass_obj
def revoke(
    runtime: Runtime, /, output: Output, token_id: str, coordinator: str, token_file: Path | None
) -> Exit:
    """Revoke the token ID: it opens nothing any more, and what was begun with it ends at once.

    What a worker had with it is given to others when its lease ends. Jobs that were submitted with
    it go on.
    """

    async def work(client: Client) -> Exit:
        revoked = await client.revoke_token(token_id)
        output.emit("result", token=revoked)
        output.show(f"{revoked.id} ({revoked.name}, {revoked.scope.value}): revoked")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _command(scope: str, coordinator: str, file: Path) -> str:
    """What whoever gets the token runs first."""
    from ffcluster.net.address import CoordinatorAddress

    address = CoordinatorAddress.parse(coordinator)
    if scope == "worker":
        where = f"--server-ip {address.host} --server-port {address.port}"
        return f"ffcluster worker {where} --token-file {file}"
    url = f"{'wss' if address.secure else 'ws'}://{address.authority}"
    verb = "submit INPUT" if scope == "client" else "jobs"
    return f"ffcluster {verb} --coordinator {url} --token-file {file}"


def _explain(made: TokenView, target: Path | None, command: str) -> str:
    where = f"It is in {target}." if target is not None else "It is shown only now."
    return (
        f"Token {made.id} for {made.name}, scope {made.scope.value}. {where}\n"
        f"In a file that only its owner can read, it is used like this:\n"
        f"  {command}\n"
        f"To make it worthless: ffcluster tokens revoke {made.id}"
    )


def _overview(found: Sequence[TokenView]) -> str:
    rows = [(t.id, t.name, t.scope.value, _when(t.created_at), _when(t.revoked_at)) for t in found]
    return table(("ID", "NAME", "SCOPE", "MADE", "REVOKED"), rows)


def _when(at: float | None) -> str:
    if at is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
