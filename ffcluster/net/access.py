"""Who may do what: scopes, callers, and the question that the port asks of every request."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs


class Scope(enum.StrEnum):
    """What a token opens.

    ADMIN: everything, tokens included; the coordinator's own token has it.
    CLIENT: submitting and steering jobs and workers, and whatever VIEWER opens.
    VIEWER: looking.
    WORKER: coming as a worker: its session, its pieces and its results.
    """

    ADMIN = "admin"
    CLIENT = "client"
    VIEWER = "viewer"
    WORKER = "worker"

    def opens(self, wanted: Scope) -> bool:
        """Whether a token of this scope is good for what needs `wanted`."""
        return wanted in _OPENS[self]


_OPENS = {
    Scope.ADMIN: frozenset(Scope),
    Scope.CLIENT: frozenset({Scope.CLIENT, Scope.VIEWER}),
    Scope.VIEWER: frozenset({Scope.VIEWER}),
    Scope.WORKER: frozenset({Scope.WORKER}),
}


@attrs.frozen
class Caller:
    """Whoever sent a request.

    Attributes:
        name: Of its token, for logs; "" where the coordinator asks for none.
        scope: What it may do.
    """

    name: str
    scope: Scope


class Doorkeeper(Protocol):
    """Knows the tokens; see `ffcluster.services.tokens`."""

    def caller(self, authorization: str | None) -> Caller | None:
        """Who shows this Authorization header; None: nobody who may come in."""
