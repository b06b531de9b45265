"""Serves the routes: who may, what comes in, what goes out, and every refusal as a problem.

Knows nothing of jobs. Long lists are encoded in short slices, so that nobody else has to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

import attrs
import orjson
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from ffcluster.converting import in_words, to_jsonable
from ffcluster.errors import FfclusterError, NotFound, Stale, Unauthorized
from ffcluster.net.access import Caller
from ffcluster.net.door import PROBLEM_TYPE
from ffcluster.web.bodies import Empty
from ffcluster.web.problems import BadRequest, Fault, HttpRefusal, problem_of
from ffcluster.web.reading import read_body, read_query
from ffcluster.web.routing import PREFIX, TAKEN, Answer, Call, Route, Taken

log = Logger()

_JSON = "application/json"
_STREAM = "text/event-stream"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_MOST_PARAMETERS = 50
# What opens a link; the door has looked at it.
_TICKET = "ticket"
_SLICE_S = 0.005
# Members that hold most of an answer: of pages, of films, of Gantt charts.
_LISTS = ("items", "buckets", "lanes")
# Where what a route says begins in a path, which begins with a slash itself.
_DEPTH = PREFIX.count("/") + 1


@attrs.frozen
class _Place:
    """All routes of one path; `parts` are its segments, None where any value may stand."""

    parts: tuple[str | None, ...]
    names: tuple[str, ...]
    routes: Mapping[str, Route]

    @property
    def allowed(self) -> str:
        """The methods that are answered there."""
        methods = {*self.routes, "OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())
        return ", ".join(sorted(methods))

    def values(self, path: Sequence[str]) -> dict[str, str] | None:
        """The values of its names in `path`; None when that is another place."""
        if len(path) != len(self.parts):
            return None
        if any(part not in (None, given) for part, given in zip(self.parts, path, strict=True)):
            return None
        free = [given for part, given in zip(self.parts, path, strict=True) if part is None]
        return dict(zip(self.names, free, strict=True))


def _places(routes: Sequence[Route]) -> list[_Place]:
    """The places of all routes, those with fixed names first."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        known = by_path.setdefault(route.path, {})
        if route.method in known:
            raise ValueError(f"{route.method} {route.path} is served twice")
        known[route.method] = route
    places = []
    for path, known in by_path.items():
        parts = path.strip("/").split("/")
        names = tuple(part[1:-1] for part in parts if part.startswith("{"))
        fixed = tuple(None if part.startswith("{") else part for part in parts)
        places.append(_Place(fixed, names, known))
    return sorted(places, key=lambda place: [part is None for part in place.parts])


