"""Tickets: links that open one path to look at, for a while, without an Authorization header.

Browsers cannot send that header for pictures, films and downloads. A ticket is a keyed hash over
the path, whose token it was made with, and when it ends; nothing is remembered of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable

LIFETIME_S = 900.0

# What a browser shows or saves by itself; all of it only tells, and nothing of it tells secrets.
_LINKABLE = re.compile(
    r"/api/v1/jobs/[A-Za-z0-9_-]{1,64}/(result|preview|receipt|report|thumbnails/[0-9]{1,12})"
)
_TICKET = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9-]{0,64})\.([0-9a-f]{64})")


def linkable(path: str) -> bool:
    """Whether links to this path (without its query) can be made."""
    return _LINKABLE.fullmatch(path) is not None


class Tickets:
    """Makes and checks tickets; those of another process are void.

    Args:
        seconds: The coordinator's clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._seconds = seconds

    def issue(self, path: str, token_id: str) -> tuple[str, float]:
        """Make a ticket to GET `path`; return it and when it ends, in seconds of the clock."""
        ends = int(self._seconds() + LIFETIME_S)
        return f"{ends}.{token_id}.{self._seal(path, token_id, ends)}", float(ends)

    def holder(self, ticket: str, path: str) -> str | None:
        """Id of the token that made this ticket to `path`; None: it is not good, or not any more.

        The id may be "", for the coordinator's own token.
        """
        parts = _TICKET.fullmatch(ticket)
        if parts is None or not linkable(path):
            return None
        ends, token_id = int(parts[1]), parts[2]
        good = hmac.compare_digest(self._seal(path, token_id, ends), parts[3])
        return token_id if good and self._seconds() < ends else None

    def _seal(self, path: str, token_id: str, ends: int) -> str:
        said = "\n".join(("GET", path, "viewer", token_id, str(ends)))
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()
