"""Run a coordinator or a worker as a whole process: signals, log, failures in words, exit code.

Knows when a process must end and with which code; leaves all work to the service it holds.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.application import service
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from ffcluster.errors import ErrorReport
from ffcluster.interfaces.supervision import Supervision

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class Program(service.MultiService):
    """One service and the process around it.

    Attributes:
        exit_code: What the process should answer when the reactor has stopped.
        observer: Where twistd shall log to, or None where it decides that itself.
        supervision: Told how the process is doing.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self.exit_code = EXIT_OK
        self.observer: ILogObserver | None = None
        self.supervision = Supervision(reactor)
        self._ending = False
        self._signals: dict[int, Callable[[], None]] = {}

    def setServiceParent(self, parent: Any) -> None:
        """Become part of twistd's application, whose log goes to `observer`."""
        if self.observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def on_signal(self, number: int, action: Callable[[], None]) -> None:
        """Run `action` in the reactor when the process gets this signal.

        Handlers are set once the reactor runs, because it sets its own when it starts.
        """
        self._signals[number] = action

    def startService(self) -> None:
        """Start what is held, and take over the signals as soon as the reactor runs."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._install_signals)
        self._reactor.callWhenRunning(self.supervision.begin)

    def stopService(self) -> Any:
        """Stop what is held; the supervisor hears that the reactor turns until that is done."""
        self.supervision.stopping()
        stopping: Any = super().stopService()  # type: ignore[no-untyped-call]
        stopping.addBoth(self._stopped)
        return stopping

    def _stopped(self, result: Any) -> Any:
        self.supervision.end()
        return result

    def _install_signals(self) -> None:
        for number, action in self._signals.items():
            signal.signal(number, lambda *_, action=action: self._reactor.callFromThread(action))

    def end(self, code: int) -> None:
        """Stop the reactor, now or as soon as it runs; the first code that is not 0 counts."""
        self.exit_code = self.exit_code or code
        if self._ending:
            return
        self._ending = True
        if self._reactor.running:
            self._reactor.stop()
        else:
            self._reactor.callWhenRunning(self._reactor.stop)

    def fail(self, failure: Failure) -> None:
        """Say in words why the process cannot go on, and end it."""
        error = failure.value or RuntimeError("it failed without saying why")
        report = ErrorReport.of(error)
        if report.code == "internal":
            self._log.failure("Cannot go on", failure)
        else:
            self._log.error(
                "{problem}{advice}",
                problem=report.message,
                advice=f" {report.advice}" if report.advice else "",
            )
        self.end(EXIT_FAILED)


def coordinator_program(reactor: Any, settings: Any) -> Program:
    """Make the process of a coordinator.

    Ends with 0 on SIGTERM, with 1 when it cannot start, when what changes cannot be stored any more
    or, told to stop after its film, when a job failed.
    """
    from ffcluster.services.clock import keep_steady
    from ffcluster.services.coordinator.service import CoordinatorService

    keep_steady(reactor)
    program = Program(reactor)
    coordinator = CoordinatorService(reactor, settings)
    coordinator.setServiceParent(program)  # type: ignore[no-untyped-call]
    coordinator.started.addCallbacks(lambda _: program.supervision.ready(), program.fail)
    coordinator.finished.addCallbacks(program.end, program.fail)
    program.on_signal(signal.SIGTERM, lambda: program.end(EXIT_OK))
    return program


def worker_program(reactor: Any, settings: Any) -> Program:
    """Make the process of a worker.

    The first SIGTERM drains it and ends with 0, a second stops it at once. A worker that is not
    persistent ends with the code it gives when its connection fails or is lost.
    """
    from ffcluster.services.clock import keep_steady
    from ffcluster.services.worker.service import WorkerService

    keep_steady(reactor)
    program = Program(reactor)
    worker = WorkerService(reactor, settings)
    worker.setServiceParent(program)  # type: ignore[no-untyped-call]
    worker.prepared.addCallback(lambda _: program.supervision.ready())
    worker.finished.addCallbacks(program.end, program.fail)
    draining = False

    def drain() -> None:
        nonlocal draining
        if draining:
            program.end(EXIT_OK)
            return
        draining = True
        program.supervision.stopping()
        worker.drain().addCallbacks(lambda _: program.end(EXIT_OK), program.fail)

    program.on_signal(signal.SIGTERM, drain)
    return program
