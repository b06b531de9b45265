"""`ffcluster completion`: the script by which a shell completes commands, options and names."""

from __future__ import annotations

import click

from ffcluster.interfaces.cli.options import FfclusterCommand
from ffcluster.interfaces.cli.output import Exit, Output
from ffcluster.interfaces.cli.shells import SHELLS, script


@click.command(cls=FfclusterCommand, short_help="Print what completes commands in your shell.")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(output: Output, shell: str) -> Exit:
    """Print the script that makes SHELL complete commands, options, files, jobs and workers.

    Jobs, workers and encoders are those of the coordinator that --coordinator or
    FFCLUSTER_COORDINATOR name; one that does not answer within two seconds offers nothing.

    \b
    bash:  ffcluster completion bash > ~/.local/share/bash-completion/completions/ffcluster
    zsh:   ffcluster completion zsh > ~/.zfunc/_ffcluster     (a folder of your fpath)
    fish:  ffcluster completion fish > ~/.config/fish/completions/ffcluster.fish
    """
    text = script(shell)
    output.emit("result", shell=shell, script=text)
    output.show(text)
    return Exit.DONE
