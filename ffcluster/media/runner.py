"""The only place that starts processes. Knows nothing of what they do beyond their progress."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet import defer, error, protocol
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ffcluster.media.command import Command
from ffcluster.media.platform import Platform, here
from ffcluster.media.progress import Progress, ProgressParser

_TAIL_LINES = 40
_LINE_BYTES = 512
_STDOUT_BYTES = 4 * 1024 * 1024
# ffmpeg needs about 1.5 s to end on SIGTERM, more while a slow encoder finishes a frame.
_TERMINATE_GRACE_S = 5.0


@attrs.frozen
class Finished:
    """How a process ended.

    Attributes:
        returncode: Exit code, or None when a signal ended it or it never started.
        signal: The signal that ended it, or None.
        stderr_tail: Its last lines on stderr, joined by newlines.
        stdout: What it printed, at most 4 MiB.
        progress: Its last progress report.
        ended: Whether ffmpeg said that it had finished; without it exit code 0 proves nothing.
        stalled: Whether it was ended because it made no frame for too long.
        timed_out: Whether it was ended because it took too long altogether.
        elapsed_s: Wall time in seconds.
    """

    returncode: int | None
    signal: int | None = None
    stderr_tail: str = ""
    stdout: bytes = b""
    progress: Progress = attrs.field(factory=Progress)
    ended: bool = False
    stalled: bool = False
    timed_out: bool = False
    elapsed_s: float = 0.0


class _Tail:
    """The last lines of a stream that may be endless and may have no line ends."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._lines.extend(line[:_LINE_BYTES] for line in lines[-_TAIL_LINES:] if line.strip())
        self._rest = rest[-_LINE_BYTES:]

    def text(self) -> str:
        lines = [*self._lines, self._rest] if self._rest.strip() else list(self._lines)
        return b"\n".join(lines[-_TAIL_LINES:]).decode("utf-8", "replace")


class Running(protocol.ProcessProtocol):
    """One live process.

    `done` fires when it has ended and all its output was read; cancelling it ends the process.

    Attributes:
        pid: Its number, also when it has ended and only what it started is left; None before it is
            started.
    """

    def __init__(
        self,
        reactor: Any,
        platform: Platform,
        progress_fd: int | None,
        on_progress: Callable[[Progress], None] | None,
        on_output: Callable[[bytes], None] | None,
    ) -> None:
        self.done: Deferred[Finished] = Deferred(self._give_up)
        self.pid: int | None = None
        self._reactor = reactor
        self._platform = platform
        self._progress_fd = progress_fd
        self._on_progress = on_progress
        self._on_output = on_output
        self._parser = ProgressParser()
        self._progress = Progress()
        self._tail = _Tail()
        self._stdout = bytearray()
        self._started_s: float = reactor.seconds()
        self._stall_timeout_s: float | None = None
        self._timers: dict[str, Any] = {}
        self._reasons: set[str] = set()
        self._waiting: list[Deferred[None]] = []
        self._is_over = False

    def watch(self, stall_timeout_s: float | None, timeout_s: float | None) -> None:
        """End the process when it makes no frame, or lasts, for longer than this."""
        self._stall_timeout_s = stall_timeout_s
        if stall_timeout_s is not None:
            self._timers["stalled"] = self._reactor.callLater(
                stall_timeout_s, self._expire, "stalled"
            )
        if timeout_s is not None:
            self._timers["timed_out"] = self._reactor.callLater(
                timeout_s, self._expire, "timed_out"
            )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._is_over

    def write(self, data: bytes) -> None:
        """Send bytes to its stdin; lost without notice when it has ended."""
        if not self._is_over and self.transport is not None:
            self.transport.write(data)

    def close_stdin(self) -> None:
        """Tell it that no more comes."""
        if not self._is_over and self.transport is not None:
            self.transport.closeStdin()

    def terminate(self, grace_s: float = _TERMINATE_GRACE_S) -> Deferred[None]:
        """Ask it to end, and end it when it does not within `grace_s`; fires when it is over."""
        if not self._is_over and "kill" not in self._timers:
            self._signal("TERM")
            self._timers["kill"] = self._reactor.callLater(grace_s, self._signal, "KILL")
        return self.when_over()

    def when_over(self) -> Deferred[None]:
        """Fires when the process has ended, whether or not anybody still waits for `done`."""
        over: Deferred[None] = Deferred()
        if self._is_over:
            over.callback(None)
        else:
            self._waiting.append(over)
        return over

    def _give_up(self, _: Deferred[Any]) -> None:
        """Nobody waits for its outcome any more."""
        self.terminate()

    def childDataReceived(self, child_fd: int, data: bytes) -> None:
        """Sort what the process writes."""
        if child_fd == self._progress_fd:
            for report in self._parser.feed(data):
                self._advance(report)
        elif child_fd == 2:
            self._tail.feed(data)
        elif self._on_output is not None:
            self._on_output(data)
        else:
            room = _STDOUT_BYTES - len(self._stdout)
            self._stdout += data[:room]

    def processEnded(self, reason: Failure) -> None:
        """Report how it ended."""
        self._is_over = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        cause = reason.value
        returncode = getattr(cause, "exitCode", None)
        if reason.check(error.ProcessDone):
            returncode = 0
        self._finish(returncode, getattr(cause, "signal", None))

    def never_started(self, cause: OSError) -> None:
        """Report that the operating system refused to start it."""
        self._is_over = True
        self._tail.feed(f"cannot start: {cause}".encode())
        self._finish(None, None)

    def _finish(self, returncode: int | None, signal: int | None) -> None:
        finished = Finished(
            returncode=returncode,
            signal=signal,
            stderr_tail=self._tail.text(),
            stdout=bytes(self._stdout),
            progress=self._progress,
            ended=self._progress.ended,
            stalled="stalled" in self._reasons,
            timed_out="timed_out" in self._reasons,
            elapsed_s=self._reactor.seconds() - self._started_s,
        )
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            over.callback(None)
        if not self.done.called:
            self.done.callback(finished)

    def _advance(self, report: Progress) -> None:
        if report.frame > self._progress.frame and "stalled" in self._timers:
            timer = self._timers["stalled"]
            if timer.active():
                timer.reset(self._stall_timeout_s)
        self._progress = report
        if self._on_progress is not None:
            self._on_progress(report)

    def _expire(self, reason: str) -> None:
        self._reasons.add(reason)
        self.terminate()

    def _signal(self, name: str) -> None:
        def kill_alone(signal_name: str) -> None:
            try:
                if self.transport is not None:
                    self.transport.signalProcess(signal_name)
            except error.ProcessExitedAlready:
                pass

        if self.pid is not None and not self._is_over:
            self._platform.send(self.pid, name, kill_alone)


