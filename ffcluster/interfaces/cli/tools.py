"""`profiles`, `doctor`, `token`: look at what there is, and make a secret."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster import __version__
from ffcluster.core.profile import Profile
from ffcluster.interfaces.cli.following import with_client
from ffcluster.interfaces.cli.machines import (
    capabilities_table,
    diagnoses_lines,
    measurements_table,
    plugins_table,
)
from ffcluster.interfaces.cli.named import profiles_from
from ffcluster.interfaces.cli.options import (
    FfclusterCommand,
    coordinator_options,
    ffmpegs_option,
    profiles_option,
)
from ffcluster.interfaces.cli.output import Exit, Output, plain, table
from ffcluster.interfaces.cli.plugins import default_state_dir, plugin_options, state_dir_option
from ffcluster.interfaces.cli.runtime import Client, Runtime

if TYPE_CHECKING:
    from ffcluster.encoders.backend import Machine
    from ffcluster.encoders.registry import Registry
    from ffcluster.services.machine.doctor import BuildSummary, Findings


@click.command(cls=FfclusterCommand, short_help="Make a secret for coordinator and workers.")
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to a new file that only you can read, instead of stdout.",
)
def token(output: Output, target: Path | None) -> Exit:
    """Make a secret that a coordinator, its workers and its clients share."""
    from ffcluster.interfaces.cli.files import create_private
    from ffcluster.net.tokens import make_token

    secret = make_token()
    if target is not None:
        create_private(target, secret + "\n")
        output.emit("result", path=target)
        output.say(f"{target}: copy it to every worker and client.")
        return Exit.DONE
    output.emit("result", token=secret)
    output.show(secret)
    return Exit.DONE


@click.command(cls=FfclusterCommand, short_help="List the profiles that have a name.")
@profiles_option
@click.option("--on-server", is_flag=True, help="List those of the coordinator instead.")
@coordinator_options()
@click.pass_obj
def profiles(
    runtime: Runtime,
    /,
    output: Output,
    profiles: Path | None,
    on_server: bool,
    coordinator: str,
    token_file: Path | None,
) -> Exit:
    """List the profiles that --profile can name, and the file that they come from.

    With --on-server, those that the coordinator knows by name.
    """
    if on_server:
        return _profiles_there(runtime, output, coordinator, token_file)
    path, known = profiles_from(profiles)
    for name, profile in known.items():
        output.emit("profile", name=name, profile=profile)
    output.emit("result", path=path, count=len(known))
    if not known:
        output.show(f"No profiles. Write [profile.NAME] tables into {path}.")
        return Exit.DONE
    output.show(f"{path}\n{_profiles_table(known)}")
    return Exit.DONE


def _profiles_there(
    runtime: Runtime, output: Output, coordinator: str, token_file: Path | None
) -> Exit:
    async def work(client: Client) -> Exit:
        found = await client.profiles()
        for one in found:
            output.emit("profile", name=one.name, profile=one.profile, is_default=one.is_default)
        output.emit("result", count=len(found))
        known = {one.name: one.profile for one in found}
        output.show(_profiles_table(known) if known else "The coordinator has no profiles.")
        return Exit.DONE

    return with_client(runtime, output, coordinator, token_file, work)


def _profiles_table(known: Mapping[str, Profile]) -> str:
    rows = [
        (name, p.codec, p.encoder or "any", p.preset or "default", p.rate.mode)
        for name, p in known.items()
    ]
    return table(("NAME", "CODEC", "ENCODER", "PRESET", "RATE"), rows)


@click.command(cls=FfclusterCommand, short_help="Show what this machine can encode with.")
@ffmpegs_option
@state_dir_option
@click.option("--fresh", is_flag=True, help="Try everything anew, whatever is remembered.")
@plugin_options
@click.pass_obj
def doctor(
    runtime: Runtime,
    /,
    output: Output,
    registry: Registry,
    ffmpeg: tuple[str, ...],
    state_dir: Path | None,
    fresh: bool,
) -> Exit:
    """Show what really works on this machine, what does not, why, and what to do about it.

    Encoders are proven by trial encodes on every device. What was found is remembered until an
    ffmpeg, a plugin, a device or a driver changes.
    """

    async def main(reactor: Any) -> Exit:
        folder = state_dir or default_state_dir()
        found = await runtime.examine(reactor, ffmpeg, registry, folder, fresh=fresh)
        for trial in found.tried:
            output.emit("probe", **plain(trial))
        facts = {name: fact for name, fact in plain(found).items() if name != "tried"}
        output.emit("result", version=__version__, python=platform.python_version(), **facts)
        output.show(_describe(found))
        return Exit.DONE if found.capabilities else Exit.FAILED

    return runtime.run(main, output)


def _describe(found: Findings) -> str:
    machine = found.machine
    lines = [
        f"ffcluster {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"{machine.cpus} cores for this process, {os.cpu_count()} in the machine",
        "",
        table(("FFMPEG", "VMAF", "PATH"), [_build_row(build) for build in found.builds]),
        "",
        plugins_table(found.plugins),
        "",
        _devices_table(machine),
        "",
        capabilities_table(found.capabilities),
        "",
    ]
    troubles = diagnoses_lines(found.diagnoses)
    lines += ["Does not work, or only in part:", *_indented(troubles), ""] if troubles else []
    for error in found.errors:
        lines += [f"plugin: {error.message}", *_indented([error.advice] if error.advice else [])]
    lines += [measurements_table(found.measurements), ""]
    lines += [f"Warning: {text}" for text in found.warnings]
    lines += [f"limit: {text}" for text in found.limitations]
    how = "remembered from before; --fresh tries anew" if found.cached else "found out by trials"
    return "\n".join([*lines, f"Took {found.elapsed_s:.1f} s, {how}."])


def _build_row(build: BuildSummary) -> tuple[str, str, str]:
    return build.version, "yes" if build.has_vmaf else "no", build.path


def _devices_table(machine: Machine) -> str:
    """The devices that the platform shows, and the drivers that are known by name."""
    rows = [
        (d.path, d.name or d.vendor or "-", d.driver or "-", "yes" if d.usable else "NO PERMISSION")
        for d in machine.devices
    ]
    headings = ("DEVICE", "NAME", "KERNEL DRIVER", "MAY BE OPENED")
    devices = table(headings, rows) if rows else "No GPU or other encoding device is shown here."
    drivers = "\n".join(f"  {name}: {version}" for name, version in machine.drivers)
    return f"{devices}\nDrivers and libraries:\n{drivers}" if drivers else devices


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
