"""The `ffcluster-ffmpeg` command: a call of ffmpeg goes to the cluster, or to the ffmpeg here.

Own options stand before ffmpeg's: --explain, --coordinator URL, --token-file FILE, --on-server,
--upload, --no-fallback. Everything behind them belongs to ffmpeg, word for word.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ffcluster.errors import Code, FfclusterError, FfmpegMissing, InvalidOption
from ffcluster.interfaces.dropin.binary import become, header, real_ffmpeg

EXIT_FAILED = 1
EXIT_INTERRUPTED = 255
_WARNING, _FATAL = 24, 8
_NO = frozenset({"0", "no", "false", "off"})


@attrs.frozen(kw_only=True)
class Own:
    """What is meant for this program and not for ffmpeg.

    Attributes:
        explain: Only say what would happen.
        url: The coordinator, or "".
        token_file: File with its token, or "".
        on_server: Whether it reads sources by their path; None: see `Address`.
        falls_back: Whether the local ffmpeg does what the cluster could but cannot now.
    """

    explain: bool = False
    url: str = ""
    token_file: str = ""
    on_server: bool | None = None
    falls_back: bool = True


def own_options(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Own, list[str]]:
    """Take our own options off the front of a command line, and the rest from the environment.

    Raises:
        InvalidOption: One has no value.
    """
    where = environ.get("FFCLUSTER_FFMPEG_SOURCE", "")
    own = Own(
        url=environ.get("FFCLUSTER_COORDINATOR", ""),
        token_file=environ.get("FFCLUSTER_TOKEN_FILE", ""),
        on_server={"server": True, "upload": False}.get(where),
        falls_back=environ.get("FFCLUSTER_FFMPEG_FALLBACK", "").lower() not in _NO,
    )
    given: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest[0]
        if word in _SWITCHES:
            given |= _SWITCHES[word]
        elif word in _VALUES:
            if len(rest) < 2:
                raise InvalidOption(message=f"{word} needs a value.", option=word)
            given[_VALUES[word]] = rest.pop(1)
        else:
            break
        rest.pop(0)
    return attrs.evolve(own, **given), rest


_SWITCHES: Mapping[str, dict[str, Any]] = {
    "--explain": {"explain": True},
    "--no-fallback": {"falls_back": False},
    "--on-server": {"on_server": True},
    "--upload": {"on_server": False},
}
_VALUES = {"--coordinator": "url", "--token-file": "token_file"}


def main() -> None:
    """Run the command line."""
    sys.exit(run(sys.argv[1:], os.environ, sys.argv[0]))


def run(argv: Sequence[str], environ: Mapping[str, str], program: str) -> int:
    """Do one call; answers the exit code, unless this process becomes ffmpeg."""
    try:
        own, rest = own_options(argv, environ)
        return _Run(own, rest, environ, program).run()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except FfclusterError as error:
        _complain(error.message, error.advice)
        return EXIT_FAILED


def _complain(*lines: str) -> None:
    for line in filter(None, lines):
        sys.stderr.write(f"ffcluster-ffmpeg: {line}\n")


class _Run:
    """One call, with its environment."""

    def __init__(
        self, own: Own, argv: Sequence[str], environ: Mapping[str, str], program: str
    ) -> None:
        self._own = own
        self._argv = argv
        self._environ = environ
        self._program = program

    def run(self) -> int:
        """Do it, or say what would be done."""
        # What most calls of other kinds lack; they are not to wait for our plugins.
        if "-i" not in self._argv:
            return self._local("it does not name one input and one output")
        if not self._own.url and not self._own.explain:
            return self._local("no coordinator is named")
        from ffcluster.encoders.registry import Registry
        from ffcluster.interfaces.dropin.arguments import Local, plain_path, read_arguments
        from ffcluster.interfaces.dropin.probe import probe
        from ffcluster.interfaces.dropin.selection import why_not

        call = read_arguments(self._argv, Registry.load().schemas)
        if isinstance(call, Local):
            return self._local(call.reason)
        path, target = (Path(plain_path(f) or f) for f in (call.source, call.target))
        reason = _why_not_files(path, target, call.overwrite)
        if reason:
            return self._local(reason)
        source = probe(path)
        if source is None:
            return self._local("the source is no video that the cluster would read")
        reason = why_not(call, source)
        if reason or not self._own.url:
            return self._local(reason or "no coordinator is named")
        if self._own.explain:
            return self._explain(f"the cluster at {self._own.url} makes it: {_in_words(call)}")
        return self._on_cluster(call, source)

    # --- the local ffmpeg ------------------------------------------------------------------------

    def _local(self, reason: str) -> int:
        if self._own.explain:
            return self._explain(f"the local ffmpeg does it: {reason}")
        ffmpeg = real_ffmpeg(self._environ, self._program)
        return become(ffmpeg, self._argv, self._environ)

    def _explain(self, text: str) -> int:
        sys.stdout.write(text + "\n")
        if not self._own.url:
            sys.stdout.write("Name a coordinator with --coordinator or FFCLUSTER_COORDINATOR.\n")
        with contextlib.suppress(FfmpegMissing):
            ffmpeg = real_ffmpeg(self._environ, self._program)
            sys.stdout.write(f"The local ffmpeg is {ffmpeg}.\n")
        return 0

    # --- the cluster -----------------------------------------------------------------------------

    def _on_cluster(self, call: Any, source: Any) -> int:
        from ffcluster.interfaces.dropin.arguments import ERROR, INFO, plain_path
        from ffcluster.interfaces.dropin.reporting import Reporter

        try:
            reporter = Reporter(call, sys.stderr.buffer)
        except OSError:
            return self._local("its progress cannot be written where it is wanted")
        greet = functools.cache(lambda: self._greet(call, reporter))
        if call.overwrite is None and Path(plain_path(call.target) or "").exists():
            greet()
            if not _answers_yes(call.target):
                reporter.say("Not overwriting - exiting", _FATAL)
                return EXIT_FAILED
            call = attrs.evolve(call, overwrite=True)
            # Nobody is asked twice.
            self._argv = ["-y", *self._argv]
        ended, interrupted = self._in_reactor(call, source, reporter, greet)
        reporter.close()
        if ended.done:
            return 0
        if interrupted:
            reporter.say(f"Exiting normally, received signal {interrupted}.", INFO)
            return EXIT_INTERRUPTED
        message = ended.error.message if ended.error else "it ended without saying why"
        # What somebody cancelled is not begun again elsewhere.
        cancelled = ended.error is not None and ended.error.code is Code.CANCELLED
        if ended.began or cancelled or not self._own.falls_back:
            reporter.say(f"ffcluster-ffmpeg: {message}\nConversion failed!", ERROR)
            return EXIT_FAILED
        reporter.say(f"ffcluster-ffmpeg: the local ffmpeg does it: {message}", _WARNING)
        return self._local(message)

    def _greet(self, call: Any, reporter: Any) -> None:
        """Say of the source what ffmpeg would, which is where others read its length."""
        from ffcluster.interfaces.dropin.arguments import INFO

        if call.loglevel < INFO:
            return
        with contextlib.suppress(FfmpegMissing):
            ffmpeg = real_ffmpeg(self._environ, self._program)
            reporter.say(header(ffmpeg, call.source, banner=call.shows_banner), INFO)

    def _in_reactor(
        self, call: Any, source: Any, reporter: Any, greet: Callable[[], None]
    ) -> tuple[Any, int]:
        """Run the call; answers how it ended, and the signal that ended it or 0."""
        from ffcluster.interfaces.cli.named import read_token
        from ffcluster.interfaces.cli.output import Exit, Output
        from ffcluster.interfaces.cli.runtime import run_reactor
        from ffcluster.interfaces.dropin.cluster import Address, ClusterCall, Ended

        output = Output(quiet=True)
        token = read_token(Path(self._own.token_file), output) if self._own.token_file else None
        address = Address(url=self._own.url, token=token, on_server=self._own.on_server)
        ended = Ended()
        signals: list[int] = []

        async def work(reactor: Any) -> Exit:
            _note_signals(signals)
            await ClusterCall(reactor, call, source, address, reporter).run(ended, greet)
            return Exit.DONE

        with _keys(listened=call.reads_keys):
            code = run_reactor(work, output)
        if code is Exit.INTERRUPTED:
            return ended, signals[0] if signals else int(signal.SIGINT)
        return ended, 0


def _note_signals(signals: list[int]) -> None:
    """Remember which signal came first; what it does stays as it is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        before: Any = signal.getsignal(number)

        def note(got: int, frame: Any, before: Any = before) -> None:
            signals.append(got)
            before(got, frame)

        signal.signal(number, note)


