"""Asking a coordinator's REST API: JSON there and back, problems as errors, streams of events.

Knows paths only as its callers give them; see `docs/protocol.md` and `/api/v1/openapi.json`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from ffcluster import __version__
from ffcluster.errors import (
    Code,
    Conflict,
    ErrorReport,
    FfclusterError,
    Forbidden,
    InvalidOption,
    NotFound,
    ProtocolError,
    Refused,
    Unauthorized,
    Unreachable,
)
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.asking import BROKEN, MemoryBody
from ffcluster.net.patience import bounded
from ffcluster.net.sse import EventParser, ServerEvent
from ffcluster.net.tokens import authorization

PREFIX = "/api/v1"
_MAX_ANSWER_BYTES = 64 * 2**20
_CONNECT_LIMIT_S = 10.0
_ANSWER_LIMIT_S = 60.0
# Heartbeats come every 15 s; a stream that says nothing for longer than three is lost.
_STREAM_SILENCE_S = 45.0
Query = Mapping[str, str | int | float | None]


class _Collector(Protocol):
    """Keeps a whole answer, up to a limit; `done` fires with it."""

    transport: Any

    def __init__(self) -> None:
        self._data = bytearray()
        self.done: Deferred[bytes] = Deferred(lambda _: self._drop())

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > _MAX_ANSWER_BYTES and not self.done.called:
            self.done.errback(ProtocolError(message="The coordinator's answer is too long."))
            self._drop()

    def connectionLost(self, reason: Failure = Failure(ConnectionLost())) -> None:  # noqa: B008
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(bytes(self._data))
        else:
            self.done.errback(reason)

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class _EventReceiver(Protocol):
    """Hands on the events of a stream, some at a time; the sender waits while they are used."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._parser = EventParser()
        self._waiting: list[ServerEvent] = []
        self._wanted: Deferred[None] | None = None
        self._silence: IDelayedCall | None = None
        self._ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._silence is not None:
            self._silence.reset(_STREAM_SILENCE_S)
        try:
            self._waiting += self._parser.feed(data)
        except ProtocolError:
            self.close(Failure())
        if self._waiting:
            self.transport.pauseProducing()
            self._wake()

    def connectionLost(self, reason: Failure = Failure(ConnectionLost())) -> None:  # noqa: B008
        self.close(reason)

    def close(self, reason: Failure) -> None:
        """Take no more of it."""
        if self._ended is None:
            self._ended = reason
            if self.transport is not None:
                self.transport.loseConnection()
        self._wake()

    def _too_silent(self) -> None:
        self._silence = None
        self.close(Failure(ConnectionLost(f"nothing came for {_STREAM_SILENCE_S:g} s")))

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(None)

    async def next(self) -> list[ServerEvent]:
        """The events that came since; waits for some.

        Raises:
            Unreachable: There will be no more.
        """
        while not self._waiting:
            if self._ended is not None:
                raise _gone(self._ended.value)
            await self._some()
        events, self._waiting = self._waiting, []
        return events

    async def _some(self) -> None:
        self.transport.resumeProducing()
        self._silence = self._reactor.callLater(_STREAM_SILENCE_S, self._too_silent)
        self._wanted = Deferred()
        try:
            await self._wanted
        finally:
            if self._silence is not None:
                self._silence.cancel()
                self._silence = None


