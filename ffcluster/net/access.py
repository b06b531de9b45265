"""Who may do what: scopes, callers, doors, and what the port asks of every request."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from ffcluster.errors import Forbidden


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
        token_id: Id of its token; "" for the coordinator's own, and where it asks for none.
    """

    name: str
    scope: Scope
    token_id: str = ""

    def need(self, wanted: Scope) -> None:
        """Make sure that this caller may do what needs `wanted`.

        Raises:
            Forbidden: It may not.
        """
        if not self.scope.opens(wanted):
            raise Forbidden(
                message=f"The token {self.name} has the scope {self.scope.value}; "
                f"this needs {wanted.value}.",
                advice="An administrator of the coordinator makes another one: "
                f"ffcluster tokens add NAME --scope {wanted.value}"
                if wanted is not Scope.ADMIN
                else "Only the coordinator's own token is good for this.",
            )


class Doorkeeper(Protocol):
    """Knows the tokens; see `ffcluster.services.keeping.tokens`."""

    def caller(self, authorization: str | None) -> Caller | None:
        """Who shows this Authorization header; None: nobody who may come in."""

    def linked(self, ticket: str, path: str) -> Caller | None:
        """Who comes by a link with this ticket to look at `path`; None: nobody who may."""


@attrs.frozen
class TokenView:
    """A token as people may see it: all but its secret.

    Attributes:
        id: Its public name, which the secret begins with.
        name: Whose it is, for a person.
        scope: What it opens.
        created_at: When it was made, in seconds of the coordinator's clock.
        revoked_at: Since when it opens nothing, or None.
    """

    id: str
    name: str
    scope: Scope
    created_at: float
    revoked_at: float | None = None


class Need(enum.Enum):
    """What a door asks for besides a scope.

    NOTHING: Whoever comes is let in: what lies behind it tells nothing of jobs or workers.
    TOKEN: Any token that is good; what lies behind it asks for the scope itself.
    """

    NOTHING = "nothing"
    TOKEN = "token"  # noqa: S105 - no secret


# What is asked for below each path; the longest beginning counts, and elsewhere any good token.
DOORS: Mapping[tuple[str, ...], Scope | Need] = {
    ("",): Need.NOTHING,
    ("static",): Need.NOTHING,
    ("favicon.ico",): Need.NOTHING,
    ("livez",): Need.NOTHING,
    ("readyz",): Need.NOTHING,
    ("metrics",): Scope.VIEWER,
    ("api",): Need.TOKEN,
    ("api", "v1", "docs"): Need.NOTHING,
    ("ws",): Need.TOKEN,
    ("v1", "pieces"): Scope.WORKER,
    ("v1", "results"): Scope.WORKER,
    ("v1", "uploads"): Scope.CLIENT,
    ("v1", "outputs"): Scope.VIEWER,
}


def need_at(segments: Sequence[str]) -> Scope | Need:
    """What the door to a path asks for.

    Args:
        segments: The path's segments, unquoted, as resources are found by them.
    """
    for length in range(len(segments), 0, -1):
        found = DOORS.get(tuple(segments[:length]))
        if found is not None:
            return found
    return Need.TOKEN
