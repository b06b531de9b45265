"""What every route has in common: who may, which methods and types, and how refusals look."""

from __future__ import annotations

import io
import json
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.web.server import Request, Site
from twisted.web.test.requesthelper import DummyChannel

from ffcluster.errors import Conflict, DiskFull
from ffcluster.net.access import Caller, Scope
from ffcluster.web.resource import ApiResource, check_match
from ffcluster.web.routing import PREFIX, TAKEN, Answer, Call, Route, Taken

ADMIN = Caller("", Scope.ADMIN)


@attrs.frozen
class Body:
    size: int


@attrs.frozen
class Item:
    name: str


@attrs.frozen
class Page:
    items: tuple[Item, ...]
    next_cursor: str | None = None


async def echo(call: Call) -> Answer:
    return Answer(Body(call.body.size), headers={"location": "/x"})


async def show(call: Call) -> Answer:
    return Answer(Item(call.path["name"]), etag="abc")


async def change(call: Call) -> Answer:
    check_match(call, "abc")
    return Answer(Item(call.idempotency_key))


async def several(call: Call) -> Answer:
    return Answer(Page((Item("bad \udcff byte"), Item('a"b'))))


async def nothing(call: Call) -> Answer:
    return Answer()


async def refuse(call: Call) -> Answer:
    raise Conflict(message="It is so.", advice="Let it be.")


async def full(call: Call) -> Answer:
    raise DiskFull(message="No room.")


async def fail(call: Call) -> Answer:
    raise RuntimeError("secret-detail")


async def take(call: Call) -> Taken:
    call.request.write(b"taken")
    call.request.finish()
    return TAKEN


def route(method: str, path: str, serve: Any, scope: Scope = Scope.VIEWER, **more: Any) -> Route:
    name = f"{method} {path}"
    return Route(
        method=method, path=path, name=name, summary="", tag="t", scope=scope, serve=serve, **more
    )


ROUTES = (
    route("POST", "/things", echo, Scope.CLIENT, body=Body, status=201),
    route("GET", "/things", several),
    route("GET", "/things/{name}", show),
    route("GET", "/things/fixed", refuse),
    route("PATCH", "/things/{name}", change, matches=True, keyed=True),
    route("POST", "/things/{name}/act", nothing, status=204),
    route("GET", "/full", full),
    route("GET", "/fail", fail),
    route("GET", "/stream", take, media_type="text/event-stream"),
)


class Reply:
    """A request after it was answered."""

    def __init__(self, request: Request, raw: bytes) -> None:
        self.status = request.code
        self.body = raw.partition(b"\r\n\r\n")[2]
        self._headers = request.responseHeaders

    def header(self, name: str) -> str:
        return (self._headers.getRawHeaders(name) or [""])[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    method: str, path: str, data: bytes = b"", *, caller: Caller | None = ADMIN, **headers: str
) -> Reply:
    resource = ApiResource(Clock(), ROUTES)
    channel = DummyChannel()
    channel.site = Site(resource)
    request: Any = Request(channel, False)
    request.caller = caller
    for name, value in headers.items():
        request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
    request.content = io.BytesIO(data)
    request.requestReceived(method.encode(), (PREFIX + path).encode(), b"HTTP/1.1")
    return Reply(request, channel.transport.written.getvalue())


def sent(method: str, path: str, body: Any, **more: Any) -> Reply:
    return ask(method, path, json.dumps(body).encode(), content_type="application/json", **more)


def test_route_is_found_by_its_path_and_a_fixed_name_goes_before_any() -> None:
    assert ask("GET", "/things/blue%20one").json == {"name": "blue one"}
    assert ask("GET", "/things/fixed").status == 409
    assert ask("GET", "/things/caf%C3%A9").json == {"name": "café"}


@pytest.mark.parametrize("path", ["", "/", "/none", "/things/a/b", "/things/%FF", "//things"])
def test_any_other_path_is_not_found(path: str) -> None:
    reply = ask("GET", path)
    assert reply.status == 404
    assert reply.header("content-type") == "application/problem+json"


def test_method_that_is_not_there_is_told_which_are() -> None:
    reply = ask("DELETE", "/things")
    assert reply.status == 405
    assert reply.header("allow") == "GET, HEAD, OPTIONS, POST"
    options = ask("OPTIONS", "/things/x")
    assert (options.status, options.body) == (204, b"")
    assert options.header("allow") == "GET, HEAD, OPTIONS, PATCH"


