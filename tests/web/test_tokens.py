"""The routes `/tokens` and `/links`."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from ffcluster.converting import in_words
from ffcluster.errors import InvalidOption
from ffcluster.net.access import Caller, Scope
from ffcluster.services.keeping.tokens import ISSUED_SCOPES, TokenBook
from ffcluster.web.routing import Answer, Call, Route
from ffcluster.web.tokens import Link, MadeToken, NewLink, NewToken, TokenList, token_routes
from tests.services.desks import MemoryWriter

ADMIN = Caller("coordinator", Scope.ADMIN)
RESULT = "/api/v1/jobs/f00d/result"


@pytest.fixture
def book() -> TokenBook:
    return TokenBook("the-coordinators-own", MemoryWriter(), lambda: 1_000_000_000.25)


def route(book: TokenBook, name: str) -> Route:
    (found,) = (route for route in token_routes(book) if route.name == name)
    return found


def ask(book: TokenBook, name: str, body: Any = None, **path: str) -> Answer:
    """What the route `name` answers."""
    call = Call(ADMIN, path, None, body, None, "", None)  # type: ignore[arg-type]
    found: list[Any] = []
    work: Any = route(book, name).serve(call)
    Deferred.fromCoroutine(work).addBoth(found.append)
    (answer,) = found
    if not isinstance(answer, Answer):
        raise answer.value
    return answer


def test_only_administrators_see_and_change_tokens(book: TokenBook) -> None:
    scopes = {route.name: route.scope for route in token_routes(book)}
    assert scopes == {
        "list_tokens": Scope.ADMIN,
        "add_token": Scope.ADMIN,
        "revoke_token": Scope.ADMIN,
        "make_link": Scope.VIEWER,
    }


def test_made_token_is_told_once_and_kept_by_nobody_on_the_way(book: TokenBook) -> None:
    answer = ask(book, "add_token", NewToken("attic", Scope.WORKER))
    made: MadeToken = answer.body
    assert answer.headers == {"cache-control": "no-store"}
    assert made.token.created_at == "2001-09-09T01:46:40.250Z"
    assert book.caller(f"Bearer {made.secret}") == Caller("attic", Scope.WORKER, made.token.id)
    listed: TokenList = ask(book, "list_tokens").body
    assert listed.items == (made.token,)
    assert made.secret not in str(in_words(attrs.asdict(listed)))


def test_revoked_token_is_listed_as_such(book: TokenBook) -> None:
    made: MadeToken = ask(book, "add_token", NewToken("attic", Scope.WORKER)).body
    assert ask(book, "revoke_token", token_id=made.token.id) == Answer()
    (shown,) = ask(book, "list_tokens").body.items
    assert shown.revoked_at == "2001-09-09T01:46:40.250Z"
    assert book.caller(f"Bearer {made.secret}") is None


def test_names_are_bounded_by_the_model_already() -> None:
    for name in ("", "x" * 65):
        with pytest.raises(ValueError, match="name"):
            NewToken(name, ISSUED_SCOPES[0])


@pytest.mark.parametrize("query", ["", "?at_s=3.5&side=source", "?height=90"])
def test_link_leads_where_it_was_asked_to(book: TokenBook, query: str) -> None:
    answer = ask(book, "make_link", NewLink(RESULT + query))
    link: Link = answer.body
    path, _, rest = link.url.partition("?")
    ticket = rest.rpartition("ticket=")[2]
    assert path == RESULT
    assert rest.startswith(query[1:])
    assert book.linked(ticket, RESULT) == Caller("coordinator", Scope.VIEWER)
    assert link.expires_at == "2001-09-09T02:01:40.000Z"
    assert answer.headers == {"cache-control": "no-store"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/tokens", "/api/v1/jobs", "https://evil.example/api/v1/jobs/f00d/result", "",
        RESULT + "#x", RESULT + "?a=b c", RESULT + "?a=\r\nset-cookie: x", RESULT + "?ä",
        RESULT + "?a#b",
    ],
)  # fmt: skip
def test_links_elsewhere_are_refused(book: TokenBook, path: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        ask(book, "make_link", NewLink(path))
    assert caught.value.option == "path"
