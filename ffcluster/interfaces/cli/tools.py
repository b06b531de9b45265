"""`profiles`, `doctor`, `token`: look at what there is, and make a secret."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ffcluster import __version__
from ffcluster.interfaces.cli.options import FfclusterCommand, profiles_from, profiles_option
from ffcluster.interfaces.cli.output import Exit, Output, plain, table
from ffcluster.interfaces.cli.runtime import Runtime

if TYPE_CHECKING:
    from ffcluster.services.doctor import Findings


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
def profiles(output: Output, profiles: Path | None) -> Exit:
    """List the profiles that --profile can name, and the file that they come from."""
    path, known = profiles_from(profiles)
    for name, profile in known.items():
        output.emit("profile", name=name, profile=profile)
    output.emit("result", path=path, count=len(known))
    if not known:
        output.show(f"No profiles. Write [profile.NAME] tables into {path}.")
        return Exit.DONE
    rows = [
        (name, p.codec, p.encoder or "any", p.preset or "default", p.rate.mode)
        for name, p in known.items()
    ]
    output.show(f"{path}\n{table(('NAME', 'CODEC', 'ENCODER', 'PRESET', 'RATE'), rows)}")
    return Exit.DONE


@click.command(cls=FfclusterCommand, short_help="Show what this machine can encode with.")
@click.option("--ffmpeg", help="The ffmpeg to look at.  [default: the first that is found]")
@click.pass_obj
def doctor(runtime: Runtime, /, output: Output, ffmpeg: str | None) -> Exit:
    """Show the ffmpeg that would be used, the encoders that really work, and what is missing."""

    async def main(reactor: Any) -> Exit:
        found = await runtime.examine(reactor, ffmpeg)
        output.emit("result", version=__version__, python=platform.python_version(), **plain(found))
        output.show(_describe(found))
        return Exit.DONE if found.capabilities else Exit.FAILED

    return runtime.run(main, output)


def _describe(found: Findings) -> str:
    lines = [
        f"ffcluster {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"ffmpeg {found.ffmpeg_version} at {found.ffmpeg}",
        f"{found.cpus} cores for this process, {os.cpu_count()} in the machine",
    ]
    rows = [
        (c.encoder, c.codec, c.backend, c.device or "CPU", c.slots, c.threads or "its own choice")
        for c in found.capabilities
    ]
    headings = ("ENCODER", "CODEC", "BACKEND", "DEVICE", "SLOTS", "THREADS")
    lines += ["", table(headings, rows) if rows else "No encoder works here.", ""]
    lines += [f"not usable: {text}" for text in found.unusable]
    lines += [f"limit: {text}" for text in found.limitations]
    return "\n".join(lines).rstrip()
