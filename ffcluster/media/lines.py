"""Talk to a helper process in lines of JSON: calls in, results, errors and progress out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from ffcluster.errors import Code, ErrorReport, FfclusterError, HelperDied
from ffcluster.media.command import Command
from ffcluster.media.runner import Finished, Runner, Running

_LONGEST_LINE_BYTES = 64 * 1024 * 1024


class _Call:
    """One call that waits for its answer."""

    def __init__(self, line: bytes, on_progress: Callable[[float], None] | None) -> None:
        self.line = line
        self.on_progress = on_progress
        self.answer: Deferred[Any] = Deferred()


class LineProcess:
    """A helper process that is started at the first call, and again after it died.

    Args:
        runner: Starts the process.
        command: What to start.
        name: What it is, for errors.
    """

    def __init__(self, runner: Runner, command: Command, name: str) -> None:
        self._runner = runner
        self._command = command
        self._name = name
        self._running: Running | None = None
        self._calls: dict[int, _Call] = {}
        self._number = 0
        self._rest = b""
        self._closed = False

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._running is not None

    def call(
        self, op: str, *, on_progress: Callable[[float], None] | None = None, **values: Any
    ) -> Deferred[Any]:
        """Send one call; calls are answered in the order in which they were made.

        Raises:
            HelperDied: In the Deferred: the process ended; calling again starts it again.
            FfclusterError: In the Deferred: what the helper reports.
        """
        self._number += 1
        message = {"id": self._number, "op": op} | values
        call = _Call(json.dumps(message, separators=(",", ":")).encode() + b"\n", on_progress)
        self._calls[self._number] = call
        self._start().write(call.line)
        return call.answer

    def close(self) -> Deferred[None]:
        """End the process; waiting calls fail."""
        running, self._running = self._running, None
        if running is None:
            over: Deferred[None] = Deferred()
            over.callback(None)
            return over
        return running.terminate()

    def _start(self) -> Running:
        if self._running is None:
            self._rest = b""
            running = self._runner.run(self._command, on_output=self._received, keep_stdin=True)
            self._running = running
            running.done.addCallback(self._ended, running)
        return self._running or running

    def _received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))
        if len(self._rest) > _LONGEST_LINE_BYTES and self._running is not None:
            self._running.terminate()

    def _answer(self, message: dict[str, Any]) -> None:
        number = message["id"]
        call = self._calls.get(number)
        if call is None:
            return
        if "progress" in message:
            if call.on_progress is not None:
                call.on_progress(message["progress"])
            return
        del self._calls[number]
        if "error" in message:
            call.answer.errback(_as_error(message["error"]))
        else:
            call.answer.callback(message["result"])

    def _ended(self, finished: Finished, running: Running) -> None:
        if self._running is running:
            self._running = None
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.answer.errback(
                HelperDied(
                    message=f"{self._name} ended while it was at work",
                    detail={
                        "returncode": finished.returncode,
                        "signal": finished.signal,
                        "stderr": finished.stderr_tail,
                    },
                )
            )


def _as_error(error: dict[str, Any]) -> FfclusterError:
    report = ErrorReport(
        code=Code(error["code"]),
        message=error["message"],
        advice=error.get("advice", ""),
        detail=error.get("detail", {}),
    )
    return report.to_error()
