"""`plugins`: what is installed; and options of all commands that look at this machine.

Opens no device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.machines import plugins_table
from ffcluster.interfaces.cli.options import FfclusterCommand, coordinator_options
from ffcluster.interfaces.cli.output import Exit, Output, plain, table
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.encoders.registry import PluginInfo, Registry


def plugin_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--disable-plugin` and `--allow-plugin`; they arrive as one `registry: Registry`."""

    @functools.wraps(function)
    def with_registry(*args: Any, **given: Any) -> Any:
        from ffcluster.encoders.registry import Registry

        disabled, allowed = given.pop("disable_plugin"), given.pop("allow_plugin")
        registry = Registry.load(disabled=disabled, allow=allowed or None)
        return function(*args, registry=registry, **given)

    decorated: Callable[..., Any] = with_registry
    for option in (
        click.option(
            "--allow-plugin",
            metavar="NAME",
            multiple=True,
            help="Load only this plugin; may be given several times.  [default: all]",
        ),
        click.option(
            "--disable-plugin",
            metavar="NAME",
            multiple=True,
            help="Leave this plugin out; may be given several times.",
        ),
    ):
        decorated = option(decorated)
    return decorated


state_dir_option = click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory in which it is remembered what this machine can do.  "
    "[default: the user's state directory]",
)


def default_state_dir() -> Path:
    """Where workers of this user remember what the machine can do."""
    from ffcluster.services.machine.detection import machine_state_dir

    return machine_state_dir()


@attrs.frozen(kw_only=True)
class PluginRow:
    """A plugin as it is shown.

    Attributes:
        name: Its name, by which it is disabled or allowed.
        distribution: The distribution that brought it, or "".
        version: That distribution's version, or "".
        api_version: The version of ffcluster's contract that it was written for; None when it
            is not loaded.
        backends: Its backends, each with the encoders that it knows.
        state: `enabled`, `disabled` or `failed`.
        error: Why it failed, or "".
        advice: What can be done about it, or "".
    """

    name: str
    distribution: str = ""
    version: str = ""
    api_version: int | None = None
    backends: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    state: str = "enabled"
    error: str = ""
    advice: str = ""


@click.command(cls=FfclusterCommand, short_help="List the plugins that bring encoders.")
@click.option("--on-server", is_flag=True, help="List those of the coordinator instead.")
@coordinator_options()
@plugin_options
@click.pass_obj
def plugins(
    runtime: Runtime,
    /,
    output: Output,
    registry: Registry,
    on_server: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """List every plugin that is installed: where it is from, its encoders, whether it works.

    A plugin that does not work never stops anything else, this command included. With --on-server,
    those of the coordinator; `ffcluster workers --verbose` shows those of the workers.
    """
    if on_server:
        return with_client(runtime, output, coordinator, token_file, lambda c: _there(c, output))
    rows = [_row(info, registry) for info in registry.plugins]
    for warning in registry.warnings:
        output.warn(warning)
    for row in rows:
        output.emit("plugin", plugin=row)
    output.emit("result", count=len(rows), failed=sum(row.state == "failed" for row in rows))
    output.show(_describe(rows))
    return Exit.DONE


async def _there(client: Client, output: Output) -> Exit:
    found = await client.plugins()
    rows = [{**plain(one), "state": _state(bool(one.error), one.enabled)} for one in found]
    for row in rows:
        output.emit("plugin", plugin=row)
    output.emit("result", count=len(rows), failed=sum(row["state"] == "failed" for row in rows))
    output.show(plugins_table(found))
    return Exit.DONE


def _state(failed: bool, enabled: bool) -> str:
    return "failed" if failed else "enabled" if enabled else "disabled"


def _row(info: PluginInfo, registry: Registry) -> PluginRow:
    backends = [backend for backend in registry.backends if backend.name in info.backends]
    return PluginRow(
        name=info.name,
        distribution=info.distribution,
        version=info.version,
        api_version=backends[0].api_version if backends else None,
        backends={b.name: tuple(schema.encoder for schema in b.schemas) for b in backends},
        state=_state(info.error is not None, info.enabled),
        error=info.error.message if info.error is not None else "",
        advice=info.error.advice if info.error is not None else "",
    )


def _describe(rows: Sequence[PluginRow]) -> str:
    shown = [
        (
            row.name,
            row.state,
            row.distribution or "-",
            row.version or "-",
            row.api_version if row.api_version is not None else "-",
            "; ".join(
                f"{backend}: {', '.join(encoders)}" for backend, encoders in row.backends.items()
            )
            or "-",
        )
        for row in rows
    ]
    headings = ("PLUGIN", "STATE", "FROM", "VERSION", "API", "BACKENDS AND THEIR ENCODERS")
    lines = [table(headings, shown)]
    for row in rows:
        if row.error:
            lines += ["", f"{row.name} failed: {row.error}"]
            lines += [f"  {row.advice}"] if row.advice else []
        elif row.state == "disabled":
            lines += ["", f"{row.name} is left out by --disable-plugin or --allow-plugin."]
    return "\n".join(lines)
