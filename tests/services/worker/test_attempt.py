"""One attempt on a worker: whatever it ends in, its slot, its processes and its files are gone."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from ffcluster.core.model import Capability, Diagnosis, SegmentProof, Trouble
from ffcluster.core.profile import Codec, Profile
from ffcluster.encoders.backend import EncodeArguments, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.errors import Code, EncodeFailed, EncodeStalled, ErrorReport
from ffcluster.media.command import Command
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.services.worker import attempt as attempt_module
from ffcluster.services.worker import encoding as encoding_module
from ffcluster.services.worker.attempt import AttemptRun
from tests.net.loopback import BLOCK, LoopbackCase, payload, until
from tests.services.benches import offer

PIECE = payload(5 * BLOCK, b"piece")
RESULT = payload(3 * BLOCK, b"result")
PROOF = SegmentProof(10, 10)
X264 = Capability("libx264", Codec.H264)
NVENC = Capability("h264_nvenc", Codec.H264, "nvenc", "cuda:0", hardware_decode=True)
FAILED = EncodeFailed(
    message="exit code 1", detail={"returncode": 1, "signal": None, "stderr": "it says why"}
)


@attrs.define
class Bench:
    """Stands for the worker; one slot at once, or none."""

    runner: Any
    registry: Any = attrs.field(factory=lambda: Plugins())
    clock: Any = reactor
    keeps: bool = False
    block_bytes: int = BLOCK
    has_slot: bool = True
    sent: list[Any] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)
    released: int = 0

    def build_for(self, capability: Capability) -> FfmpegBuild:
        return FfmpegBuild("/usr/bin/ffmpeg", "9.0.2", 9)

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


@attrs.define
class Plugins:
    """A registry with one backend, which knows what it is told to know."""

    diagnosis: Diagnosis | None = None
    notes: tuple[str, ...] = ()
    error: Exception | None = None
    asked: list[dict[str, Any]] = attrs.field(factory=list)
    outcomes: list[ProbeOutcome] = attrs.field(factory=list)
    name: str = "fake"

    def backend(self, name: str) -> Plugins:
        return self

    def fitted(self, capability: Capability, profile: Profile) -> Profile:
        return attrs.evolve(profile, encoder=capability.encoder)

    def arguments(self, *_: object, **how: Any) -> EncodeArguments:
        self.asked.append(how)
        if self.error is not None:
            raise self.error
        decodes = ("-hwaccel", "cuda") if how["hardware_decode"] else ()
        return EncodeArguments(input_args=decodes, notes=self.notes)

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        self.outcomes.append(outcome)
        return self.diagnosis


class Attempts(LoopbackCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.runner = Runner(reactor)
        self.addCleanup(self.runner.close)
        self.bench = Bench(self.runner)
        self.work = self.folder / "attempts"
        self.work.mkdir()
        self.patch(attempt_module, "_PUT_PAUSE_S", 0.01)
        self.offer(PIECE, "a")
        self.incoming = self.await_file("a")

    def attempt(self, encode: Any, capability: Capability = X264, **order: Any) -> AttemptRun:
        self.patch(encoding_module, "encode_piece", encode)
        made = offer(7, capability.encoder, capability.device)
        made = attrs.evolve(made, order=attrs.evolve(made.order, **order))
        piece = attrs.evolve(
            made.piece, size_bytes=len(PIECE), sha256=hashlib.sha256(PIECE).hexdigest()
        )
        run = AttemptRun(
            self.bench,
            self.client,
            attrs.evolve(made, piece=piece),
            capability,
            self.work,
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
            messages.Result(7, len(RESULT), sha256, attrs.evolve(PROOF, encoder="libx264")),
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

    def fails(self, *_: object) -> Deferred[Any]:
        raise FAILED

    def fails_to_decode(self, *arguments: Any) -> Deferred[Any]:
        if arguments[2].input_args:
            raise FAILED
        return self.writes_the_result(*arguments)

    async def failure(self, run: AttemptRun) -> ErrorReport:
        await run.done
        self.assert_nothing_is_left()
        error: ErrorReport = self.bench.last.error
        return error

    async def proof(self, run: AttemptRun) -> SegmentProof:
        await run.done
        proof: SegmentProof = self.bench.last.proof
        return proof

    async def test_failure_that_the_backend_knows_has_its_cause_and_hint(self) -> None:
        self.bench.registry.diagnosis = Diagnosis(
            "nvenc", "cuda:0", "the driver is too old", "update it", trouble=Trouble.BROKEN
        )
        error = await self.failure(self.attempt(self.fails, NVENC))
        assert error.code is Code.ENCODE_FAILED
        assert "the driver is too old" in error.message
        assert error.advice == "update it"
        assert error.detail["stderr"] == "it says why"
        assert self.bench.registry.outcomes == [ProbeOutcome(1, stderr="it says why")]

    async def test_busy_device_is_nobodys_failure(self) -> None:
        self.bench.registry.diagnosis = Diagnosis(
            "nvenc", "cuda:0", "no session is left", trouble=Trouble.BUSY
        )
        error = await self.failure(self.attempt(self.fails, NVENC))
        assert error.code is Code.ENCODER_BUSY

    async def test_death_by_a_signal_is_told_to_the_backend_as_such(self) -> None:
        def dies(*_: object) -> Deferred[Any]:
            raise attrs.evolve(FAILED, detail={"returncode": None, "signal": 6, "stderr": ""})

        await self.failure(self.attempt(dies, NVENC))
        assert self.bench.registry.outcomes == [ProbeOutcome(-6)]

    async def test_stall_is_told_to_the_backend_as_a_time_out(self) -> None:
        def stalls(*_: object) -> Deferred[Any]:
            raise EncodeStalled(message="no frame", detail=FAILED.detail)

        error = await self.failure(self.attempt(stalls, NVENC))
        assert error.code is Code.ENCODE_STALLED
        assert self.bench.registry.outcomes[0].timed_out

    async def test_backend_that_breaks_is_named(self) -> None:
        self.bench.registry.error = KeyError("oops")
        error = await self.failure(self.attempt(self.writes_the_result))
        assert error.code is Code.PLUGIN
        assert "fake" in error.message
        self.flushLoggedErrors()

    async def test_device_decodes_where_it_was_asked_to_and_can(self) -> None:
        proof = await self.proof(self.attempt(self.writes_the_result, NVENC, hardware_decode=True))
        assert (proof.encoder, proof.device, proof.hardware_decode) == (
            "h264_nvenc", "cuda:0", True,
        )  # fmt: skip
        assert proof.notes == ()

    async def test_cpu_decodes_in_the_same_attempt_when_the_device_fails(self) -> None:
        proof = await self.proof(self.attempt(self.fails_to_decode, NVENC, hardware_decode=True))
        assert not proof.hardware_decode
        assert proof.notes == ("decoding on cuda:0 failed, so the CPU decoded",)
        assert [how["hardware_decode"] for how in self.bench.registry.asked] == [True, False]

    async def test_device_that_is_busy_is_not_tried_with_the_cpu_decoding(self) -> None:
        self.bench.registry.diagnosis = Diagnosis("nvenc", "cuda:0", "full", trouble=Trouble.BUSY)
        run = self.attempt(self.fails_to_decode, NVENC, hardware_decode=True)
        assert (await self.failure(run)).code is Code.ENCODER_BUSY
        assert len(self.bench.registry.asked) == 1

    async def test_device_that_cannot_decode_says_so(self) -> None:
        capability = attrs.evolve(NVENC, hardware_decode=False)
        proof = await self.proof(
            self.attempt(self.writes_the_result, capability, hardware_decode=True)
        )
        assert proof.notes == ("cuda:0 does not decode here",)

    async def test_lossless_comparison_is_made_with_what_the_cpu_decodes(self) -> None:
        run = self.attempt(self.writes_the_result, NVENC, hardware_decode=True, picture_check=True)
        assert not (await self.proof(run)).hardware_decode

    async def test_what_the_encoder_left_out_is_in_the_proof(self) -> None:
        self.bench.registry.notes = ("no HDR10 metadata",)
        proof = await self.proof(self.attempt(self.writes_the_result, NVENC))
        assert proof.notes == ("no HDR10 metadata",)

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