class Runner:
    """Starts processes, keeps the set of live ones, and ends them all when it is closed.

    Args:
        reactor: Twisted's reactor (`IReactorProcess` and `IReactorTime`).
        platform: What the operating system offers.
        niceness: How far encoders step back behind other programs, 0 to 19.
        environ: Environment from which the needed variables are taken.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        platform: Platform | None = None,
        niceness: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.reactor = reactor
        self.platform = platform or here()
        self._niceness = niceness
        self._environ = os.environ if environ is None else environ
        self._live: set[Running] = set()
        self._closed = False

    @property
    def environment(self) -> dict[str, str]:
        """What every process gets of the environment."""
        return self.platform.environment(self._environ)

    @property
    def live(self) -> int:
        """Number of processes that run now."""
        return len(self._live)

    def run(
        self,
        command: Command,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_output: Callable[[bytes], None] | None = None,
        stall_timeout_s: float | None = None,
        timeout_s: float | None = None,
        keep_stdin: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """Start `command`.

        Args:
            command: What to run.
            on_progress: Called with each report of an ffmpeg command.
            on_output: Called with what it prints, instead of keeping it for `Finished.stdout`.
            stall_timeout_s: End it when it makes no new frame for this long.
            timeout_s: End it when it lasts longer than this.
            keep_stdin: Leave its stdin open for `Running.write`.
            env: Variables to set beside the scrubbed environment.
        """
        reports = command.reports_progress
        progress_fd = self.platform.progress_fd if reports else None
        running = Running(self.reactor, self.platform, progress_fd, on_progress, on_output)
        if self._closed:
            running.never_started(OSError("this process is shutting down"))
            return running
        argv = self._argv(command, progress_fd)
        variables = self.environment | dict(env or {})
        try:
            self._spawn(running, argv, variables, progress_fd)
        except OSError as cause:
            running.never_started(cause)
            return running
        # Twisted forgets it as soon as the process ends.
        running.pid = getattr(running.transport, "pid", None)
        self._live.add(running)
        running.when_over().addCallback(lambda _: self._live.discard(running))
        running.watch(stall_timeout_s if reports else None, timeout_s)
        if not keep_stdin:
            running.close_stdin()
        return running

    def close(self) -> Deferred[None]:
        """End every live process and start no more; fires when all are over."""
        self._closed = True
        ending = [running.terminate() for running in list(self._live)]
        gathered = defer.gatherResults(ending, consumeErrors=True)
        return gathered.addCallback(lambda _: None)

    def _argv(self, command: Command, progress_fd: int | None) -> tuple[str, ...]:
        prefix = self.platform.prefix(self._niceness if command.is_heavy else 0)
        if progress_fd is None:
            return prefix + command.argv
        binary, *rest = command.argv
        reporting = (
            "-nostdin", "-nostats", "-progress", f"pipe:{progress_fd}", "-stats_period", "0.25",
        )  # fmt: skip
        return (*prefix, binary, *reporting, *rest)

    def _spawn(
        self,
        running: Running,
        argv: tuple[str, ...],
        env: dict[str, str],
        progress_fd: int | None,
    ) -> None:
        # Without path= and ids Twisted can use posix_spawn, which does not copy this process.
        if self.platform.is_windows:
            self.reactor.spawnProcess(running, argv[0], argv, env=env)
            return
        pipes: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        if progress_fd is not None:
            pipes[progress_fd] = "r"
        self.reactor.spawnProcess(running, argv[0], argv, env=env, childFDs=pipes)


def python_command(module: str, *arguments: str) -> Command:
    """Run one of this package's modules in a Python process of its own."""
    return Command((sys.executable, "-m", module, *arguments), "python")
