"""One attempt on a worker: whatever it ends in, its slot, its processes and its files are gone."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from ffcluster.core.model import Capability, SegmentProof
from ffcluster.core.profile import Codec
from ffcluster.errors import Code, EncodeFailed
from ffcluster.media.command import Command
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.services import attempt as attempt_module
from ffcluster.services.attempt import AttemptRun
from tests.net.loopback import BLOCK, LoopbackCase, payload, until
from tests.services.test_worker_session import offer

PIECE = payload(5 * BLOCK, b"piece")
RESULT = payload(3 * BLOCK, b"result")
PROOF = SegmentProof(10, 10)


@attrs.define
class Bench:
    """Stands for the worker; one slot at once, or none."""

    runner: Any
    build: Any = None
    has_slot: bool = True
    sent: list[Any] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)
    released: int = 0

    def slot(self, attempt: AttemptRun) -> Deferred[None]:
        if self.has_slot:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def release(self, attempt: AttemptRun) -> None:
        self.released += 1

    def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def last(self) -> Any:
        return self.sent[-1]


class Backend:
    def arguments(self, *_: object, **__: object) -> None:
        return None


class Attempts(LoopbackCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.runner = Runner(reactor)
        self.addCleanup(self.runner.close)
        self.bench = Bench(self.runner)
        self.work = self.folder / "attempts"
        self.work.mkdir()
        self.offer(PIECE, "a")
        self.incoming = self.await_file("a")

    def attempt(self, encode: Any) -> AttemptRun:
        self.patch(attempt_module, "encode_piece", encode)
        made = offer(7)
        piece = attrs.evolve(
            made.piece, size_bytes=len(PIECE), sha256=hashlib.sha256(PIECE).hexdigest()
        )
        run = AttemptRun(
            self.bench,
            self.client,
            attrs.evolve(made, piece=piece),
            Capability("libx264", Codec.H264),
            Backend(),  # type: ignore[arg-type]
            self.work,
            BLOCK,
        )
        run.start()
        return run

    def writes_the_result(self, *arguments: Any) -> Deferred[SegmentProof]:
        piece, result = arguments[4], arguments[5]
        assert piece.read_bytes() == PIECE
        result.write_bytes(RESULT)
        return succeed(PROOF)

    def runs_for_ever(self, *arguments: Any) -> Deferred[Any]:
        arguments[5].write_bytes(b"half a result")
        running = self.runner.run(Command(("/bin/sleep", "600"), "sleep"))
        return running.done

    def assert_nothing_is_left(self) -> None:
        assert list(self.work.iterdir()) == []
        assert self.runner.live == 0
        assert self.bench.released

    async def test_result_is_put_and_told(self) -> None:
        run = self.attempt(self.writes_the_result)
        await run.done
        sha256 = hashlib.sha256(RESULT).hexdigest()
        assert self.bench.sent == [
            messages.Accepted(7),
            messages.Started(7),
            messages.Result(7, len(RESULT), sha256, PROOF),
        ]
        assert self.incoming.sha256 == sha256
        self.assert_nothing_is_left()

    async def test_failed_encode_is_told(self) -> None:
        def fail(*_: object) -> Deferred[Any]:
            raise EncodeFailed(message="it broke")

        run = self.attempt(fail)
        await run.done
        assert self.bench.last.error.code is Code.ENCODE_FAILED
        self.assert_nothing_is_left()

    async def test_piece_that_cannot_be_fetched_is_told(self) -> None:
        self.shelf.readables.clear()
        run = self.attempt(self.writes_the_result)
        await run.done
        assert self.bench.last.error.code is Code.NOT_FOUND
        self.assert_nothing_is_left()

    async def test_stop_in_mid_encode_ends_the_process_and_tells_nothing(self) -> None:
        run = self.attempt(self.runs_for_ever)
        await until(lambda: self.runner.live)
        await run.stop(give_back=False)
        await until(lambda: not self.runner.live)
        assert self.bench.last == messages.Started(7)
        self.assert_nothing_is_left()

    async def test_given_back_in_mid_encode_is_told(self) -> None:
        run = self.attempt(self.runs_for_ever)
        await until(lambda: self.runner.live)
        await run.stop(give_back=True)
        assert self.bench.last == messages.Returned(7)

    async def test_second_stop_waits_for_the_first(self) -> None:
        run = self.attempt(self.runs_for_ever)
        await until(lambda: self.runner.live)
        first, second = run.stop(give_back=True), run.stop(give_back=False)
        await second
        await first
        assert self.bench.last == messages.Returned(7)

    async def test_stop_while_waiting_for_a_slot_encodes_nothing(self) -> None:
        self.bench.has_slot = False
        run = self.attempt(self.writes_the_result)
        await until(lambda: self.bench.waiting)
        await run.stop(give_back=True)
        assert self.bench.sent == [messages.Accepted(7), messages.Returned(7)]
        self.assert_nothing_is_left()

    async def test_stop_while_fetching_leaves_no_file(self) -> None:
        run = self.attempt(self.writes_the_result)
        await run.stop(give_back=True)
        assert self.bench.last == messages.Returned(7)
        self.assert_nothing_is_left()

    async def test_stop_while_sending_leaves_no_file(self) -> None:
        run = self.attempt(self.writes_the_result)
        await until(lambda: self.incoming.offset)
        await run.stop(give_back=False)
        self.assert_nothing_is_left()

    async def test_odd_figures_of_an_encoder_are_not_passed_on(self) -> None:
        run = self.attempt(self.writes_the_result)
        for fps in (float("nan"), float("inf"), -5.0, 1e30):
            run._progressed(_Report(3, fps))  # type: ignore[arg-type]
        assert (run.frames, run.fps) == (3, 0.0)
        run._progressed(_Report(2, 24.0))  # type: ignore[arg-type]
        assert (run.frames, run.fps) == (3, 24.0)
        await run.done


@attrs.define
class _Report:
    frame: int
    fps: float


class Running(LoopbackCase):
    async def test_cancelled_wait_for_a_process_ends_it_and_the_runner_knows(self) -> None:
        runner = Runner(reactor)
        running = runner.run(Command(("/bin/sleep", "600"), "sleep"))
        running.done.addErrback(lambda _: None)
        running.done.cancel()
        assert runner.live == 1
        await running.when_over()
        assert runner.live == 0

    async def test_closing_the_runner_ends_a_process_whose_wait_was_cancelled(self) -> None:
        runner = Runner(reactor)
        stubborn = ("/bin/sh", "-c", "trap '' TERM; sleep 600 & wait; wait")
        running = runner.run(Command(stubborn, "stubborn"))
        running.done.addErrback(lambda _: None)
        running.done.cancel()
        running.terminate(grace_s=0.0)
        await runner.close()
        assert running.is_over
