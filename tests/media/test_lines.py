"""Calls to a helper process."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from ffcluster.errors import HelperDied, SourceDamaged
from ffcluster.media.lines import LineProcess
from ffcluster.media.runner import Finished, Runner, python_command


class Process:
    """A helper that answers when the test says so."""

    def __init__(self, on_output: Any) -> None:
        self.done: Deferred[Finished] = Deferred()
        self.on_output = on_output
        self.calls: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.calls.append(json.loads(data))

    def terminate(self) -> Deferred[None]:
        over: Deferred[None] = Deferred()
        self.end()
        over.callback(None)
        return over

    def end(self) -> None:
        self.done.callback(Finished(returncode=None, signal=9))

    def say(self, **message: Any) -> None:
        self.on_output(json.dumps(message).encode() + b"\n")


class Processes(Runner):
    """A runner of such helpers."""

    def __init__(self) -> None:
        super().__init__(None)
        self.started: list[Process] = []

    def run(self, command: Any, *, on_output: Any = None, **how: Any) -> Any:
        self.started.append(Process(on_output))
        return self.started[-1]


class LineProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.runner = Processes()
        self.lines = LineProcess(self.runner, python_command("x"), "The helper")

    def test_answers_progress_and_errors_find_their_call(self) -> None:
        parts: list[float] = []
        one = self.lines.call("index", on_progress=parts.append, path="a")
        two = self.lines.call("cut")
        process = self.runner.started[0]
        assert [c["op"] for c in process.calls] == ["index", "cut"]
        first, second = (c["id"] for c in process.calls)
        process.say(id=first, progress=0.5)
        process.say(id=second, error={"code": "source_damaged", "message": "broken"})
        process.say(id=first, result={"frames": 3})
        assert parts == [0.5]
        assert self.successResultOf(one) == {"frames": 3}
        assert self.failureResultOf(two, SourceDamaged).value.message == "broken"

    def test_answer_may_come_in_parts(self) -> None:
        call = self.lines.call("facts")
        process = self.runner.started[0]
        line = json.dumps({"id": process.calls[0]["id"], "result": 1}).encode() + b"\n"
        for byte in line:
            process.on_output(bytes([byte]))
        assert self.successResultOf(call) == 1

    def test_death_fails_what_waits_and_the_next_call_starts_anew(self) -> None:
        waiting = self.lines.call("cut")
        self.runner.started[0].end()
        assert self.failureResultOf(waiting, HelperDied).value.retryable
        self.lines.call("cut")
        assert len(self.runner.started) == 2

    def test_close_fails_what_waits(self) -> None:
        waiting = self.lines.call("cut")
        self.successResultOf(self.lines.close())
        self.failureResultOf(waiting, HelperDied)
        self.successResultOf(self.lines.close())
