"""Routes about who may come in: tokens, and links that work without one. Knows no secret."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
from attrs import validators

from ffcluster.errors import Code, InvalidOption
from ffcluster.net.access import Caller, Scope, TokenView
from ffcluster.web.routing import Answer, Call, Route
from ffcluster.web.stream import timestamp

_LONGEST_PATH = 2000
# What tells a secret must be kept by nobody on the way.
_UNKEPT = {"cache-control": "no-store"}


class TokenDesk(Protocol):
    """Where tokens are made and revoked; see `ffcluster.services.keeping.tokens`."""

    def tokens(self) -> tuple[TokenView, ...]:
        """All that are good, and the latest that were revoked."""

    async def add(self, name: str, scope: Scope) -> tuple[TokenView, str]:
        """Make a token, durably; return it and its secret."""

    async def revoke(self, token_id: str) -> TokenView:
        """Let a token open nothing any more."""

    def link(self, path: str, caller: Caller) -> tuple[str, float]:
        """Make a ticket that opens `path`; return it and when it ends."""


@attrs.frozen
class NewToken:
    """A token to be made.

    Attributes:
        name: Whose it will be, for a person.
        scope: What it opens: `worker`, `client` or `viewer`.
    """

    name: str = attrs.field(validator=(validators.min_len(1), validators.max_len(64)))
    scope: Scope


@attrs.frozen
class ShownToken:
    """A token, without its secret.

    Attributes:
        id: Its public name.
        name: Whose it is.
        scope: What it opens.
        created_at: When it was made.
        revoked_at: Since when it opens nothing, or null.
    """

    id: str
    name: str
    scope: Scope
    created_at: str
    revoked_at: str | None


@attrs.frozen
class MadeToken:
    """A token that was just made.

    Attributes:
        token: The token.
        secret: What its owner must show; it is never told again.
    """

    token: ShownToken
    secret: str = attrs.field(repr=False)


@attrs.frozen
class TokenList:
    """Tokens that are good, and the latest that were revoked.

    Attributes:
        items: The tokens, in the order in which they were made.
        next_cursor: Always null: they are all on one page.
    """

    items: tuple[ShownToken, ...]
    next_cursor: str | None = None


@attrs.frozen
class NewLink:
    """A link to be made.

    Attributes:
        path: Where it leads, for example `/api/v1/jobs/ID/result`; it may have a query.
    """

    path: str = attrs.field(validator=validators.max_len(_LONGEST_PATH))


@attrs.frozen
class Link:
    """A link that works for a while without an Authorization header.

    Attributes:
        url: The path, its query, and the ticket.
        expires_at: Until when it works.
    """

    url: str
    expires_at: str


def token_routes(desk: TokenDesk) -> tuple[Route, ...]:
    """The routes `/tokens` and `/links`."""
    serving = _Serving(desk)
    common: dict[str, Any] = {"tag": "access", "scope": Scope.ADMIN}
    return (
        Route(
            method="GET",
            path="/tokens",
            name="list_tokens",
            summary="List tokens that are good, and the latest that were revoked.",
            serve=serving.list,
            response=TokenList,
            **common,
        ),
        Route(
            method="POST",
            path="/tokens",
            name="add_token",
            summary="Make a token; only this answer tells its secret.",
            serve=serving.add,
            body=NewToken,
            response=MadeToken,
            status=201,
            problems=(Code.INVALID_OPTION, Code.CONFLICT, Code.TOO_MANY),
            **common,
        ),
        Route(
            method="DELETE",
            path="/tokens/{token_id}",
            name="revoke_token",
            summary="Revoke a token, and end what was begun with it.",
            serve=serving.revoke,
            status=204,
            problems=(Code.NOT_FOUND,),
            **common,
        ),
        Route(
            method="POST",
            path="/links",
            name="make_link",
            summary="Make a link to a result, preview, thumbnail, receipt or report.",
            tag="access",
            scope=Scope.VIEWER,
            serve=serving.link,
            body=NewLink,
            response=Link,
            problems=(Code.INVALID_OPTION,),
        ),
    )


class _Serving:
    """Answers what is asked about tokens and links."""

    def __init__(self, desk: TokenDesk) -> None:
        self._desk = desk

    async def list(self, call: Call) -> Answer:
        return Answer(TokenList(tuple(_shown(token) for token in self._desk.tokens())))

    async def add(self, call: Call) -> Answer:
        made, secret = await self._desk.add(call.body.name, call.body.scope)
        return Answer(MadeToken(_shown(made), secret), headers=_UNKEPT)

    async def revoke(self, call: Call) -> Answer:
        await self._desk.revoke(call.path["token_id"])
        return Answer()

    async def link(self, call: Call) -> Answer:
        path, _, query = call.body.path.partition("?")
        if not query.isascii() or not query.isprintable() or set(query) & set(' #"<>'):
            raise InvalidOption(
                message="The query of the path cannot stand in a URL.",
                advice="Quote it as every URL is quoted.",
                option="path",
            )
        ticket, ends = self._desk.link(path, call.caller)
        parts = [query] if query else []
        url = f"{path}?{'&'.join([*parts, f'ticket={ticket}'])}"
        return Answer(Link(url, timestamp(ends)), headers=_UNKEPT)


def _shown(token: TokenView) -> ShownToken:
    revoked_at = None if token.revoked_at is None else timestamp(token.revoked_at)
    return ShownToken(token.id, token.name, token.scope, timestamp(token.created_at), revoked_at)
