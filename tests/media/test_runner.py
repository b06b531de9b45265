"""Processes, on a clock that the test turns."""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.media.command import Command
from ffcluster.media.platform import Platform
from ffcluster.media.progress import Progress
from ffcluster.media.runner import Finished, Runner, Running

ENCODE = Command(("/bin/ffmpeg", "-i", "x"), "encode", reports_progress=True, is_heavy=True)


class Transport:
    """A process that does only what it is told."""

    def __init__(self) -> None:
        self.pid = 4711
        self.signals: list[str] = []
        self.written: list[bytes] = []
        self.stdin_closed = False

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def closeStdin(self) -> None:
        self.stdin_closed = True


class Reactor(Clock):
    """A reactor that starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Running, tuple[str, ...], dict[str, Any]]] = []
        self.refuses = False

    def spawnProcess(
        self, protocol: Running, executable: str, args: tuple[str, ...], **how: Any
    ) -> None:
        if self.refuses:
            raise OSError("no such program")
        protocol.transport = Transport()  # type: ignore[assignment]
        self.spawned.append((protocol, args, how))


class RunnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.runner = Runner(self.reactor, platform=Platform("test"), environ={"PATH": "/bin"})

    def _end(self, running: Running, code: int = 0) -> Finished:
        cause: Exception = error.ProcessDone(0) if code == 0 else error.ProcessTerminated(code)
        running.processEnded(Failure(cause))
        return self.successResultOf(running.done)

    def test_progress_is_read_and_its_end_is_seen(self) -> None:
        reports: list[Progress] = []
        running = self.runner.run(ENCODE, on_progress=reports.append)
        _, argv, how = self.reactor.spawned[0]
        assert argv[1:6] == ("-nostdin", "-nostats", "-progress", "pipe:3", "-stats_period")
        assert how["childFDs"] == {0: "w", 1: "r", 2: "r", 3: "r"}
        assert running.transport.stdin_closed  # type: ignore[union-attr]
        running.childDataReceived(3, b"frame=7\nprogress=continue\nframe=9\nprogress=e")
        running.childDataReceived(3, b"nd\n")
        assert [r.frame for r in reports] == [7, 9]
        finished = self._end(running)
        assert finished.ended
        assert finished.returncode == 0
        assert self.runner.live == 0

    def test_exit_without_the_end_of_progress_is_told_apart(self) -> None:
        running = self.runner.run(ENCODE)
        running.childDataReceived(3, b"frame=7\nprogress=continue\n")
        assert not self._end(running).ended

    def test_stderr_and_stdout_are_bounded(self) -> None:
        running = self.runner.run(Command(("/bin/x",), "question"))
        for n in range(500):
            running.childDataReceived(2, b"line %d\n" % n)
        running.childDataReceived(2, b"y" * 100_000)
        running.childDataReceived(1, b"z" * 6_000_000)
        finished = self._end(running, 1)
        assert len(finished.stderr_tail.splitlines()) <= 40
        assert len(finished.stderr_tail) < 30_000
        assert len(finished.stdout) == 4 * 1024 * 1024
        assert finished.returncode == 1

    def test_process_without_new_frames_is_ended(self) -> None:
        running = self.runner.run(ENCODE, stall_timeout_s=10.0)
        transport: Any = running.transport
        self.reactor.advance(9)
        running.childDataReceived(3, b"frame=1\nprogress=continue\n")
        self.reactor.advance(9)
        running.childDataReceived(3, b"frame=1\nprogress=continue\n")
        assert transport.signals == []
        self.reactor.advance(2)
        assert transport.signals == ["TERM"]
        self.reactor.advance(6)
        assert transport.signals == ["TERM", "KILL"]
        finished = self._end(running, 9)
        assert finished.stalled
        assert not finished.timed_out

    def test_process_that_lasts_too_long_is_ended(self) -> None:
        running = self.runner.run(Command(("/bin/x",), "question"), timeout_s=3.0)
        self.reactor.advance(4)
        assert self._end(running, 1).timed_out

    def test_terminate_asks_first_and_fires_when_it_is_over(self) -> None:
        running = self.runner.run(ENCODE)
        over = running.terminate()
        again = running.terminate()
        self.assertNoResult(over)
        transport: Any = running.transport
        assert transport.signals == ["TERM"]
        self._end(running, 255)
        self.successResultOf(over)
        self.successResultOf(again)
        self.reactor.advance(60)
        assert transport.signals == ["TERM"]
        self.successResultOf(running.terminate())

    def test_cancelling_the_outcome_ends_the_process(self) -> None:
        running = self.runner.run(ENCODE)
        running.done.addErrback(lambda _: None)
        running.done.cancel()
        transport: Any = running.transport
        assert transport.signals == ["TERM"]
        running.processEnded(Failure(error.ProcessTerminated(255)))
        assert self.runner.live == 0

    def test_close_ends_all_and_starts_no_more(self) -> None:
        one, two = self.runner.run(ENCODE), self.runner.run(ENCODE)
        closed = self.runner.close()
        self._end(one, 255)
        self.assertNoResult(closed)
        self._end(two, 255)
        self.successResultOf(closed)
        late = self.successResultOf(self.runner.run(ENCODE).done)
        assert late.returncode is None
        assert len(self.reactor.spawned) == 2

    def test_program_that_cannot_be_started_is_an_outcome(self) -> None:
        self.reactor.refuses = True
        finished = self.successResultOf(self.runner.run(ENCODE).done)
        assert finished.returncode is None
        assert "no such program" in finished.stderr_tail

    def test_windows_reports_progress_on_stdout(self) -> None:
        runner = Runner(self.reactor, platform=Platform("win32"), environ={})
        running = runner.run(ENCODE)
        _, argv, how = self.reactor.spawned[0]
        assert "pipe:1" in argv
        assert "childFDs" not in how
        running.childDataReceived(1, b"frame=5\nprogress=end\n")
        assert self._end(running).progress.frame == 5
