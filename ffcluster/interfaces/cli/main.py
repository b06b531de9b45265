"""The `ffcluster` command: finds the wanted command, and imports no other."""

from __future__ import annotations

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from ffcluster import __version__
from ffcluster.interfaces.cli.runtime import Runtime
from ffcluster.interfaces.cli.shells import register

# Name -> (module, short help): `--help` prints these without importing any of the modules.
_COMMANDS: dict[str, tuple[str, str]] = {
    "encode": ("encode", "Encode INPUT into OUTPUT."),
    "plan": ("plan", "Show what encoding INPUT would do, without doing it."),
    "verify": ("verify", "Compare SOURCE and OUTPUT frame by frame."),
    "server": ("daemons", "Run a coordinator here."),
    "worker": ("daemons", "Run a worker here."),
    "submit": ("jobs", "Hand INPUT to a coordinator and return."),
    "wait": ("jobs", "Follow a job to its end; fetch its file."),
    "jobs": ("jobs", "List all jobs."),
    "job": ("jobs", "Show one job."),
    "picture": ("pictures", "Fetch a picture of a job's film."),
    "link": ("pictures", "Print a URL that needs no token for a while."),
    "cancel": ("control", "Cancel a job."),
    "pause": ("control", "Start nothing more of a job."),
    "resume": ("control", "Go on with a paused job."),
    "retry": ("control", "Go on with a job that failed, or begin it anew."),
    "prioritise": ("control", "Give a job another priority."),
    "remove": ("control", "Forget a job that has ended."),
    "top": ("top", "Watch the cluster on one screen, and steer it by keys."),
    "status": ("status", "Show how the cluster is doing as a whole."),
    "events": ("events", "Show what happened, or happens, in the cluster."),
    "reproduce": ("reproduce", "Make one segment of a job again, and compare."),
    "workers": ("workers", "List the workers."),
    "drain-worker": ("workers", "Give a worker nothing more."),
    "resume-worker": ("workers", "Let a drained or resting worker work again."),
    "remove-worker": ("workers", "Forget a worker."),
    "profiles": ("tools", "List the profiles that can be used by name."),
    "doctor": ("tools", "Show what this machine can encode with."),
    "benchmark": ("benchmark", "Measure what the encoders of this machine achieve."),
    "plugins": ("plugins", "List the plugins that bring encoders."),
    "webhooks": ("webhooks", "Have URLs told of events; see what they were told."),
    "completion": ("completion", "Print what completes commands in your shell."),
    "token": ("tools", "Make a secret for a coordinator and its workers."),
    "tokens": ("tokens", "Give out tokens that open less; list and revoke them."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, the most used first."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called `cmd_name`."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"ffcluster.interfaces.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name from the table above, an option's by Click."""
        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="ffcluster", message="ffcluster %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Encode one video with every machine you own, exactly.

    \b
    ffcluster encode in.mkv out.mp4                        on this machine
    ffcluster encode in.mkv out.mp4 --coordinator ws://HOST:5001   on many
    """
    ctx.ensure_object(Runtime)


def main(**options: Any) -> None:
    """Run the command line."""
    register()
    cli(prog_name="ffcluster", **options)


if __name__ == "__main__":
    main()
