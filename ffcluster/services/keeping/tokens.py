"""The book of tokens: makes them, recognises who shows one, and revokes them, durably.

Only SHA-256 hashes of secrets are kept or compared. A secret names its own id, so that it is found
without looking through all. The coordinator's own token (`--token-file`) is not in the book.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ffcluster.core.durable import Changes, TokenEntry
from ffcluster.errors import Conflict, InvalidOption, NotFound, TooMany
from ffcluster.net.access import Caller, Scope, TokenView
from ffcluster.net.tickets import Tickets, linkable
from ffcluster.net.tokens import digest, id_in, make_issued_token, shown_in
from ffcluster.services.cleaning import clean

log = Logger()

# Whoever may make tokens is trusted; the limits keep a mistake in a script from filling the book.
_MAX_GOOD = 1000
_REVOKED_SHOWN = 100
MAX_NAME = 64
ISSUED_SCOPES = (Scope.WORKER, Scope.CLIENT, Scope.VIEWER)
_OWN_NAME = "coordinator"
# What an unknown secret is compared with, so that it takes as long as a known one.
_NOBODY = "0" * 64


class Writer(Protocol):
    """Where tokens are written down; see `ffcluster.services.keeping.ledger.Ledger`."""

    def put(self, changes: Changes, then: Callable[[], None]) -> None:
        """Store `changes`; call `then` when they are durable."""

    def idle(self) -> Deferred[None]:
        """Fires when all that was put is durable; fails when it never will be."""


class TokenBook:
    """The coordinator's `Doorkeeper`.

    Args:
        own: The coordinator's own token, which opens everything; None: everybody may do all.
        writer: Where tokens are written down.
        seconds: The coordinator's clock.
        saved: The tokens that were written down before.
    """

    def __init__(
        self,
        own: str | None,
        writer: Writer,
        seconds: Callable[[], float],
        saved: Iterable[TokenEntry] = (),
    ) -> None:
        self._own = digest(own) if own is not None else None
        self._writer = writer
        self._seconds = seconds
        self._tickets = Tickets(seconds)
        self._entries: dict[str, TokenEntry] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.load(saved)

    def load(self, saved: Iterable[TokenEntry]) -> None:
        """Take in what was written down; called before anybody is let in."""
        self._entries.update((entry.id, entry) for entry in saved)
        self._forget_oldest()
        if self._own is None and any(e.revoked_at is None for e in self._entries.values()):
            log.warn(
                "tokens were given out, and nobody is asked for one: start with --token-file again"
            )

    def when_revoked(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the id of every token that is revoked from now on."""
        self._listeners.append(listener)

    # --- at the door ---------------------------------------------------------------------------

    def caller(self, authorization: str | None) -> Caller | None:
        """Who shows this Authorization header; None: nobody who may come in."""
        if self._own is None:
            return Caller("", Scope.ADMIN)
        secret = shown_in(authorization)
        if secret is None:
            return None
        shown, entry = digest(secret), self._good(id_in(secret))
        is_own = hmac.compare_digest(shown, self._own)
        is_issued = hmac.compare_digest(shown, entry.sha256 if entry else _NOBODY)
        if is_own:
            return Caller(_OWN_NAME, Scope.ADMIN)
        return _caller(entry) if entry is not None and is_issued else None

    def linked(self, ticket: str, path: str) -> Caller | None:
        """Who comes by a link with this ticket to look at `path`; None: nobody who may."""
        if self._own is None:
            return Caller("", Scope.ADMIN)
        token_id = self._tickets.holder(ticket, path)
        if token_id is None:
            return None
        if not token_id:
            return Caller(_OWN_NAME, Scope.VIEWER)
        entry = self._good(token_id)
        return Caller(entry.name, Scope.VIEWER, entry.id) if entry is not None else None

    def link(self, path: str, caller: Caller) -> tuple[str, float]:
        """Make a ticket that opens `path` to whoever has it, as long as `caller`'s token is good.

        Returns:
            The ticket, and when it ends in seconds of the coordinator's clock.

        Raises:
            InvalidOption: No links to this path can be made.
        """
        if not linkable(path):
            raise InvalidOption(
                message="No link to this path can be made.",
                advice="Links lead to a job's result, preview, thumbnails, receipt or report.",
                option="path",
            )
        return self._tickets.issue(path, caller.token_id)

    # --- for those who may change it -----------------------------------------------------------

    @property
    def asked_for(self) -> bool:
        """Whether whoever comes must show a token."""
        return self._own is not None

    def tokens(self) -> tuple[TokenView, ...]:
        """All that are good and the latest that were revoked, in the order they were made."""
        return tuple(_view(entry) for entry in self._entries.values())

    async def add(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        """Make a token, durably; return it and its secret, which nobody can tell later.

        Raises:
            InvalidOption: The name or the scope cannot be used.
            Conflict: This coordinator asks nobody for a token.
            TooMany: There are as many as are kept.
        """
        self._check(name, scope)
        token_id, secret = make_issued_token()
        while token_id in self._entries:
            token_id, secret = make_issued_token()
        entry = TokenEntry(token_id, name, scope.value, digest(secret), self._seconds())
        self._writer.put(Changes(tokens=(entry,)), lambda: None)
        await self._writer.idle()
        self._entries[token_id] = entry
        log.info("token {id} made for {name}: {scope}", id=token_id, name=name, scope=scope.value)
        return _view(entry), secret

    async def revoke(self, token_id: str) -> TokenView:
        """Let a token open nothing any more, and end what was begun with it.

        That happens at once; the answer comes when it is durable. One that is revoked already
        stays as it is.

        Raises:
            NotFound: There is none.
        """
        entry = self._entries.get(token_id)
        if entry is None:
            raise NotFound(
                message=f"There is no token {clean(token_id)}.",
                advice="`ffcluster tokens list` shows them all.",
            )
        if entry.revoked_at is None:
            entry = attrs.evolve(entry, revoked_at=self._seconds())
            self._entries[token_id] = entry
            self._forget_oldest()
            self._writer.put(Changes(tokens=(entry,)), lambda: None)
            log.info("token {id} of {name} is revoked", id=token_id, name=entry.name)
            for listener in self._listeners:
                listener(token_id)
        await self._writer.idle()
        return _view(entry)

    def _check(self, name: str, scope: Scope) -> None:
        if self._own is None:
            raise Conflict(
                message="This coordinator asks nobody for a token, so a token would open nothing.",
                advice="Make one for it with: ffcluster token --output ffcluster.token\n"
                "Then start it with: --token-file=ffcluster.token",
            )
        if not 1 <= len(name) <= MAX_NAME or clean(name) != name or name != name.strip():
            raise InvalidOption(
                message=f"A token's name is 1 to {MAX_NAME} printable characters.", option="name"
            )
        if scope not in ISSUED_SCOPES:
            raise InvalidOption(
                message=f"Tokens of the scope {scope.value} are not made.",
                advice=f"Choose one of: {', '.join(ISSUED_SCOPES)}. "
                "The coordinator's own token opens everything.",
                option="scope",
            )
        if sum(entry.revoked_at is None for entry in self._entries.values()) >= _MAX_GOOD:
            raise TooMany(
                message=f"There are {_MAX_GOOD} tokens already.",
                advice="Revoke those that nobody needs: ffcluster tokens revoke ID",
            )

    def _good(self, token_id: str) -> TokenEntry | None:
        entry = self._entries.get(token_id)
        return entry if entry is not None and entry.revoked_at is None else None

    def _forget_oldest(self) -> None:
        revoked = sorted(
            (e for e in self._entries.values() if e.revoked_at is not None),
            key=lambda entry: entry.revoked_at or 0.0,
        )
        for entry in revoked[:-_REVOKED_SHOWN]:
            del self._entries[entry.id]


def _caller(entry: TokenEntry) -> Caller:
    return Caller(entry.name, Scope(entry.scope), entry.id)


def _view(entry: TokenEntry) -> TokenView:
    return TokenView(entry.id, entry.name, Scope(entry.scope), entry.created_at, entry.revoked_at)
