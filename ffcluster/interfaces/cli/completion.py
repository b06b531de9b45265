"""`ffcluster completion`: the script by which a shell completes commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ffcluster.interfaces.cli.options import FfclusterCommand
from ffcluster.interfaces.cli.output import Exit, Output

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=FfclusterCommand, short_help="Print what completes commands in your shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, output: Output, shell: str) -> Exit:
    """Print the script that makes SHELL complete commands, options, files, jobs and workers.

    Jobs, workers and encoders are those of the coordinator that --coordinator or
    FFCLUSTER_COORDINATOR name; one that does not answer within two seconds offers nothing.

    \b
    bash:  ffcluster completion bash > ~/.local/share/bash-completion/completions/ffcluster
    zsh:   ffcluster completion zsh > ~/.zfunc/_ffcluster     (a folder of your fpath)
    fish:  ffcluster completion fish > ~/.config/fish/completions/ffcluster.fish
    """
    script = _script(ctx.find_root().command, shell)
    output.emit("result", shell=shell, script=script)
    output.show(script)
    return Exit.DONE


def _script(command: click.Command, shell: str) -> str:
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"No completion is known for {shell}.")
    maker = found(command, {}, "ffcluster", "_FFCLUSTER_COMPLETE")
    # Not `source()`: for bash that would run the bash of this machine, to look at its version.
    return maker.source_template % maker.source_vars()