def _why_not_files(source: Path, target: Path, overwrite: bool | None) -> str:
    """What the files themselves say against the cluster; ffmpeg has its own words for most."""
    try:
        if not source.is_file() or not os.access(source, os.R_OK):
            return "the source is no file that can be read"
        if target.exists():
            if not target.is_file() or target.samefile(source):
                return "the output is no plain file, or the source itself"
            if overwrite is False or (overwrite is None and not sys.stdin.isatty()):
                return "the output exists"
        elif not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
            return "the output cannot be written there"
    except (OSError, ValueError):
        return "its files cannot be looked at"
    return ""


def _answers_yes(target: str) -> bool:
    sys.stderr.write(f"File '{target}' already exists. Overwrite? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()[:1] in ("y", "Y")


def _in_words(call: Any) -> str:
    profile = call.profile
    words = [f"{profile.encoder} in {call.container.value}, audio {profile.audio.value}"]
    if call.ignored:
        words.append(f"{' '.join(call.ignored)} means nothing there")
    return "; ".join(words)


@contextlib.contextmanager
def _keys(*, listened: bool) -> Iterator[None]:
    """Listen for `q` on stdin, which ends the call as Ctrl-C does."""
    if not listened or sys.stdin is None or sys.stdin.closed:
        yield
        return
    with _single_keys():
        threading.Thread(target=_wait_for_q, name="keys", daemon=True).start()
        yield


def _wait_for_q() -> None:
    with contextlib.suppress(OSError, ValueError):
        while key := os.read(0, 1):
            if key == b"q":
                os.kill(os.getpid(), signal.SIGINT)
                return


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Let a terminal give every key at once, without showing it."""
    try:
        import termios
        import tty
    except ImportError:
        yield
        return
    try:
        before = termios.tcgetattr(0)
        if os.tcgetpgrp(0) != os.getpgrp():
            # In the background a terminal's keys are not for us, and reading them would stop us.
            raise OSError
        tty.setcbreak(0)
    except (OSError, termios.error):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


if __name__ == "__main__":
    main()
