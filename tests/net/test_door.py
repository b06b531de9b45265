"""Who is let in, by first line and headers alone."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.errors import Forbidden
from ffcluster.net.access import DOORS, Caller, Need, Scope, need_at
from ffcluster.net.door import Door, Refusal, host_rule, is_foreign, path_segments

SECRETS = {f"Bearer {scope.value}": Caller(scope.value, scope, scope.value) for scope in Scope}
LINKED = "/api/v1/jobs/j1/result"
VISIT = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


class Keeper:
    """Knows one token of each scope, and one ticket."""

    def caller(self, authorization: str | None) -> Caller | None:
        return SECRETS.get(authorization or "")

    def linked(self, ticket: str, path: str) -> Caller | None:
        known = ticket == "good" and path == LINKED
        return Caller("link", Scope.VIEWER) if known else None


DOOR = Door(Keeper(), host_rule((), loopback_only=True))


def ask(uri: str, method: str = "GET", **headers: str) -> Any:
    given_headers = {"host": "localhost:5001"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    return DOOR.admit(method, uri.encode(), given_headers.get)


def status(found: Any) -> int:
    return found.status.value if isinstance(found, Refusal) else 200


def with_scope(scope: Scope) -> dict[str, str]:
    return {"authorization": f"Bearer {scope.value}"}


# --- paths ---------------------------------------------------------------------------------------

OPEN = [
    "/", "/static/app.js", "/favicon.ico", "/livez", "/readyz", "/static/", "/?a=b", "/api/v1/docs",
]  # fmt: skip
ANY = ["/api/v1/jobs", "/ws", "/api", "/nothing", "/v1", "/v1/other/x", "//", "/staticx"]
SCOPED = {
    "/v1/pieces/a": Scope.WORKER,
    "/v1/results/a": Scope.WORKER,
    "/v1/uploads/a": Scope.CLIENT,
    "/v1/outputs/a": Scope.VIEWER,
    "/metrics": Scope.VIEWER,
}


@pytest.mark.parametrize("uri", OPEN)
def test_what_tells_nothing_needs_no_token(uri: str) -> None:
    assert ask(uri) is None
    assert ask(uri, authorization="Bearer wrong") is None


@pytest.mark.parametrize("uri", [uri for uri in ANY if uri != "//"])
@pytest.mark.parametrize("scope", Scope)
def test_elsewhere_any_good_token_is_let_in(uri: str, scope: Scope) -> None:
    assert ask(uri, **with_scope(scope)) == SECRETS[f"Bearer {scope.value}"]
    assert status(ask(uri)) == 401
    assert status(ask(uri, authorization="Bearer wrong")) == 401


@pytest.mark.parametrize("uri", SCOPED)
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
def test_token_of_another_scope_is_forbidden(uri: str, scope: Scope, method: str) -> None:
    found = ask(uri, method, **with_scope(scope))
    assert status(found) == (200 if scope.opens(SCOPED[uri]) else 403)


@pytest.mark.parametrize(
    ("uri", "same"),
    [
        ("/v1/%70ieces/a", "/v1/pieces/a"),
        ("/%761/uploads/a", "/v1/uploads/a"),
        ("/v1/pieces/../outputs/a", "/v1/pieces/a"),
        ("/static/../metrics", "/static/"),
        ("/metrics%2f", "/nothing"),
        ("/v1/pieces%2fa", "/nothing"),
        ("http://localhost/static/x", "/nothing"),
    ],
)
def test_paths_are_read_as_resources_are_found(uri: str, same: str) -> None:
    assert need_at(path_segments(uri.encode())) == need_at(path_segments(same.encode()))


@given(st.binary(max_size=40))
def test_any_path_has_a_need(path: bytes) -> None:
    assert isinstance(need_at(path_segments(path)), Need | Scope)


def test_only_what_holds_no_data_is_open() -> None:
    opened = {path for path, need in DOORS.items() if need is Need.NOTHING}
    pages = {("",), ("static",), ("favicon.ico",), ("api", "v1", "docs")}
    assert opened == pages | {("livez",), ("readyz",)}


def test_document_names_every_door_and_scope() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    for path in DOORS:
        assert re.search(rf"`/{re.escape('/'.join(path))}[`/]", text), path
    assert all(f"| {scope.value} |" in text for scope in Scope)


@pytest.mark.parametrize("scope", Scope)
def test_scopes_open_what_they_say(scope: Scope) -> None:
    opened = {wanted for wanted in Scope if scope.opens(wanted)}
    assert (
        opened
        == {
            Scope.ADMIN: set(Scope),
            Scope.CLIENT: {Scope.CLIENT, Scope.VIEWER},
            Scope.VIEWER: {Scope.VIEWER},
            Scope.WORKER: {Scope.WORKER},
        }[scope]
    )


def test_forbidden_names_both_scopes_and_the_way_out() -> None:
    with pytest.raises(Forbidden) as caught:
        Caller("attic", Scope.VIEWER).need(Scope.CLIENT)
    assert caught.value.message == "The token attic has the scope viewer; this needs client."
    assert "ffcluster tokens add NAME --scope client" in caught.value.advice
    with pytest.raises(Forbidden) as caught:
        Caller("attic", Scope.CLIENT).need(Scope.ADMIN)
    assert "own token" in caught.value.advice


# --- tickets -------------------------------------------------------------------------------------


def test_ticket_lets_in_who_looks_and_nobody_else() -> None:
    for method in ("GET", "HEAD"):
        assert ask(f"{LINKED}?ticket=good", method) == Caller("link", Scope.VIEWER)
        assert ask(f"{LINKED}?at_s=3&ticket=good", method) == Caller("link", Scope.VIEWER)
    for method in ("POST", "PUT", "DELETE", "PATCH", "get"):
        assert status(ask(f"{LINKED}?ticket=good", method)) == 401
    assert status(ask(f"{LINKED}/?ticket=good")) == 401
    assert status(ask(f"{LINKED}?ticket=good&ticket=good")) == 401
    assert status(ask(f"{LINKED}?ticket=bad")) == 401
    assert status(ask(f"{LINKED}?{'a=b&' * 3000}ticket=good")) == 401


def test_header_counts_where_there_is_one() -> None:
    found = ask(f"{LINKED}?ticket=good", authorization="Bearer wrong")
    assert status(found) == 401
    assert ask(f"{LINKED}?ticket=x", **with_scope(Scope.CLIENT)).scope is Scope.CLIENT


# --- hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", [*OPEN, "/api/v1/jobs", "/ws", "/v1/pieces/a"])
def test_foreign_host_is_misdirected_everywhere(uri: str) -> None:
    admin = with_scope(Scope.ADMIN)
    for host in ("evil.example", "localhost.evil.example", "", "[", "evil.example:80@localhost"):
        assert status(ask(uri, host=host, **admin)) == 421


def test_host_rules() -> None:
    loopback = host_rule((), loopback_only=True)
    anybody = host_rule((), loopback_only=False)
    named = host_rule(("Films.example", "::2"), loopback_only=True)
    public = host_rule(("films.example",), loopback_only=False)
    for rule in (loopback, anybody, named, public):
        assert all(rule(host) for host in ("localhost", "127.0.0.1:5001", "[::1]:5001"))
    for host in ("films.example", "FILMS.example:443"):
        assert named(host)
        assert public(host)
        assert anybody(host)
        assert not loopback(host)
    assert named("[::2]:5001")
    assert anybody("")
    for host in ("other.example", "films.example.evil", "x.films.example", "", "[", "a:b"):
        assert not named(host)
        assert not public(host)


# --- pages of other sites ------------------------------------------------------------------------


def foreign(host: str, **headers: str) -> bool:
    return is_foreign(({"host": host} | {k.replace("_", "-"): v for k, v in headers.items()}).get)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:5001", "localhost:5001"),
        ("http://LOCALHOST:5001", "localhost:5001"),
        ("http://films.example", "films.example"),
        ("http://films.example:80", "films.example"),
        ("https://films.example", "films.example"),
        ("https://films.example", "films.example:443"),
        ("http://[::1]:5001", "[::1]:5001"),
    ],
)
def test_own_origin_is_not_foreign(origin: str, host: str) -> None:
    assert not foreign(host, origin=origin)
    assert not foreign(host, origin=origin, sec_fetch_site="same-origin")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "http://localhost", "http://localhost:5002", "https://localhost",
        "null", "", "localhost:5001", "file://", "http://127.0.0.1:5001", "http://[", "http://a:b",
        "chrome-extension://abc", "http://localhost:5001.evil.example",
    ],
)  # fmt: skip
def test_other_origins_are_foreign(origin: str) -> None:
    assert foreign("localhost:5001", origin=origin)


def test_fetch_metadata_tells_where_there_is_no_origin() -> None:
    for site in ("cross-site", "same-site", "Cross-Site"):
        assert foreign("localhost", sec_fetch_site=site)
    for site in ("same-origin", "none", ""):
        assert not foreign("localhost", sec_fetch_site=site)
    assert not foreign("localhost")


@pytest.mark.parametrize("uri", [*OPEN, "/api/v1/jobs", "/ws", "/v1/pieces/a", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_sites_are_forbidden_with_a_good_token_too(uri: str, method: str) -> None:
    admin = with_scope(Scope.ADMIN)
    assert status(ask(uri, method, origin="http://evil.example", **admin)) == 403
    assert status(ask(uri, method, sec_fetch_site="cross-site", **admin)) == 403


def test_link_from_another_site_may_lead_to_the_pages_that_hold_nothing() -> None:
    visit = {key.replace("-", "_"): value for key, value in VISIT.items()}
    assert ask("/", **visit) is None
    assert status(ask("/", "POST", **visit)) == 403
    assert status(ask("/", origin="http://evil.example", **visit)) == 403
    assert status(ask("/", **{**visit, "sec_fetch_dest": "iframe"})) == 403
    assert status(ask("/api/v1/jobs", **visit, **with_scope(Scope.ADMIN))) == 403
    assert status(ask(f"{LINKED}?ticket=good", **visit)) == 403


# --- answers -------------------------------------------------------------------------------------


def test_refusal_is_a_problem_document_or_a_sentence() -> None:
    refusal = ask("/v1/pieces/a", **with_scope(Scope.VIEWER))
    head, _, body = refusal.answer(as_problem=True, with_body=True).partition(b"\r\n\r\n")
    problem = orjson.loads(body)
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"content-type: application/problem+json" in head
    assert f"content-length: {len(body)}".encode() in head
    assert problem["status"] == 403
    assert problem["type"] == "urn:ffcluster:problem:forbidden"
    assert problem["code"] == "forbidden"
    assert set(problem) == {"type", "title", "status", "detail", "advice", "code", "errors"}
    plain = refusal.answer(as_problem=False, with_body=True)
    assert plain.endswith(b"\r\n\r\nThe token viewer has the scope viewer; this needs worker.\n")


def test_what_only_http_knows_is_told_by_the_status_alone() -> None:
    refusal = ask("/api/v1/jobs", host="evil.example")
    body = refusal.answer(as_problem=True, with_body=True).partition(b"\r\n\r\n")[2]
    problem = orjson.loads(body)
    assert (problem["type"], problem["title"]) == ("about:blank", "Misdirected Request")
    assert (problem["status"], problem["code"]) == (421, "refused")


def test_answer_to_head_has_no_body() -> None:
    refusal = ask("/api/v1/jobs", "HEAD")
    assert refusal.status is HTTPStatus.UNAUTHORIZED
    answer = refusal.answer(as_problem=True, with_body=False)
    assert answer.endswith(b"\r\n\r\n")
    assert b"www-authenticate: Bearer\r\n" in answer
