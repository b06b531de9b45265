"""The control channel over real loopback sockets: who is let in, what ends a connection."""

from __future__ import annotations

import os
from typing import Any

import attrs
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import endpoints, reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.web.server import NOT_DONE_YET

from ffcluster.errors import Forbidden, Unauthorized
from ffcluster.net import codec, messages
from ffcluster.net.access import Caller, Scope, TokenView
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.client import CoordinatorClient
from ffcluster.net.tokens import authorization
from ffcluster.net.websocket import CLOSE_PROTOCOL, CoordinatorSocketFactory, dial
from ffcluster.services.coordinator.gateway import Session
from tests.net.loopback import TOKEN, LoopbackCase, until
from tests.services.desks import FakeDesk

HELLO = codec.encode(messages.Hello(messages.PROTOCOL_VERSIONS, "client"))


class RawClient(WebSocketClientProtocol):
    """A WebSocket client that is bound by no rule of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred()
        self.over: Deferred[int] = Deferred()
        self.heard: list[bytes] = []

    def onOpen(self) -> None:
        self.ready.callback(None)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append(payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        if not self.ready.called:
            self.ready.errback(ConnectionRefusedError(getattr(self, "http_status_line", reason)))
        self.over.callback(code)


class Listener:
    """A peer that only notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def opened(self, connection: Any) -> None:
        self.told.append("opened")

    def received(self, payload: bytes) -> None:
        self.told.append("received")

    def closed(self, reason: str) -> None:
        self.told.append("closed")


