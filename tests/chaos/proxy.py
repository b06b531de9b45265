"""A TCP proxy between one worker and the coordinator, which can be told to fail in many ways.

What passes is told apart into HTTP requests and, after the upgrade, WebSocket messages, so that a
byte of an upload can be flipped or a message be doubled. Without orders everything passes as it is.
"""

from __future__ import annotations

import random
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

_TEXT, _FINAL = 0x1, 0x80


@attrs.define
class Orders:
    """What the proxy does to what passes.

    Attributes:
        stalled_up, stalled_down: Pass nothing on in that direction; nobody is told.
        refusing: End every connection at once.
        flip: Flip one byte in this many uploaded bodies.
        truncate: End the connection in the middle of this many uploaded bodies.
        repeat, swap, replay: Probability with which a message is sent twice, after the one behind
            it, or much later once more.
        chance: Decides; seeded.
    """

    stalled_up: bool = False
    stalled_down: bool = False
    refusing: bool = False
    flip: int = 0
    truncate: int = 0
    repeat: float = 0.0
    swap: float = 0.0
    replay: float = 0.0
    chance: random.Random = attrs.field(factory=random.Random)


@attrs.define
class Passed:
    """What was done so far."""

    flipped: int = 0
    truncated: int = 0
    repeated: int = 0
    swapped: int = 0
    replayed: int = 0


class Truncate(Exception):
    """The connection must end here."""


