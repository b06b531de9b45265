"""`ffcluster server` and `ffcluster worker`: the twistd programs in the foreground.

They take exactly the options of `twistd ffcluster-server` and `twistd ffcluster-worker`.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from ffcluster.interfaces.cli.output import Exit

if TYPE_CHECKING:
    from ffcluster.interfaces.tap import TableOptions

_AS_TYPED = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(
    context_settings=_AS_TYPED, add_help_option=False, short_help="Run a coordinator here."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def server(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run a coordinator in the foreground; the options are those of twistd ffcluster-server."""
    from ffcluster.interfaces.program import coordinator_program
    from ffcluster.interfaces.tap import ServerOptions

    options = _parsed(ServerOptions(), arguments, ctx)
    ctx.exit(_run(lambda reactor: coordinator_program(reactor, options.settings), options))


@click.command(context_settings=_AS_TYPED, add_help_option=False, short_help="Run a worker here.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def worker(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run a worker in the foreground; the options are those of twistd ffcluster-worker."""
    from ffcluster.interfaces.program import worker_program
    from ffcluster.interfaces.tap import WorkerOptions

    options = _parsed(WorkerOptions(), arguments, ctx)
    ctx.exit(_run(lambda reactor: worker_program(reactor, options.settings), options))


def _parsed(options: Any, arguments: tuple[str, ...], ctx: click.Context) -> Any:
    from twisted.python import usage

    options.synopsis = f"Usage: {ctx.command_path} {options.synopsis}"
    try:
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        click.echo(f"Error: {error}", err=True)
        click.echo(f"See: {ctx.command_path} --help", err=True)
        ctx.exit(int(Exit.USAGE))
    return options


def _run(make_program: Any, options: TableOptions) -> int:
    """Run a program in the reactor with its log on stderr; answers its exit code."""
    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner

    from ffcluster.services.logs import log_observer

    reactor: Any = installed
    settings = options.settings
    observer = log_observer(settings.log_format, settings.log_level, sys.stderr)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    program = make_program(reactor)
    program.on_signal(signal.SIGINT, lambda: program.end(Exit.INTERRUPTED))
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    program.startService()
    reactor.run()
    return int(program.exit_code)