class ApiClient:
    """Asks one coordinator over persistent connections."""

    def __init__(self, reactor: Any, address: CoordinatorAddress, token: str | None) -> None:
        self._reactor = reactor
        self._address = address
        self._headers = {**authorization(token), "User-Agent": f"ffcluster/{__version__}"}
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 4
        self._agent = Agent(reactor, connectTimeout=_CONNECT_LIMIT_S, pool=self._pool)

    async def get(self, path: str, query: Query | None = None) -> Any:
        """Ask for JSON.

        Raises:
            FfclusterError: What the coordinator answered instead, by its code.
            Unreachable: It did not answer.
        """
        return _parsed(await self._whole("GET", path, query))

    async def get_bytes(self, path: str, query: Query | None = None) -> bytes:
        """Ask for something else than JSON; raises as `get` does."""
        return await self._whole("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any], *, key: str = "") -> Any:
        """Send JSON, and answer what came back; raises as `get` does.

        Args:
            path: Where to.
            body: The JSON.
            key: The `Idempotency-Key`, where the route heeds one.
        """
        return _parsed(await self._whole("POST", path, None, body, key))

    async def delete(self, path: str) -> None:
        """Remove something; raises as `get` does."""
        await self._whole("DELETE", path, None, {})

    async def events(self, query: Query, take: Callable[[ServerEvent], Awaitable[None]]) -> None:
        """Give every event of the coordinator's stream to `take`, for as long as it goes on.

        While `take` waits, no more is read.

        Raises:
            Unreachable: The stream ended, as every stream does some time.
            FfclusterError: What the coordinator answered instead.
        """
        response = await self._request("GET", "/events", query, None, "text/event-stream")
        receiver = _EventReceiver(self._reactor)
        response.deliverBody(receiver)
        try:
            while True:
                for event in await receiver.next():
                    await take(event)
        finally:
            receiver.close(Failure(ConnectionLost()))

    def url(self, path: str) -> str:
        """The whole URL of a path of the coordinator's port."""
        return self._address.http_url(path)

    async def _whole(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None = None,
        key: str = "",
    ) -> bytes:
        response = await self._request(method, path, query, body, "application/json", key)
        return await self._body(response)

    async def _body(self, response: IResponse) -> bytes:
        collector = _Collector()
        response.deliverBody(collector)
        try:
            data: bytes = await bounded(self._reactor, collector.done, _ANSWER_LIMIT_S)
        except BROKEN as error:
            raise _gone(error) from None
        return data

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
        accept: str,
        key: str = "",
    ) -> IResponse:
        headers = {**self._headers, "Accept": accept}
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        producer = None if body is None else MemoryBody(json.dumps(body).encode())
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        url = self._address.http_url(PREFIX + path + (f"?{urlencode(given)}" if given else ""))
        asking = self._agent.request(
            method.encode(), url.encode(), Headers({k: [v] for k, v in headers.items()}), producer
        )
        try:
            response: IResponse = await bounded(self._reactor, asking, _ANSWER_LIMIT_S)
        except BROKEN as error:
            raise _gone(error, self._address) from None
        if response.code < 300:
            return response
        raise problem_error(response.code, await self._body(response), path)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.closeCachedConnections()


def _gone(error: object, address: CoordinatorAddress | None = None) -> Unreachable:
    if address is None:
        return Unreachable(message=f"The connection to the coordinator was lost: {error}")
    return Unreachable(
        message=f"No coordinator answers at {address.authority}: {error}",
        advice="Check the address, that the coordinator runs, and that no firewall is between.",
    )


def _parsed(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise ProtocolError(message=f"The coordinator's answer is no JSON: {error}") from error


def problem_error(status: int, body: bytes, path: str) -> FfclusterError:
    """The error that an answer of this status stands for, by the problem's stable code."""
    try:
        problem = json.loads(body)
        code = Code(problem["code"])
    except (ValueError, KeyError, TypeError):
        return _plain_error(status, path)
    said = problem.get("detail") or problem.get("title") or f"{path}: {status}"
    detail = {"errors": problem["errors"]} if problem.get("errors") else {}
    return ErrorReport(code, str(said), str(problem.get("advice") or ""), detail=detail).to_error()


def _plain_error(status: int, path: str) -> FfclusterError:
    message = f"The coordinator answered {path} with status {status}."
    if status >= 500:
        return Unreachable(message=message)
    kinds: dict[int, type[FfclusterError]] = {
        400: InvalidOption,
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
    }
    return kinds.get(status, Refused)(message=message)
