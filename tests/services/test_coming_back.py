"""Attempts that outlive a session: whenever it is cut off, nothing is lost, doubled or forgotten.

Pieces and results go over a real loopback port, processes are real; the control connection is one
that can be cut between any two messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ffcluster.core.model import SegmentProof
from ffcluster.errors import Code, DiskFull, EncodeFailed
from ffcluster.media.command import Command
from ffcluster.media.runner import Runner
from ffcluster.net import messages
from ffcluster.services.worker import attempt as attempt_module
from ffcluster.services.worker import encoding as encoding_module
from ffcluster.services.worker.session import WorkerSession
from ffcluster.services.worker.workbench import Workbench
from tests.net.loopback import BLOCK, LoopbackCase, payload, until
from tests.services.benches import CAPABILITIES, offer
from tests.services.desks import FakeConnection, say
from tests.services.worker.test_attempt import Plugins

PIECE = payload(2 * BLOCK, b"piece")
RESULT = payload(3 * BLOCK, b"result")
SHA256 = hashlib.sha256(RESULT).hexdigest()
PATHS = {"a": "/v1/results/a", "b": "/v1/results/b", "c": "/v1/results/c"}


class NeverAnswers(Resource):
    """Takes requests and says nothing."""

    isLeaf = True
    asked = 0

    def render_GET(self, request: object) -> int:
        self.asked += 1
        return NOT_DONE_YET


@attrs.define
class Workshop:
    runner: Any
    registry: Any = attrs.field(factory=Plugins)

    def build_for(self, capability: object) -> Any:
        return None


@attrs.define(eq=False)
class Encoder:
    """Stands for ffmpeg: a real process that lasts until a test lets it end."""

    runner: Runner
    encodes: int = 0
    ends: list[Callable[[], None]] = attrs.field(factory=list)
    error: Exception | None = None

    def __call__(self, *arguments: Any) -> Deferred[SegmentProof]:
        return ensureDeferred(self._encode(arguments[5]))

    async def _encode(self, result: Path) -> SegmentProof:
        await deferToThread(result.write_bytes, RESULT)
        running = self.runner.run(Command(("/bin/sleep", "600"), "sleep"))
        self.ends.append(running.terminate)
        # What counts can be ended.
        self.encodes += 1
        try:
            await running.done
        finally:
            await running.when_over()
        if self.error is not None:
            raise self.error
        return SegmentProof(10, 10)

    def end(self) -> None:
        """Let it finish."""
        for end in self.ends:
            end()


class ComingBack(LoopbackCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.patch(attempt_module, "_PUT_PAUSE_S", 0.01)
        self.runner = Runner(reactor)
        self.addCleanup(self.runner.close)
        self.encoder = Encoder(self.runner)
        self.patch(encoding_module, "encode_piece", self.encoder)
        self.work = self.folder / "attempts"
        self.work.mkdir()
        self.offer(PIECE, "a")
        self.incoming = self.await_file("a")
        self.shelf.writables |= {"b": self.incoming, "c": self.incoming}
        self.never = NeverAnswers()
        self.root.children[b"v1"].putChild(b"never", self.never)
        self.bench = Workbench(
            Workshop(self.runner), reactor, self.client, self.work, CAPABILITIES[:1]
        )
        self.addCleanup(lambda: ensureDeferred(self.bench.stop()))
        self.connect()

    # --- the coordinator's side ----------------------------------------------------------------

    def connect(self, protocol: int = 2) -> tuple[messages.Held, ...]:
        """Open a session; what the worker says that it holds."""
        self.session = WorkerSession(self.bench, reactor)
        self.connection = FakeConnection()
        self.session.opened(self.connection)  # type: ignore[arg-type]
        self.session.greet(
            messages.Hello(messages.PROTOCOL_VERSIONS, "worker", held=self.bench.held())
        )
        self.addCleanup(self.session.closed, "the test is over")
        hello = self.connection.sent[0]
        say(self.session, messages.Welcome(protocol, "1", 5.0, BLOCK))
        held: tuple[messages.Held, ...] = hello.held
        return held

    def cut(self) -> None:
        """The session ends as when a cable is pulled."""
        self.session.closed("the connection was lost")

    def offers(self, epoch: int = 7, piece: str = "/v1/pieces/a") -> None:
        made = offer(epoch)
        ref = messages.Piece(piece, len(PIECE), hashlib.sha256(PIECE).hexdigest())
        say(self.session, attrs.evolve(made, piece=ref))

    def resumes(self, name: str, epoch: int = 7) -> None:
        say(self.session, messages.Resume(epoch, PATHS[name]))

    def revokes(self, epoch: int = 7) -> None:
        say(self.session, messages.Revoke(epoch))

    def said(self, kind: type) -> list[Any]:
        return [message for message in self.connection.sent if isinstance(message, kind)]

    async def until_said(self, kind: type) -> Any:
        await until(lambda: self.said(kind))
        return self.said(kind)[-1]

    async def until_encoding(self) -> None:
        await until(lambda: self.runner.live)

    async def until_encoded(self) -> None:
        self.encoder.end()
        await until(lambda: [held for held in self.bench.held() if held.encoded])

    async def assert_nothing_is_left(self) -> None:
        await until(lambda: self.bench.is_empty)
        assert list(self.work.iterdir()) == []
        assert self.runner.live == 0

    async def assert_result_arrives(self) -> None:
        result = await self.until_said(messages.Result)
        assert (result.epoch, result.size_bytes, result.sha256) == (7, len(RESULT), SHA256)
        assert self.incoming.sha256 == SHA256
        assert self.encoder.encodes == 1
        self.revokes()
        await self.assert_nothing_is_left()

    # --- cut off at every stage ----------------------------------------------------------------

    async def test_cut_while_fetching_drops_the_attempt_and_names_nothing(self) -> None:
        self.offers(piece="/v1/never/x")
        await until(lambda: self.never.asked)
        self.cut()
        assert self.connect() == ()
        await self.assert_nothing_is_left()

    async def test_cut_while_waiting_for_a_slot_waits_on_and_encodes_when_there_is_one(
        self,
    ) -> None:
        for epoch in (1, 2):
            self.offers(epoch)
        await until(lambda: self.runner.live == 2)
        self.offers(7)
        await until(lambda: len(self.bench.held()) == 3)
        self.cut()
        assert self.connect() == tuple(messages.Held(n, "job1") for n in (1, 2, 7))
        self.revokes(1)
        self.revokes(2)
        await until(lambda: self.encoder.encodes == 3)
        assert self.said(messages.Started) == []
        self.resumes("b")
        assert self.said(messages.Started) == [messages.Started(7)]
        self.encoder.end()
        assert (await self.until_said(messages.Result)).epoch == 7

    async def test_cut_while_encoding_encodes_on(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        assert self.connect() == (messages.Held(7, "job1"),)
        assert self.runner.live == 1
        self.resumes("b")
        assert self.said(messages.Started) == [messages.Started(7)]
        self.encoder.end()
        await self.assert_result_arrives()

    async def test_encoded_while_the_coordinator_was_away_is_put_when_it_is_back(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        await self.until_encoded()
        assert self.connect() == (messages.Held(7, "job1", encoded=True),)
        assert self.incoming.offset == 0
        self.resumes("b")
        await self.assert_result_arrives()

    async def test_cut_while_putting_goes_on_at_the_byte_that_the_coordinator_has(self) -> None:
        starts = self.note_blocks(only_first_by="a")
        self.offers()
        await self.until_encoding()
        await self.until_encoded()
        await until(lambda: self.incoming.offset)
        self.cut()
        assert self.connect() == (messages.Held(7, "job1", encoded=True),)
        self.resumes("b")
        await self.assert_result_arrives()
        assert starts == [0, BLOCK, 2 * BLOCK]

    def note_blocks(self, only_first_by: str = "") -> list[int]:
        """Where each block that arrives begins; a path may be gone after the first one."""
        starts: list[int] = []
        take = self.incoming.take

        def noting(start: int, data: bytes, sha256: str | None) -> None:
            starts.append(start)
            take(start, data, sha256)
            self.shelf.writables.pop(only_first_by, None)

        self.incoming.take = noting  # type: ignore[method-assign]
        self.patch(attempt_module, "_PUT_FAILURES", 10**6)
        return starts

    async def test_result_that_may_have_been_lost_is_said_again_without_being_put_again(
        self,
    ) -> None:
        starts = self.note_blocks()
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        for name in ("b", "c"):
            first = await self.until_said(messages.Result)
            self.cut()
            assert self.connect() == (messages.Held(7, "job1", encoded=True),)
            self.resumes(name)
        assert await self.until_said(messages.Result) == first
        await self.assert_result_arrives()
        assert starts == [0, BLOCK, 2 * BLOCK]

    async def test_failure_while_the_coordinator_was_away_is_told_when_it_is_back(self) -> None:
        self.encoder.error = EncodeFailed(message="it broke")
        self.offers()
        await self.until_encoding()
        self.cut()
        self.encoder.end()
        await until(lambda: not self.runner.live)
        assert self.connect() == (messages.Held(7, "job1"),)
        self.resumes("b")
        assert (await self.until_said(messages.Failed)).error.code is Code.ENCODE_FAILED
        self.cut()
        self.connect()
        self.resumes("c")
        assert (await self.until_said(messages.Failed)).error.code is Code.ENCODE_FAILED
        self.revokes()
        await self.assert_nothing_is_left()

    async def test_session_that_breaks_before_the_answer_changes_nothing(self) -> None:
        self.offers()
        await self.until_encoding()
        for _ in range(3):
            self.cut()
            assert self.connect() == (messages.Held(7, "job1"),)
        self.resumes("b")
        self.encoder.end()
        await self.assert_result_arrives()

    # --- what counts no more -------------------------------------------------------------------

    async def test_superseded_while_encoding_ends_the_process_and_removes_the_files(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        self.connect()
        self.revokes()
        await self.assert_nothing_is_left()
        assert self.said(messages.Result) == self.said(messages.Failed) == []

    async def test_superseded_result_is_removed_and_never_put(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        await self.until_encoded()
        self.connect()
        self.revokes()
        await self.assert_nothing_is_left()
        assert self.incoming.offset == 0

    async def test_superseded_while_putting_leaves_nothing(self) -> None:
        self.note_blocks(only_first_by="a")
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        await until(lambda: self.incoming.offset)
        self.revokes()
        await self.assert_nothing_is_left()

    async def test_coordinator_of_version_1_takes_nothing_back(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        assert self.connect(protocol=1) != ()
        await self.assert_nothing_is_left()
        self.offers(8)
        await self.until_encoding()
        self.cut()
        await self.assert_nothing_is_left()

    async def test_result_for_version_1_is_forgotten_when_it_was_said(self) -> None:
        self.cut()
        self.connect(protocol=1)
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        await self.until_said(messages.Result)
        await self.assert_nothing_is_left()

    async def test_result_is_forgotten_after_a_while_in_an_unbroken_session(self) -> None:
        self.patch(attempt_module, "_KEPT_S", 0.05)
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        await self.until_said(messages.Result)
        await self.assert_nothing_is_left()
        assert len(self.said(messages.Result)) == 1

    # --- repeated and reordered messages -------------------------------------------------------

    async def test_repeated_messages_make_one_encode_and_one_result(self) -> None:
        self.offers()
        self.offers()
        await self.until_encoding()
        self.cut()
        self.connect()
        self.resumes("b")
        self.resumes("b")
        self.offers()
        self.encoder.end()
        await self.until_said(messages.Result)
        self.resumes("b")
        self.offers()
        await self.assert_result_arrives()
        assert len(self.said(messages.Result)) == 1
        self.revokes()

    async def test_later_path_replaces_an_earlier_one(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        self.connect()
        del self.shelf.writables["b"]
        self.resumes("b")
        self.resumes("c")
        self.encoder.end()
        await self.assert_result_arrives()

    async def test_resumption_after_a_revocation_is_given_back(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        self.connect()
        self.revokes()
        self.resumes("b")
        assert self.said(messages.Returned) == [messages.Returned(7)]
        await self.assert_nothing_is_left()

    async def test_revocation_after_a_resumption_ends_it(self) -> None:
        self.offers()
        await self.until_encoding()
        self.cut()
        self.connect()
        self.resumes("b")
        self.revokes()
        await self.assert_nothing_is_left()
        assert self.said(messages.Returned) == []

    # --- a coordinator in trouble --------------------------------------------------------------

    async def test_result_is_kept_until_a_full_coordinator_has_room(self) -> None:
        refusals = [DiskFull(message="no room")] * (attempt_module._PUT_FAILURES + 3)
        take = self.incoming.take

        def full(start: int, data: bytes, sha256: str | None) -> None:
            if refusals:
                raise refusals.pop()
            take(start, data, sha256)

        self.incoming.take = full  # type: ignore[method-assign]
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        await self.assert_result_arrives()
        assert refusals == []

    async def test_result_that_nobody_takes_in_an_open_session_fails_after_some_tries(
        self,
    ) -> None:
        self.shelf.writables.clear()
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        assert (await self.until_said(messages.Failed)).error.code is Code.NOT_FOUND

    # --- draining ------------------------------------------------------------------------------

    async def test_drain_delivers_what_ends_while_the_coordinator_is_away(self) -> None:
        self.offers()
        await self.until_encoding()
        draining = ensureDeferred(self.bench.drain(600.0))
        self.cut()
        await self.until_encoded()
        assert not draining.called
        self.connect()
        assert self.said(messages.Draining) == [messages.Draining()]
        self.resumes("b")
        await self.assert_result_arrives()
        await draining

    async def test_result_that_was_said_is_not_given_back_by_a_drain(self) -> None:
        self.offers()
        await self.until_encoding()
        self.encoder.end()
        await self.until_said(messages.Result)
        await ensureDeferred(self.bench.drain(0.0))
        assert self.said(messages.Returned) == []
        await self.assert_nothing_is_left()
