"""Asking the REST API: JSON, problems as errors, streams that are read no faster than used."""

from __future__ import annotations

import pytest
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.server import Request

from ffcluster.errors import (
    Code,
    Conflict,
    EventsGone,
    Forbidden,
    IdempotencyConflict,
    InvalidOption,
    NotFound,
    ProtocolError,
    Refused,
    TooMany,
    Unauthorized,
    Unreachable,
)
from ffcluster.net import api_client
from ffcluster.net.address import CoordinatorAddress
from ffcluster.net.api_client import ApiClient, problem_error
from ffcluster.net.sse import ServerEvent
from tests.net.apisite import ApiCase, in_json, problem, streamed, written
from tests.net.loopback import until


class Asking(ApiCase):
    def ask(self, address: CoordinatorAddress | None = None, token: str = "secret") -> ApiClient:
        client = ApiClient(reactor, address or self.address, token)
        self.addCleanup(lambda: defer.ensureDeferred(client.close()))
        return client

    async def test_json_goes_there_and_comes_back(self) -> None:
        heard: list[Request] = []

        def take(request: Request) -> bytes:
            heard.append(request)
            assert request.content.read() == b'{"name": "x"}'
            return in_json({"made": 1})(request)

        self.site.answers = {"POST /things": take, "GET /things": in_json([1, 2])}
        client = self.ask()
        assert await client.post("/things", {"name": "x"}) == {"made": 1}
        assert heard[0].getHeader("authorization") == "Bearer secret"
        assert heard[0].getHeader("content-type") == "application/json"
        assert await client.get("/things", {"limit": 2, "cursor": None, "q": "a&b"}) == [1, 2]
        assert self.site.asked[-1] == ("GET /things", {"limit": "2", "q": "a&b"})

    async def test_problem_comes_back_as_its_own_class(self) -> None:
        self.site.answers = {
            "DELETE /job": lambda r: problem(r, 409, "conflict", "It runs.", advice="Cancel it.")
        }
        client = self.ask()
        error = await self.assertFailure(ensureDeferred(client.delete("/job")), Conflict)
        assert (error.message, error.advice) == ("It runs.", "Cancel it.")
        await self.assertFailure(ensureDeferred(client.get("/none")), NotFound)

    async def test_nobody_there_is_unreachable(self) -> None:
        client = self.ask(CoordinatorAddress("127.0.0.1", 1))
        await self.assertFailure(ensureDeferred(client.get("/status")), Unreachable)

    async def test_answer_that_is_no_json_or_endless_is_refused(self) -> None:
        self.site.answers = {"GET /a": lambda r: b"<html>", "GET /b": lambda r: b"x" * 200_000}
        self.patch(api_client, "_MAX_ANSWER_BYTES", 100_000)
        client = self.ask()
        await self.assertFailure(ensureDeferred(client.get("/a")), ProtocolError)
        await self.assertFailure(ensureDeferred(client.get_bytes("/b")), ProtocolError)

    async def test_stream_waits_while_its_events_are_used(self) -> None:
        self.site.answers = {"GET /events": streamed(*(written(n) for n in range(1, 4)))}
        seen: list[str] = []
        go: Deferred[None] = Deferred()

        async def take(event: ServerEvent) -> None:
            seen.append(event.id)
            if event.id == "1":
                await go

        following = ensureDeferred(self.ask().events({}, take))
        await until(lambda: seen)
        assert seen == ["1"]
        go.callback(None)
        await until(lambda: len(seen) == 3)
        following.cancel()
        await self.assertFailure(following, defer.CancelledError)

    async def test_stream_that_ends_or_falls_silent_is_unreachable(self) -> None:
        async def take(_: ServerEvent) -> None:
            return

        self.site.answers = {"GET /events": streamed(written(1), ends=True)}
        await self.assertFailure(ensureDeferred(self.ask().events({}, take)), Unreachable)
        self.patch(api_client, "_STREAM_SILENCE_S", 0.05)
        self.site.answers = {"GET /events": streamed(written(1))}
        error = await self.assertFailure(ensureDeferred(self.ask().events({}, take)), Unreachable)
        assert "nothing came" in error.message


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, Code.INVALID_OPTION, InvalidOption),
        (401, Code.UNAUTHORIZED, Unauthorized),
        (403, Code.FORBIDDEN, Forbidden),
        (409, Code.EVENTS_GONE, EventsGone),
        (422, Code.IDEMPOTENCY_CONFLICT, IdempotencyConflict),
        (429, Code.TOO_MANY, TooMany),
    ],
)
def test_error_is_chosen_by_code(status: int, code: Code, kind: type[Exception]) -> None:
    body = f'{{"code": "{code.value}", "title": "No.", "errors": [{{"pointer": "/x"}}]}}'
    error = problem_error(status, body.encode(), "/x")
    assert type(error) is kind
    assert (error.message, error.detail) == ("No.", {"errors": [{"pointer": "/x"}]})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (404, NotFound), (409, Conflict), (418, Refused), (502, Unreachable)],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code": "unheard_of"}', b"\xff"])
def test_answer_without_a_problem_is_an_error_by_its_status(
    status: int, kind: type[Exception], body: bytes
) -> None:
    assert type(problem_error(status, body, "/x")) is kind
