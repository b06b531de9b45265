"""Who is let in: decided by a request's first line and headers alone, before its body is read.

Refuses foreign hosts, pages of other sites, missing and wrong tokens, and tokens of another scope.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from http import HTTPStatus
from urllib.parse import SplitResult, parse_qs, unquote_to_bytes, urlsplit

import attrs
import orjson

from ffcluster.errors import Code, FfclusterError, Forbidden, Refused, Unauthorized
from ffcluster.net.access import Caller, Doorkeeper, Need, Scope, need_at
from ffcluster.net.address import is_loopback_host

PROBLEM_TYPE = "application/problem+json"
PROBLEM_URN = "urn:ffcluster:problem:"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})
_LONGEST_QUERY = 8192
# Parts of URLs that would hide which name was asked.
_NO_HOST = frozenset("@/?#\\")

Header = Callable[[str], str | None]


@attrs.frozen
class Refusal:
    """Why a request is not carried out.

    Attributes:
        status: The HTTP status that says so.
        error: The same in words.
    """

    status: HTTPStatus
    error: FfclusterError

    def answer(self, *, as_problem: bool, with_body: bool) -> bytes:
        """The whole answer, which ends the connection.

        Args:
            as_problem: Answer a document of RFC 9457, else one line of text.
            with_body: Whether the request's method allows a body in the answer.
        """
        body = self._problem() if as_problem else f"{self.error.message}\n".encode()
        kind = PROBLEM_TYPE if as_problem else "text/plain; charset=utf-8"
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"content-type: {kind}",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "connection: close",
        ]
        if self.status is HTTPStatus.UNAUTHORIZED:
            lines.append("www-authenticate: Bearer")
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        return head + body if with_body else head

    def _problem(self) -> bytes:
        code = self.error.code
        return orjson.dumps(
            {
                # What only HTTP knows is told by the status alone, as RFC 9457 has it.
                "type": "about:blank" if code is Code.REFUSED else f"{PROBLEM_URN}{code.value}",
                "title": self.status.phrase,
                "status": self.status.value,
                "detail": self.error.message,
                "advice": self.error.advice,
                "code": code.value,
                "errors": [],
            }
        )


class Door:
    """Lets requests in, or says why not.

    Args:
        doorkeeper: Knows the tokens.
        allows_host: Whether requests with this Host header are answered; see `host_rule`.
    """

    def __init__(self, doorkeeper: Doorkeeper, allows_host: Callable[[str], bool]) -> None:
        self._doorkeeper = doorkeeper
        self._allows_host = allows_host

    def admit(self, method: str, uri: bytes, header: Header) -> Caller | Refusal | None:
        """Who comes in by this request; None: somebody who needs no name.

        Args:
            method: Its method.
            uri: Its path and query as they were sent.
            header: Its headers.
        """
        path, _, query = uri.partition(b"?")
        need = need_at(path_segments(path))
        if not self._allows_host(header("host") or ""):
            return _MISDIRECTED
        if is_foreign(header) and not (need is Need.NOTHING and _is_visit(method, header)):
            return _FOREIGN
        if need is Need.NOTHING:
            return None
        caller = self._caller(method, path, query, header)
        if caller is None:
            return _UNKNOWN
        if isinstance(need, Scope):
            try:
                caller.need(need)
            except Forbidden as error:
                return Refusal(HTTPStatus.FORBIDDEN, error)
        return caller

    def _caller(self, method: str, path: bytes, query: bytes, header: Header) -> Caller | None:
        shown = header("authorization")
        if shown is None and method in ("GET", "HEAD") and len(query) <= _LONGEST_QUERY:
            tickets = parse_qs(query.decode("ascii", "replace")).get("ticket", [])
            if len(tickets) == 1:
                return self._doorkeeper.linked(tickets[0], path.decode("ascii", "replace"))
        return self._doorkeeper.caller(shown)


def host_rule(allowed: Collection[str], *, loopback_only: bool) -> Callable[[str], bool]:
    """Which Host headers are answered.

    Args:
        allowed: Names that are, besides the loopback ones; () leaves it to `loopback_only`.
        loopback_only: Whether only this machine can ask, so that any other name is a trick; else
            every name is good.
    """
    names = frozenset(name.lower() for name in allowed)

    def allows(header: str) -> bool:
        if _NO_HOST & set(header):
            return False
        if is_loopback_host(header) or not (names or loopback_only):
            return True
        parts = _split(f"//{header}")
        return parts is not None and parts.hostname in names

    return allows


def path_segments(path: bytes) -> list[str]:
    """The segments of a path as resources are found by them, unquoted."""
    return [unquote_to_bytes(part).decode("utf-8", "replace") for part in path[1:].split(b"/")]


def is_foreign(header: Header) -> bool:
    """Whether a page of another site (or of another port of this host) made the browser ask.

    Browsers tell by `Origin`, and by `Sec-Fetch-Site` where they send none; a program sends
    neither. An origin that is hidden (`null`) is foreign.
    """
    origin = header("origin")
    if origin is not None and not _is_own(origin, header("host") or ""):
        return True
    return (header("sec-fetch-site") or "").lower() in _FOREIGN_SITES


def _is_visit(method: str, header: Header) -> bool:
    """Whether a person followed a link from another site, in a window of its own."""
    return (
        method == "GET"
        and header("origin") is None
        and header("sec-fetch-mode") == "navigate"
        and header("sec-fetch-dest") == "document"
    )


def _is_own(origin: str, host: str) -> bool:
    """Whether an origin is what was asked; a proxy in front of us may have added TLS."""
    ours, theirs = _split(f"//{host}"), _split(origin)
    if ours is None or theirs is None or theirs.scheme not in _DEFAULT_PORTS:
        return False
    usual = _DEFAULT_PORTS[theirs.scheme]
    return (
        theirs.hostname is not None
        and theirs.hostname == ours.hostname
        and (theirs.port or usual) == (ours.port or usual)
    )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def too_long(limit_bytes: int) -> Refusal:
    """The body is longer than is taken there."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        Refused(message=f"At most {limit_bytes} bytes are taken here in one request."),
    )


URI_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, Refused(message="The address that is asked for is too long.")
)
HEADER_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, Refused(message="A header is too long.")
)
LENGTH_REQUIRED = Refusal(
    HTTPStatus.LENGTH_REQUIRED, Refused(message="The length of the body must be announced.")
)
_MISDIRECTED = Refusal(
    HTTPStatus.MISDIRECTED_REQUEST,
    Refused(
        message="This coordinator is not asked under that name (the Host header).",
        advice="Ask for localhost, or start it with --allowed-hosts NAME.",
    ),
)
_FOREIGN = Refusal(
    HTTPStatus.FORBIDDEN,
    Forbidden(
        message="A page of another site asked for this.",
        advice="Only the coordinator's own pages and programs may; "
        "a proxy in front of it must pass the Host header on.",
    ),
)
_UNKNOWN = Refusal(
    HTTPStatus.UNAUTHORIZED,
    Unauthorized(
        message="A valid token is needed.",
        advice="Show it as Authorization: Bearer TOKEN; commands take it with --token-file FILE "
        "or FFCLUSTER_TOKEN_FILE.",
    ),
)
