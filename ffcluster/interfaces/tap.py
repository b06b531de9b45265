"""Options and service makers of `twistd ffcluster-server` and `twistd ffcluster-worker`.

The options themselves are tables in `ffcluster.services.settings.config`; this module turns them
into twistd's form and builds the processes. `ffcluster server` and `ffcluster worker` use it too.
"""

from __future__ import annotations

import difflib
import getopt
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from twisted.application import service
from twisted.logger import LegacyLogObserverWrapper
from twisted.python import usage
from twisted.python.logfile import LogFile

from ffcluster.errors import FfclusterError
from ffcluster.interfaces.program import (
    EXIT_USAGE,
    Program,
    coordinator_program,
    worker_program,
)
from ffcluster.services.logs import DEFAULT_FORMAT, filtered, log_observer
from ffcluster.services.settings.config import (
    ServerSettings,
    WorkerSettings,
    load_server_settings,
    load_worker_settings,
)
from ffcluster.services.settings.options import SERVER_OPTIONS, WORKER_OPTIONS, Option
from ffcluster.services.settings.values import BOOLEAN_WORDS


def _help(option: Option) -> str:
    return f"{option.help} [default: {option.default}]" if option.default else option.help


def _parameters(options: Sequence[Option]) -> list[list[str | None]]:
    rows: list[list[str | None]] = []
    for option in options:
        rows.append([option.name, None, None, _help(option)])
        rows += [[alias, None, None, f"The same as --{option.name}."] for alias in option.aliases]
    return [*rows, ["config", None, None, "TOML file with the same names; options beat it."]]


def _negations(options: Sequence[Option]) -> list[list[str | None]]:
    return [
        [f"no-{option.name}", None, f"The same as --{option.name}=false."]
        for option in options
        if option.boolean
    ]


