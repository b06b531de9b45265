"""What a route of the REST API is: one table drives dispatch, checks and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from twisted.web.server import Request

from ffcluster.errors import Code
from ffcluster.net.access import Caller, Scope

# Under which every route of the API is found.
PREFIX = "/api/v1"


@attrs.frozen
class Call:
    """One request, validated.

    Attributes:
        caller: Who asks.
        path: The values of the `{names}` in the route's path.
        query: An instance of the route's `query` model, or None when it has none.
        body: An instance of the route's `body` model, or None when it has none.
        if_match: The entity tag that the caller saw last, or None.
        idempotency_key: The caller's own name for the request, or "".
        request: The request itself, for routes that answer by themselves.
    """

    caller: Caller
    path: Mapping[str, str]
    query: Any
    body: Any
    if_match: str | None
    idempotency_key: str
    request: Request


@attrs.frozen
class Answer:
    """What a route answers.

    Attributes:
        body: An instance of the route's response model, `bytes` of the route's media type, or None.
        status: Its status; 0: the route's usual one.
        etag: The entity tag of what is shown, without quotes, or "".
        headers: Further headers.
    """

    body: Any = None
    status: int = 0
    etag: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Taken:
    """The route answers the request by itself, now or later: a stream, a file."""


TAKEN = Taken()

Serve = Callable[[Call], Awaitable[Answer | Taken]]


@attrs.frozen(kw_only=True)
class Route:
    """One method of one path.

    Attributes:
        method: For example `GET`.
        path: Below `/api/v1`, for example `/jobs/{job_id}`.
        name: Its operation id in the document, for example `show_job`.
        summary: One line about it.
        tag: What it belongs to, for example `jobs`.
        scope: What a token must open.
        serve: Answers it.
        query: attrs class of its query parameters, all optional, or None.
        body: attrs class of its JSON body, or None.
        response: attrs class of its answer, or None.
        media_type: Of its answer; when it is not JSON, `serve` gives bytes or answers by itself.
        status: Status of its answer.
        problems: What it may refuse with, besides what every route may.
        matches: Whether `If-Match` is heeded.
        keyed: Whether `Idempotency-Key` is heeded.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    scope: Scope
    serve: Serve
    query: type | None = None
    body: type | None = None
    response: type | None = None
    media_type: str = "application/json"
    status: int = 200
    problems: tuple[Code, ...] = ()
    matches: bool = False
    keyed: bool = False