class ApiResource(Resource):
    """Answers everything below the API's prefix.

    Args:
        reactor: Lets others go on while something long is answered.
        routes: What there is.
    """

    isLeaf = True

    def __init__(self, reactor: Any, routes: Sequence[Route]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._places = _places(routes)

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Everything below is answered here."""
        return self

    def render(self, request: Request) -> int:
        """Answer a request, now or later."""
        _Exchange(self._reactor, self._places, request).begin()
        return NOT_DONE_YET


class _Exchange:
    """One request and its answer."""

    def __init__(self, reactor: Any, places: Sequence[_Place], request: Any) -> None:
        self._reactor = reactor
        self._places = places
        self._request = request
        self._gone = False

    def begin(self) -> None:
        self._request.notifyFinish().addErrback(self._lost)
        ensureDeferred(self._answer()).addErrback(self._failed)

    def _lost(self, _: object) -> None:
        self._gone = True

    async def _answer(self) -> None:
        request = self._request
        method = request.method.decode("ascii", "replace")
        place, values = self._place()
        if method == "OPTIONS":
            self._send(HTTPStatus.NO_CONTENT, b"", {"allow": place.allowed})
            return
        route = place.routes.get("GET" if method == "HEAD" else method)
        if route is None:
            raise HttpRefusal(
                message=f"{method[:20]} is not answered there; {place.allowed} are.",
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                headers={"allow": place.allowed},
            )
        caller = self._caller(route)
        call = self._call(route, caller, values)
        if method == "HEAD" and route.media_type == _STREAM:
            self._send(HTTPStatus.OK, b"", {"content-type": _STREAM, "cache-control": "no-store"})
            return
        answer = await route.serve(call)
        if answer is not TAKEN and isinstance(answer, Answer):
            await self._show(route, answer)

    def _place(self) -> tuple[_Place, dict[str, str]]:
        """The place that is asked, and the values in its path.

        Raises:
            NotFound: There is none.
        """
        try:
            path = [unquote_to_bytes(part).decode() for part in self._below().split(b"/")]
        except UnicodeDecodeError:
            path = []
        for place in self._places:
            values = place.values(path)
            if values is not None:
                return place, values
        raise NotFound(
            message="There is nothing at this path.",
            advice="/api/v1/openapi.json describes everything that there is.",
        )

    def _below(self) -> bytes:
        """The path below this resource, as it was sent."""
        path: bytes = self._request.path
        return b"/".join(path.split(b"/")[_DEPTH:])

    def _caller(self, route: Route) -> Caller:
        caller: Caller | None = self._request.caller
        if caller is None:
            raise Unauthorized(message="A valid token is needed.")
        caller.need(route.scope)
        return caller

    def _call(self, route: Route, caller: Caller, values: dict[str, str]) -> Call:
        request = self._request
        query = read_query(self._arguments(), route.query)
        body = self._body(route)
        return Call(
            caller=caller,
            path=values,
            query=query,
            body=body,
            if_match=request.getHeader("if-match") if route.matches else None,
            idempotency_key=(request.getHeader("idempotency-key") or "") if route.keyed else "",
            request=request,
        )

    def _arguments(self) -> dict[str, list[str]]:
        _, _, text = self._request.uri.partition(b"?")
        try:
            found = parse_qs(
                text.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_PARAMETERS,
            )
        except ValueError:
            fault = Fault("?", "not a query of UTF-8 text")
            raise BadRequest(message="The query is not readable.", faults=(fault,)) from None
        found.pop(_TICKET, None)
        return found

    def _body(self, route: Route) -> Any:
        """The body; a page of another site can send none of this type without being asked first.

        Raises:
            HttpRefusal: It is of another type.
            BadRequest: It is not what it must be.
        """
        request = self._request
        data: bytes = request.content.read()
        kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if route.method in _WITH_BODY or data:
            if kind != _JSON:
                raise HttpRefusal(
                    message=f"The body must be {_JSON}, also where it is empty.",
                    advice=f"Send the header Content-Type: {_JSON}",
                    status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                )
            if route.body is not None or data:
                return read_body(data, route.body or Empty)
        return None

    # --- what is answered ----------------------------------------------------------------------

    async def _show(self, route: Route, answer: Answer) -> None:
        headers = {"cache-control": "no-store", "content-type": route.media_type}
        if answer.etag:
            headers["etag"] = f'"{answer.etag}"'
        headers.update({name.lower(): value for name, value in answer.headers.items()})
        body = b""
        if isinstance(answer.body, bytes):
            body = answer.body
        elif answer.body is not None:
            body = await encode(answer.body, self._reactor)
        else:
            del headers["content-type"]
        self._send(answer.status or route.status, body, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        request = self._request
        if self._gone or request.channel is None:
            return
        request.setResponseCode(int(status))
        for name, value in headers.items():
            request.setHeader(name, value)
        if status != HTTPStatus.NO_CONTENT:
            request.setHeader("content-length", str(len(body)))
        request.write(body)
        request.finish()

    def _failed(self, failure: Any) -> None:
        error = failure.value
        if not isinstance(error, FfclusterError):
            log.failure("a request to the API failed", failure)
        request = self._request
        if self._gone or request.channel is None:
            return
        if request.startedWriting:
            # Only the end of the connection tells that no more comes.
            request.channel.forceAbortClient()
            return
        for name in ("content-length", "content-range", "content-disposition", "etag"):
            request.responseHeaders.removeHeader(name)
        problem = problem_of(error)
        headers = {"content-type": PROBLEM_TYPE, "cache-control": "no-store"}
        if isinstance(error, HttpRefusal):
            headers.update(error.headers)
        if problem.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        self._send(problem.status, to_json(problem), headers)


def to_json(value: Any) -> bytes:
    """An attrs object as JSON; what cannot be written as it is, in words."""
    document = to_jsonable(value)
    try:
        return orjson.dumps(document)
    except TypeError:
        # Names of files may hold bytes that are no text.
        return orjson.dumps(in_words(document))


async def encode(value: Any, reactor: Any) -> bytes:
    """An attrs object as JSON; a long list item by item, letting others go on in between."""
    name = next((one for one in _LISTS if isinstance(getattr(value, one, None), tuple)), None)
    if name is None:
        return to_json(value)
    pause, parts = Pauses(reactor), []
    for item in getattr(value, name):
        parts.append(to_json(item))
        await pause.due()
    before, empty, after = to_json(attrs.evolve(value, **{name: ()})).partition(
        b'"%s":[]' % name.encode()
    )
    return before + empty[:-1] + b",".join(parts) + b"]" + after


class Pauses:
    """Lets the reactor go on whenever something took long enough.

    Args:
        reactor: Twisted's reactor.
        seconds: Measures what a slice takes.
    """

    def __init__(self, reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._begun = seconds()

    async def due(self) -> None:
        """Wait for the others if it is their turn."""
        if self._seconds() - self._begun < _SLICE_S:
            return
        turn: Deferred[None] = Deferred()
        self._reactor.callLater(0, turn.callback, None)
        await turn
        self._begun = self._seconds()


def check_match(call: Call, etag: str) -> None:
    """Make sure that what is to be changed is as the caller saw it last.

    Raises:
        Stale: It is not.
    """
    if call.if_match is None or call.if_match.strip() == "*":
        return
    if f'"{etag}"' not in [tag.strip() for tag in call.if_match.split(",")]:
        raise Stale(
            message="It is not any more as it was seen last (If-Match).",
            advice="Look at it again, then decide.",
        )


__all__ = ["ApiResource", "Pauses", "Taken", "check_match", "encode", "to_json"]