class TableOptions(usage.Options):
    """Twisted options made from a table. Positional arguments may stand anywhere.

    Attributes:
        table: The options of the program.
        given: What the command line gave, by name; repeatable options as lists.
        settings: What was made of it.
    """

    table: ClassVar[tuple[Option, ...]] = ()
    settings: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: dict[str, object] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the arguments.

        Raises:
            usage.UsageError: There is a problem with any of them.
            SystemExit: The same under twistd, which would show its whole help before the problem.
        """
        try:
            self._parse(options)
        except usage.UsageError as error:
            if not self._twistd:
                raise
            print(f"Error: {error}", file=sys.stderr)
            print(f"See: twistd {self._twistd.subCommand} --help", file=sys.stderr)
            raise SystemExit(EXIT_USAGE) from error

    def _parse(self, options: Sequence[str] | None) -> None:
        arguments = self._explicit_booleans(sys.argv[1:] if options is None else list(options))
        try:
            found, positional = getopt.gnu_getopt(arguments, self.shortOpt, self.longOpt)
        except getopt.GetoptError as error:
            raise usage.UsageError(self._mistake(error)) from error
        repeatable = {option.name for option in self.table if option.repeatable}
        for flag, value in found:
            name = flag.lstrip("-")
            if name in repeatable:
                earlier = self.given.get(name, [])
                self.given[name] = [*(earlier if isinstance(earlier, list) else []), value]
            else:
                self.given[name] = value
        flat = [
            f"{flag}={value}" if f"{flag.lstrip('-')}=" in self.longOpt else flag
            for flag, value in found
        ]
        super().parseOptions([*flat, "--", *positional])  # type: ignore[no-untyped-call]

    def _mistake(self, error: getopt.GetoptError) -> str:
        """What is wrong with an option, in a sentence."""
        name = error.opt
        known = sorted(option.rstrip("=") for option in self.longOpt)
        meant = [option for option in known if option.startswith(name)]
        if name in known:
            return f"--{name} {'needs a' if f'{name}=' in self.longOpt else 'takes no'} value."
        if len(name) == 1:
            return f"There is no option -{name}."
        if len(meant) > 1:
            return f"--{name} may be any of {', '.join(f'--{option}' for option in meant)}."
        near = difflib.get_close_matches(name, known, 1) or [o for o in known if name in o]
        return f"There is no option --{name}.{f' Did you mean --{near[0]}?' if near else ''}"

    def _explicit_booleans(self, arguments: Sequence[str]) -> list[str]:
        """Give every boolean its value: `--exactly`, `--exactly false`, `--no-exactly`."""
        names = {option.name for option in self.table if option.boolean}
        result: list[str] = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument.removeprefix("--no-") in names and argument.startswith("--no-"):
                argument = f"--{argument.removeprefix('--no-')}=false"
            elif argument.removeprefix("--") in names and argument.startswith("--"):
                follows = rest and rest[0].lower() in BOOLEAN_WORDS
                argument = f"{argument}={rest.pop(0) if follows else 'true'}"
            result.append(argument)
        return result

    @property
    def config_path(self) -> Path | None:
        """The TOML file that was named, or None."""
        value = self.given.get("config")
        return Path(str(value)).expanduser().absolute() if value else None

    def load(self) -> None:
        """Turn what was given into settings.

        Raises:
            FfclusterError: When something given cannot be used.
        """

    def postOptions(self) -> None:
        """Check every option at once, before anything is started."""
        try:
            self.load()
        except FfclusterError as error:
            text = f"{error.message}\n{error.advice}".rstrip()
            raise usage.UsageError(text) from error
        if self._twistd.get("syslog") and self.settings.log_format != DEFAULT_FORMAT:
            raise usage.UsageError("twistd --syslog takes text only: leave out --log-format.")

    @property
    def _twistd(self) -> Any:
        """The options of twistd itself; none where it does not run this program."""
        return getattr(self, "parent", None) or {}

    def take_log(self, program: Program) -> None:
        """Let twistd log where it would by itself, in the form that was asked for."""
        twistd, settings = self._twistd, self.settings
        if not twistd:
            return
        if twistd.get("syslog"):
            from twisted.python.syslog import SyslogObserver

            emit: Any = SyslogObserver(twistd.get("prefix") or "").emit
            program.observer = filtered(LegacyLogObserverWrapper(emit), settings.log_level)
            return
        name, file = twistd.get("logfile"), sys.stdout
        if name != "-" and (name or not twistd.get("nodaemon")):
            file = LogFile.fromFullPath(name or "twistd.log")
            if hasattr(signal, "SIGUSR1"):
                program.on_signal(signal.SIGUSR1, file.rotate)
        program.observer = log_observer(settings.log_format, settings.log_level, file)


class ServerOptions(TableOptions):
    """Options of the coordinator."""

    synopsis = "[options] [SOURCE]"
    longdesc = (
        "Coordinates encoding jobs and publishes their results. SOURCE is a film to encode at "
        "once; without it, clients submit jobs."
    )
    table = SERVER_OPTIONS
    optParameters: ClassVar = _parameters(SERVER_OPTIONS)
    optFlags: ClassVar = _negations(SERVER_OPTIONS)
    settings: ServerSettings

    def __init__(self) -> None:
        super().__init__()
        self.source: Path | None = None

    def parseArgs(self, *sources: str) -> None:
        """Take the film to encode, if one is named."""
        if len(sources) > 1:
            raise usage.UsageError(f"One SOURCE is allowed, not {len(sources)}.")
        self.source = Path(sources[0]).expanduser().absolute() if sources else None

    def load(self) -> None:
        """Make `settings`."""
        self.settings = load_server_settings(self.given, self.config_path, self.source)


class WorkerOptions(TableOptions):
    """Options of a worker."""

    synopsis = "[options]"
    longdesc = "Encodes segments for a coordinator. SIGTERM finishes what runs and ends it."
    table = WORKER_OPTIONS
    optParameters: ClassVar = _parameters(WORKER_OPTIONS)
    optFlags: ClassVar = _negations(WORKER_OPTIONS)
    settings: WorkerSettings

    def parseArgs(self, *extra: str) -> None:
        """Refuse anything that is no option."""
        if extra:
            raise usage.UsageError(f"A worker takes options only, not {extra[0]!r}.")

    def load(self) -> None:
        """Make `settings`."""
        self.settings = load_worker_settings(self.given, self.config_path)


def _answer_with_exit_code(program: Program, reactor: Any, options: usage.Options) -> None:
    """Make twistd's process end with the program's exit code.

    twistd always answers 0 after its reactor stopped, and swallows a SystemExit raised inside it.
    So the last trigger of the shutdown, after every service ended, leaves on its behalf.
    """

    def leave() -> None:
        if program.exit_code == 0:
            return
        parent = getattr(options, "parent", None)
        pidfile = parent.get("pidfile") if parent is not None else None
        if pidfile:
            Path(pidfile).unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(program.exit_code)

    # A second step, so that triggers which others added later still run before it.
    reactor.addSystemEventTrigger(
        "during",
        "shutdown",
        lambda: reactor.addSystemEventTrigger("after", "shutdown", leave),
    )


class Server:
    """The service maker behind `twistd ffcluster-server`."""

    Options = ServerOptions

    @staticmethod
    def makeService(options: ServerOptions) -> service.IService:
        """Build the coordinator's process from checked options."""
        from twisted.internet import reactor

        return _built(coordinator_program(reactor, options.settings), options)


class Worker:
    """The service maker behind `twistd ffcluster-worker`."""

    Options = WorkerOptions

    @staticmethod
    def makeService(options: WorkerOptions) -> service.IService:
        """Build the worker's process from checked options."""
        from twisted.internet import reactor

        return _built(worker_program(reactor, options.settings), options)


def _built(program: Program, options: ServerOptions | WorkerOptions) -> service.IService:
    from twisted.internet import reactor

    options.take_log(program)
    _answer_with_exit_code(program, reactor, options)
    return program