class SocketCase(LoopbackCase):
    max_sockets = 10

    async def setUp(self) -> None:
        await super().setUp()
        self.desk = FakeDesk()
        self.sessions: list[Session] = []
        socket = CoordinatorSocketFactory(
            reactor,
            self.book.caller,
            self.make_session,
            self.max_sockets,
        )
        # A peer that is torn away in a test never ends its closing handshake.
        socket.setProtocolOptions(closeHandshakeTimeout=0)
        self.root.putChild(b"ws", socket.as_resource())

    def make_session(self, caller: Caller) -> Session:
        self.sessions.append(Session(self.desk, caller))
        return self.sessions[-1]

    @property
    def address(self) -> CoordinatorAddress:
        return CoordinatorAddress("127.0.0.1", self.port)

    async def raw_socket(
        self,
        *,
        protocols: list[str] | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> RawClient:
        factory = WebSocketClientFactory(
            self.address.websocket_url,
            protocols=[messages.SUBPROTOCOL] if protocols is None else protocols,
            headers={**authorization(self.token), **(headers or {})},
            reactor=reactor,
            **options,
        )
        factory.protocol = RawClient
        where = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        socket: RawClient = await where.connect(factory)
        await socket.ready
        return socket

    async def connect(self, token: str | None = None) -> CoordinatorClient:
        url = self.address.websocket_url
        shown = token or self.token
        client = await CoordinatorClient.connect(reactor, url, token=shown)  # type: ignore[arg-type]
        self.addCleanup(lambda: ensureDeferred(client.close()))
        return client


class Admission(SocketCase):
    token = TOKEN
    loopback_only = False

    async def test_right_token_is_let_in(self) -> None:
        client = await self.connect()
        self.desk.answers[1] = messages.Jobs(1, ())
        assert await client.jobs() == []

    async def test_wrong_token_is_unauthorized_with_advice(self) -> None:
        for token in (None, "wrong"):
            dialling = ensureDeferred(dial(reactor, self.address, Listener(), token=token))  # type: ignore[arg-type]
            error = await self.assertFailure(dialling, Unauthorized)
            assert "--token-file" in error.advice
        assert self.sessions == []

    async def test_session_knows_who_opened_it(self) -> None:
        made, secret = await self.book.add("attic", Scope.VIEWER)
        await self.connect(secret)
        (session,) = self.sessions
        assert session.caller == Caller("attic", Scope.VIEWER, made.id)

    async def test_client_with_the_token_of_a_worker_is_forbidden_to_greet(self) -> None:
        _, secret = await self.book.add("attic", Scope.WORKER)
        error = await self.assertFailure(ensureDeferred(self.connect(secret)), Forbidden)
        assert "this needs viewer" in error.message

    async def test_tokens_are_made_and_revoked_by_a_client(self) -> None:
        client = await self.connect()
        token = TokenView("ab12", "attic", Scope.WORKER, 5.0)
        self.desk.answers[1] = messages.Token(1, token, "ffc_ab12_secret")
        assert await client.add_token("attic", Scope.WORKER) == (token, "ffc_ab12_secret")
        self.desk.answers[2] = messages.Tokens(2, (token,))
        assert await client.tokens() == [token]
        gone = attrs.evolve(token, revoked_at=6.0)
        self.desk.answers[3] = messages.Token(3, gone)
        assert await client.revoke_token("ab12") == gone
        assert self.desk.asked == [
            messages.AddToken(1, "attic", Scope.WORKER),
            messages.ListTokens(2),
            messages.RevokeToken(3, "ab12"),
        ]


class Rules(SocketCase):
    async def test_foreign_origin_is_403_even_on_loopback(self) -> None:
        for origin in ("http://localhost", "https://evil.example", "http://127.0.0.1:1"):
            refused = ensureDeferred(self.raw_socket(origin=origin))
            error = await self.assertFailure(refused, ConnectionRefusedError)
            assert "403" in str(error)
        refused = ensureDeferred(self.raw_socket(headers={"Sec-Fetch-Site": "cross-site"}))
        error = await self.assertFailure(refused, ConnectionRefusedError)
        assert "403" in str(error)
        assert self.sessions == []

    async def test_page_of_our_own_may_open_a_socket(self) -> None:
        socket = await self.raw_socket(origin=f"http://127.0.0.1:{self.port}")
        socket.sendClose(1000)
        await socket.over

    async def test_wrong_subprotocol_is_refused(self) -> None:
        for protocols in ([], ["ffcluster.v99"], ["chat"]):
            refused = ensureDeferred(self.raw_socket(protocols=protocols))
            error = await self.assertFailure(refused, ConnectionRefusedError)
            assert "400" in str(error)
        assert self.sessions == []

    async def test_plain_http_on_the_socket_path_is_not_a_crash(self) -> None:
        answer = await self.raw(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert not answer.startswith(b"HTTP/1.1 5")

    async def test_binary_message_ends_the_connection(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(HELLO, isBinary=True)
        assert await socket.over == CLOSE_PROTOCOL
        await until(lambda: self.desk.closed)

    async def test_oversized_message_ends_the_connection_with_1009(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(b" " * (messages.MAX_MESSAGE_BYTES + 1), isBinary=False)
        assert await socket.over == 1009
        await until(lambda: self.desk.closed)

    async def test_oversized_message_in_many_frames_ends_the_connection_with_1009(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(
            b" " * (messages.MAX_MESSAGE_BYTES + 1), isBinary=False, fragmentSize=2**18
        )
        assert await socket.over == 1009

    async def test_text_that_is_no_utf8_ends_the_connection(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(b"\xff\xfe", isBinary=False)
        assert await socket.over == 1007
        await until(lambda: self.desk.closed)

    async def test_message_that_is_not_understood_is_answered_and_the_session_goes_on(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(HELLO)
        socket.sendMessage(b'{"type": "sing", "request": 9}')
        socket.sendMessage(codec.encode(messages.ListJobs(10)))
        await until(lambda: len(socket.heard) == 3)
        assert b'"type":"error"' in socket.heard[1]
        assert b'"reply_to":9' in socket.heard[1]
        assert b'"reply_to":10' in socket.heard[2]
        socket.sendClose(1000)
        await socket.over

    async def test_ten_bad_messages_end_it(self) -> None:
        socket = await self.raw_socket()
        socket.sendMessage(HELLO)
        for _ in range(10):
            socket.sendMessage(os.urandom(8).hex().encode())
        assert await socket.over == CLOSE_PROTOCOL
        assert len(socket.heard) == 11

    async def test_torn_connection_ends_the_session(self) -> None:
        socket = await self.raw_socket()
        socket.transport.abortConnection()
        await socket.over
        await until(lambda: self.desk.closed == self.sessions)


class FewSockets(SocketCase):
    max_sockets = 1

    async def test_socket_beyond_the_limit_is_refused(self) -> None:
        first = await self.raw_socket()
        await self.assertFailure(ensureDeferred(self.raw_socket()), ConnectionRefusedError)
        first.sendClose(1000)
        await first.over
        await until(lambda: self.desk.closed)


class Dialling(SocketCase):
    async def test_cancelled_dial_leaves_no_connection(self) -> None:
        held: list[Any] = []
        self.root.delEntity(b"ws")
        self.root.putChild(b"ws", _Holding(held))
        listener = Listener()
        dialling = ensureDeferred(dial(reactor, self.address, listener))  # type: ignore[arg-type]
        await until(lambda: held)
        dialling.cancel()
        await self.assertFailure(dialling, CancelledError)
        await until(lambda: not self.guard.protocols)
        assert listener.told == []


class _Holding:
    """A resource that never answers."""

    isLeaf = True

    def __init__(self, held: list[Any]) -> None:
        self.held = held

    def render(self, request: Any) -> Any:
        self.held.append(request)
        return NOT_DONE_YET