class Http:
    """One direction of a connection: HTTP messages, until the upgrade to WebSocket.

    Only requests are looked into; an answer that is no upgrade makes the rest pass unseen.
    """

    def __init__(self, orders: Orders, passed: Passed, *, requests: bool) -> None:
        self._orders = orders
        self._passed = passed
        self._requests = requests
        self._head = bytearray()
        self._body_left = 0
        self._spoils_at = -1
        self._truncates = False
        self._unseen = False
        self.upgraded = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take in bytes; give those to pass on, and those behind an upgrade."""
        out = bytearray()
        while data and not self.upgraded:
            if self._unseen:
                return bytes(out) + data, b""
            data = self._body(data, out) if self._body_left else self._headers(data, out)
        return bytes(out), data

    def _headers(self, data: bytes, out: bytearray) -> bytes:
        start = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        end += 4
        head, rest = bytes(self._head[:end]), data[end - start :]
        self._head.clear()
        out += head
        lines = head.lower().split(b"\r\n")
        self.upgraded = any(line.startswith(b"upgrade:") for line in lines[1:])
        self._unseen = not self._requests
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        self._body_left = int(lengths[0].split(b":")[1]) if lengths else 0
        if lines[0].startswith(b"put ") and self._body_left > 8:
            self._spoil()
        return rest

    def _spoil(self) -> None:
        orders = self._orders
        self._spoils_at, self._truncates = -1, False
        if orders.flip or orders.truncate:
            self._spoils_at = orders.chance.randrange(self._body_left)
            self._truncates = not orders.flip
            if self._truncates:
                orders.truncate -= 1
            else:
                orders.flip -= 1

    def _body(self, data: bytes, out: bytearray) -> bytes:
        here, rest = data[: self._body_left], data[self._body_left :]
        self._body_left -= len(here)
        if 0 <= self._spoils_at < len(here):
            at, self._spoils_at = self._spoils_at, -1
            if self._truncates:
                self._passed.truncated += 1
                raise Truncate(bytes(out) + here[:at])
            self._passed.flipped += 1
            here = here[:at] + bytes([here[at] ^ 0x10]) + here[at + 1 :]
        elif self._spoils_at >= 0:
            self._spoils_at -= len(here)
        out += here
        return rest


class Messages:
    """One direction of a WebSocket: whole frames (RFC 6455, 5.2), doubled, swapped, replayed.

    The first message of a direction is the greeting and passes as it is. A masked frame carries
    its mask with it, so it may be sent again.
    """

    def __init__(self, orders: Orders, passed: Passed) -> None:
        self._orders = orders
        self._passed = passed
        self._waiting = bytearray()
        self._greeted = False
        self._held: bytes | None = None
        self._old: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        out = bytearray()
        while (size := _frame_size(self._waiting)) is not None:
            frame = bytes(self._waiting[:size])
            del self._waiting[:size]
            out += self._pass(frame)
        return bytes(out)

    def _pass(self, frame: bytes) -> bytes:
        orders, passed = self._orders, self._passed
        held, self._held = self._held, None
        after = held or b""
        if frame[0] != _FINAL | _TEXT:
            return after + frame
        if not self._greeted:
            self._greeted = True
            return frame
        self._old = [*self._old[-31:], frame]
        draw = orders.chance.random
        if held is None and draw() < orders.swap:
            passed.swapped += 1
            self._held = frame
            return b""
        out = frame + after
        if draw() < orders.repeat:
            passed.repeated += 1
            out += frame
        if draw() < orders.replay:
            passed.replayed += 1
            out += orders.chance.choice(self._old)
        return out


def _frame_size(data: bytearray) -> int | None:
    """Bytes of the frame that `data` begins with, or None while it is not whole."""
    if len(data) < 2:
        return None
    size, length = 2, data[1] & 0x7F
    if length >= 126:
        extra = 2 if length == 126 else 8
        if len(data) < 2 + extra:
            return None
        size, length = 2 + extra, int.from_bytes(data[2 : 2 + extra], "big")
    size += length + (4 if data[1] & 0x80 else 0)
    return size if len(data) >= size else None


class _End(Protocol):
    """One end of a proxied connection."""

    transport: Any

    def __init__(self, proxy: Proxy, *, up: bool) -> None:
        self.proxy = proxy
        self.up = up
        self.other: _End | None = None
        self._http = Http(proxy.orders, proxy.passed, requests=up)
        self._messages = Messages(proxy.orders, proxy.passed)
        self._kept = bytearray()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if self.up:
            self.proxy.joined(self)

    @property
    def _stalled(self) -> bool:
        orders = self.proxy.orders
        return orders.stalled_up if self.up else orders.stalled_down

    def dataReceived(self, data: bytes) -> None:
        self._kept += data
        self.flush()

    def flush(self) -> None:
        """Pass on what may pass."""
        if self._stalled or self.other is None or not self._kept:
            return
        data = bytes(self._kept)
        self._kept.clear()
        try:
            head = b""
            if not self._http.upgraded:
                head, data = self._http.feed(data)
            data = head + self._messages.feed(data)
        except Truncate as end:
            self.other.transport.write(end.args[0])
            self.other.transport.loseConnection()
            self.transport.abortConnection()
            return
        if data:
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.proxy.left(self)
        if self._stalled:
            # In a partition the other side is not told either.
            self.proxy.orphans.append(self.other)
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class Proxy:
    """One listening port whose connections all lead to `target`."""

    def __init__(self, reactor: Any, target: int) -> None:
        self._reactor = reactor
        self._target = target
        self._ends: set[_End] = set()
        self._listening: Any = None
        self.orphans: list[_End | None] = []
        self.orders = Orders()
        self.passed = Passed()

    @classmethod
    async def start(cls, reactor: Any, target: int) -> Proxy:
        proxy = cls(reactor, target)
        factory: Any = Factory.forProtocol(lambda: _End(proxy, up=True))
        factory.noisy = False
        proxy._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        return proxy

    @property
    def port(self) -> int:
        return int(self._listening.getHost().port)

    def joined(self, end: _End) -> None:
        """A worker connected: connect on."""
        self._ends.add(end)
        if self.orders.refusing:
            end.transport.abortConnection()
            return
        other = _End(self, up=False)
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._target)
        factory: Any = Factory.forProtocol(lambda: other)
        factory.noisy = False

        def connected(_: object) -> None:
            self._ends.add(other)
            end.other, other.other = other, end
            end.flush()
            other.flush()

        endpoint.connect(factory).addCallbacks(connected, lambda _: end.transport.abortConnection())

    def left(self, end: _End) -> None:
        self._ends.discard(end)

    def cut(self) -> None:
        """Tear every connection."""
        for end in list(self._ends):
            end.transport.abortConnection()

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing pass, without telling anybody."""
        self.orders.stalled_up, self.orders.stalled_down = up, down

    def heal(self) -> None:
        """Pass everything as it is from now on, and what had to wait."""
        self.orders.stalled_up = self.orders.stalled_down = self.orders.refusing = False
        self.orders.flip = self.orders.truncate = 0
        self.orders.repeat = self.orders.swap = self.orders.replay = 0.0
        for end in list(self._ends):
            end.flush()
        orphans, self.orphans = self.orphans, []
        for orphan in orphans:
            if orphan is not None and orphan in self._ends:
                orphan.transport.loseConnection()

    async def close(self) -> None:
        self.cut()
        await maybeDeferred(self._listening.stopListening)


__all__ = ["Http", "Messages", "Orders", "Passed", "Proxy"]