def test_head_has_the_headers_and_no_body() -> None:
    head, get = ask("HEAD", "/things/x"), ask("GET", "/things/x")
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-length") == get.header("content-length")
    assert head.header("etag") == '"abc"'
    stream = ask("HEAD", "/stream")
    assert (stream.status, stream.header("content-type")) == (200, "text/event-stream")
    assert b"taken" not in stream.body


def test_scope_is_asked_for() -> None:
    viewer = Caller("eye", Scope.VIEWER, "t1")
    refused = sent("POST", "/things", {"size": 1}, caller=viewer)
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert ask("GET", "/things/x", caller=viewer).status == 200
    worker = Caller("attic", Scope.WORKER, "t2")
    assert ask("GET", "/things/x", caller=worker).status == 403
    nobody = ask("GET", "/things/x", caller=None)
    assert (nobody.status, nobody.header("www-authenticate")) == (401, "Bearer")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_only_json_is_taken(kind: str) -> None:
    headers = {"content_type": kind} if kind else {}
    for path in ("/things", "/things/x/act"):
        reply = ask("POST", path, b'{"size": 1}', **headers)
        assert reply.status == 415
    assert ask("POST", "/things/x/act", **headers).status == 415


def test_body_is_read_strictly() -> None:
    made = sent("POST", "/things", {"size": 3})
    assert (made.status, made.json, made.header("location")) == (201, {"size": 3}, "/x")
    for wrong in ({}, {"size": "3"}, {"size": 3, "more": 1}, [], None):
        assert sent("POST", "/things", wrong).status == 400
    for text in (b"", b"{", b"\xff"):
        assert ask("POST", "/things", text, content_type="application/json").status == 400


def test_route_without_a_body_takes_an_empty_one() -> None:
    assert sent("POST", "/things/x/act", {}).status == 204
    assert (
        ask("POST", "/things/x/act", content_type="application/json; charset=utf-8").status == 204
    )
    assert sent("POST", "/things/x/act", {"a": 1}).status == 400


def test_query_is_checked_and_a_ticket_is_nobodys_business() -> None:
    assert ask("GET", "/things/x?ticket=abc").status == 200
    assert ask("GET", "/things/x?more=1").status == 400
    assert ask("GET", "/things/x?%FF=%FF").status == 400
    assert ask("GET", "/things/x?" + "&".join(f"a{n}=1" for n in range(100))).status == 400


@pytest.mark.parametrize(
    ("tag", "status"), [('"abc"', 200), ("*", 200), ('"x", "abc"', 200), ('"x"', 412),
                        ("abc", 412), ('W/"abc"', 412)],
)  # fmt: skip
def test_if_match_is_compared(tag: str, status: int) -> None:
    reply = ask("PATCH", "/things/x", content_type="application/json", if_match=tag)
    assert reply.status == status


def test_idempotency_key_reaches_the_route() -> None:
    reply = ask("PATCH", "/things/x", content_type="application/json", idempotency_key="k")
    assert reply.json == {"name": "k"}


def test_refusal_is_a_problem_with_advice() -> None:
    reply = ask("GET", "/things/fixed")
    assert reply.json == {
        "type": "urn:ffcluster:problem:conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "It is so.",
        "advice": "Let it be.",
        "code": "conflict",
        "errors": [],
    }
    assert ask("GET", "/full").status == 507


def test_what_nobody_foresaw_tells_nothing() -> None:
    reply = ask("GET", "/fail")
    assert reply.status == 500
    assert b"secret-detail" not in reply.body


def test_names_that_are_no_text_are_shown_all_the_same() -> None:
    reply = ask("GET", "/things")
    assert [item["name"] for item in reply.json["items"]] == ["bad ? byte", 'a"b']
    assert reply.json["next_cursor"] is None
    assert reply.header("cache-control") == "no-store"


def test_route_that_answers_by_itself_is_left_alone() -> None:
    assert b"taken" in ask("GET", "/stream").body


def test_two_routes_of_one_place_are_noticed() -> None:
    with pytest.raises(ValueError, match="served twice"):
        ApiResource(Clock(), (ROUTES[0], ROUTES[0]))
