"""The book of tokens: made once, recognised by their hash, revoked at once and for good."""

from __future__ import annotations

import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from ffcluster.core.durable import Changes, TokenEntry
from ffcluster.errors import Conflict, InvalidOption, NotFound, TooMany
from ffcluster.net.access import Caller, Scope
from ffcluster.net.tickets import LIFETIME_S
from ffcluster.net.tokens import digest
from ffcluster.services.keeping import tokens as book_module
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.services.keeping.tokens import MAX_NAME, TokenBook
from ffcluster.store.opening import DEFAULT_URL, open_store
from tests.services.desks import MemoryWriter

OWN = "the-coordinators-own-secret"
RESULT = "/api/v1/jobs/f00d/result"


@attrs.define
class Bench:
    """A book, and what it wrote and told."""

    own: str | None = OWN
    now: float = 1000.0
    writer: MemoryWriter = attrs.field(factory=MemoryWriter)
    ended: list[str] = attrs.field(factory=list)
    book: TokenBook = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.book = TokenBook(self.own, self.writer, lambda: self.now)
        self.book.when_revoked(self.ended.append)

    def add(self, name: str = "attic", scope: Scope = Scope.WORKER) -> tuple[str, str]:
        """Make a token; answers its id and secret."""
        made, secret = now(self.book.add(name, scope))
        return made.id, secret

    def shows(self, secret: str) -> Caller | None:
        return self.book.caller(f"Bearer {secret}")


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` answers at once, or raises."""
    found: list[Any] = []
    task = Deferred.fromCoroutine(work)
    task.addBoth(found.append)
    (answer,) = found
    if hasattr(answer, "raiseException"):
        raise answer.value
    return answer


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- at the door ---------------------------------------------------------------------------------


def test_own_token_opens_everything(bench: Bench) -> None:
    assert bench.shows(OWN) == Caller("coordinator", Scope.ADMIN)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {OWN}", OWN])
def test_anything_else_opens_nothing(bench: Bench, header: str | None) -> None:
    assert bench.book.caller(header) is None


@pytest.mark.parametrize("header", [None, "", "Bearer wrong", f"Bearer {OWN}"])
def test_where_no_token_is_asked_for_everybody_may_do_all(header: str | None) -> None:
    book = Bench(own=None).book
    assert book.caller(header) == Caller("", Scope.ADMIN)
    assert book.linked("", "/") == Caller("", Scope.ADMIN)
    assert not book.asked_for


@pytest.mark.parametrize("scope", [Scope.WORKER, Scope.CLIENT, Scope.VIEWER])
def test_made_token_is_recognised_with_its_scope(bench: Bench, scope: Scope) -> None:
    token_id, secret = bench.add("attic", scope)
    assert bench.shows(secret) == Caller("attic", scope, token_id)


def test_only_the_whole_secret_is_good(bench: Bench) -> None:
    token_id, secret = bench.add()
    _, other = bench.add()
    mixed = other.replace(other.split("_")[1], token_id, 1)
    for wrong in (secret[:-1], secret + "x", secret.upper(), token_id, f"ffc_{token_id}_", mixed):
        assert bench.shows(wrong) is None


def test_no_secret_is_kept_or_shown(bench: Bench) -> None:
    _, secret = bench.add()
    (changes,) = bench.writer.written
    assert changes.tokens[0].sha256 == digest(secret)
    assert secret not in repr(changes)
    assert secret.split("_", 2)[2] not in repr(vars(bench.book))
    assert secret not in repr(bench.book.tokens())


# --- making --------------------------------------------------------------------------------------


def test_token_opens_nothing_before_it_is_durable(bench: Bench) -> None:
    bench.writer.held = Deferred()
    answers: list[Any] = []
    Deferred.fromCoroutine(bench.book.add("attic", Scope.WORKER)).addBoth(answers.append)
    assert answers == []
    assert bench.book.tokens() == ()
    bench.writer.held.callback(None)
    ((made, secret),) = answers
    assert bench.shows(secret) == Caller("attic", Scope.WORKER, made.id)


def test_tokens_are_listed_in_the_order_they_were_made(bench: Bench) -> None:
    ids = [bench.add(name)[0] for name in ("a", "b", "a")]
    now(bench.book.revoke(ids[0]))
    views = bench.book.tokens()
    assert [view.id for view in views] == ids
    assert [view.name for view in views] == ["a", "b", "a"]
    assert [view.revoked_at for view in views] == [1000.0, None, None]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "a\nb", "\x1b[2J", " a", "a "])
def test_unusable_names_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidOption):
        bench.add(name)
    assert bench.writer.written == []


def test_admin_tokens_are_not_made(bench: Bench) -> None:
    with pytest.raises(InvalidOption) as caught:
        bench.add("attic", Scope.ADMIN)
    assert "worker, client, viewer" in caught.value.advice


def test_where_no_token_is_asked_for_none_is_made() -> None:
    bench = Bench(own=None)
    with pytest.raises(Conflict) as caught:
        bench.add()
    assert "--token-file" in caught.value.advice
    assert bench.writer.written == []


def test_number_of_good_tokens_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_MAX_GOOD", 2)
    token_id, _ = bench.add()
    bench.add()
    with pytest.raises(TooMany) as caught:
        bench.add()
    assert "revoke" in caught.value.advice
    now(bench.book.revoke(token_id))
    bench.add()


# --- revoking ------------------------------------------------------------------------------------


def test_revoked_token_opens_nothing_and_ends_what_was_begun_with_it(bench: Bench) -> None:
    token_id, secret = bench.add()
    _, other = bench.add()
    bench.now = 1001.0
    view = now(bench.book.revoke(token_id))
    assert view.revoked_at == 1001.0
    assert bench.shows(secret) is None
    assert bench.shows(other) is not None
    assert bench.ended == [token_id]
    assert bench.writer.written[-1].tokens[0].revoked_at == 1001.0


def test_revoking_does_not_wait_for_the_store_but_its_answer_does(bench: Bench) -> None:
    token_id, secret = bench.add()
    bench.writer.held = Deferred()
    answers: list[Any] = []
    Deferred.fromCoroutine(bench.book.revoke(token_id)).addBoth(answers.append)
    assert bench.shows(secret) is None
    assert bench.ended == [token_id]
    assert answers == []
    bench.writer.held.callback(None)
    assert answers[0].id == token_id


def test_revoking_twice_changes_nothing_more(bench: Bench) -> None:
    token_id, _ = bench.add()
    first = now(bench.book.revoke(token_id))
    bench.now = 2000.0
    assert now(bench.book.revoke(token_id)) == first
    assert len(bench.writer.written) == 2
    assert bench.ended == [token_id]


def test_unknown_token_cannot_be_revoked(bench: Bench) -> None:
    with pytest.raises(NotFound) as caught:
        now(bench.book.revoke("nobody"))
    assert "ffcluster tokens list" in caught.value.advice


def test_of_many_revoked_tokens_the_latest_are_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "_REVOKED_SHOWN", 2)
    ids = [bench.add()[0] for _ in range(4)]
    for at, token_id in enumerate(reversed(ids)):
        bench.now = 2000.0 + at
        now(bench.book.revoke(token_id))
    assert [view.id for view in bench.book.tokens()] == ids[:2]


# --- links ---------------------------------------------------------------------------------------


def test_link_lets_a_viewer_in_until_it_ends(bench: Bench) -> None:
    token_id, _ = bench.add("studio", Scope.CLIENT)
    caller = Caller("studio", Scope.CLIENT, token_id)
    ticket, ends = bench.book.link(RESULT, caller)
    assert ends == 1000.0 + LIFETIME_S
    assert bench.book.linked(ticket, RESULT) == Caller("studio", Scope.VIEWER, token_id)
    assert bench.book.linked(ticket, RESULT + "/") is None
    bench.now = ends
    assert bench.book.linked(ticket, RESULT) is None


def test_link_ends_with_the_token_that_made_it(bench: Bench) -> None:
    token_id, _ = bench.add("studio", Scope.VIEWER)
    ticket, _ends = bench.book.link(RESULT, Caller("studio", Scope.VIEWER, token_id))
    now(bench.book.revoke(token_id))
    assert bench.book.linked(ticket, RESULT) is None


def test_coordinators_own_token_makes_links_for_viewers(bench: Bench) -> None:
    ticket, _ = bench.book.link(RESULT, Caller("coordinator", Scope.ADMIN))
    found = bench.book.linked(ticket, RESULT)
    assert found is not None
    assert found.scope is Scope.VIEWER


def test_no_link_leads_to_what_changes_or_lists_anything(bench: Bench) -> None:
    for path in ("/api/v1/tokens", "/api/v1/jobs", "/v1/outputs/f00d", "/metrics"):
        with pytest.raises(InvalidOption):
            bench.book.link(path, Caller("coordinator", Scope.ADMIN))


# --- what is written down ------------------------------------------------------------------------


class Stored(TestCase):
    async def ledger(self, folder: Path) -> Ledger:
        ledger = Ledger(open_store(DEFAULT_URL, folder), reactor)
        await ledger.open()
        return ledger

    async def test_tokens_and_their_end_outlive_the_coordinator(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        folder = Path(place.name)
        ledger = await self.ledger(folder)
        book = TokenBook(OWN, ledger, lambda: 5.0)
        kept, secret = await book.add("attic", Scope.WORKER)
        gone, revoked = await book.add("cellar", Scope.CLIENT)
        await book.revoke(gone.id)
        told = book.tokens()
        await ledger.close()

        ledger = await self.ledger(folder)
        later = TokenBook(OWN, ledger, lambda: 6.0)
        later.load(await ledger.read(lambda store: store.tokens()))
        await ledger.close()
        assert later.tokens() == told
        assert later.caller(f"Bearer {secret}") == Caller("attic", Scope.WORKER, kept.id)
        assert later.caller(f"Bearer {revoked}") is None
        for file in folder.iterdir():
            assert secret.encode() not in file.read_bytes()


def test_book_takes_in_what_was_stored() -> None:
    entry = TokenEntry("ab12", "attic", "viewer", digest("ffc_ab12_secret"), 1.0)
    book = TokenBook(OWN, MemoryWriter(), lambda: 2.0, [entry])
    assert book.caller("Bearer ffc_ab12_secret") == Caller("attic", Scope.VIEWER, "ab12")
    assert Changes(tokens=(entry,))
