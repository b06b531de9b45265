"""Pages of lists: cursors that say where the next page begins, whatever came or went meanwhile."""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
import orjson
from attrs import validators

from ffcluster.web.problems import BadRequest, Fault

T = TypeVar("T")

MOST_ITEMS = 500
USUAL_ITEMS = 50
_LONGEST_CURSOR = 1500
_LONGEST_NAME = 200

Key = tuple[str | int | float, ...]

LIMIT: Any = validators.and_(validators.ge(1), validators.le(MOST_ITEMS))
CURSOR: Any = validators.optional(validators.max_len(_LONGEST_CURSOR))
# What a list is narrowed down to; a longer one is no name of anything.
NAME: Any = validators.optional(validators.max_len(_LONGEST_NAME))


@attrs.frozen
class PageQuery:
    """Which page of a list.

    Attributes:
        limit: How many items at most.
        cursor: `next_cursor` of the page before.
    """

    limit: int = attrs.field(default=USUAL_ITEMS, validator=LIMIT)
    cursor: str | None = attrs.field(default=None, validator=CURSOR)


def page(
    items: Iterable[T], key: Callable[[T], Key], order: str, limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """The items of one page in ascending order of their keys, and the cursor of the next page.

    Args:
        items: All of them, in any order.
        key: What they are ordered by; no two have the same.
        order: Name of that order: a cursor is good for the one that it was made for.
        limit: How many items at most.
        cursor: Of the page before, or None for the first.

    Raises:
        BadRequest: The cursor is none of ours.
    """
    if cursor is not None:
        after = read_cursor(cursor, order)
        try:
            items = [item for item in items if key(item) > after]
        except TypeError:
            raise _foreign() from None
    found = heapq.nsmallest(limit + 1, items, key=key)
    if len(found) <= limit:
        return found, None
    return found[:limit], write_cursor(key(found[limit - 1]), order)


def write_cursor(after: Key, order: str) -> str:
    """The cursor of the page that begins behind the item with the key `after`."""
    return base64.urlsafe_b64encode(orjson.dumps([order, *after])).decode().rstrip("=")


def read_cursor(cursor: str, order: str) -> Key:
    """The key of the last item of the page before.

    Raises:
        BadRequest: The cursor is none of ours, or of another list or order.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        document = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise _foreign() from None
    if not isinstance(document, list) or len(document) < 2 or document[0] != order:
        raise _foreign()
    if not all(type(part) in (str, int, float) for part in document[1:]):
        raise _foreign()
    return tuple(document[1:])


def _foreign() -> BadRequest:
    detail = "The cursor is none that this list and order gave."
    return BadRequest(
        message=detail,
        advice="Begin again without one.",
        faults=(Fault("?cursor", detail),),
    )
