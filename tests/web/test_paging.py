"""Cursors: pages that follow each other whatever comes and goes, and nothing else taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffcluster.web.paging import Key, page, read_cursor, write_cursor
from ffcluster.web.problems import BadRequest


def key(item: int) -> Key:
    return (item % 3, item)


def pages(items: set[int], limit: int, later: list[set[int]]) -> list[int]:
    """All items, page by page; after each page the list is another one."""
    seen: list[int] = []
    cursor = None
    while True:
        found, cursor = page(items, key, "order", limit, cursor)
        assert len(found) <= limit
        seen += found
        if later:
            items = later.pop()
        if cursor is None:
            return seen


SETS = st.sets(st.integers(0, 50), max_size=30)


@given(SETS, st.integers(1, 10))
def test_pages_hold_every_item_once_in_order(items: set[int], limit: int) -> None:
    assert pages(items, limit, []) == sorted(items, key=key)


@given(SETS, SETS, st.lists(SETS, max_size=5), st.integers(1, 5))
def test_what_stays_is_seen_once_whatever_comes_and_goes(
    staying: set[int], begin: set[int], later: list[set[int]], limit: int
) -> None:
    seen = pages(staying | begin, limit, [staying | more for more in later])
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


@given(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=50)))
def test_cursor_is_read_as_it_was_written(after: tuple[float, str]) -> None:
    if after[1].encode("utf-8", "ignore").decode() == after[1]:
        assert read_cursor(write_cursor(after, "name"), "name") == after


@pytest.mark.parametrize(
    "text",
    ["", "x", "é", "++", write_cursor((1,), "other"), "bm9uZQ", "W10", "WyJuYW1lIl0",
     base64.urlsafe_b64encode(b'["name",null]').decode(),
     base64.urlsafe_b64encode(b'["name",[1]]').decode()],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_cursor(text, "name")
    assert caught.value.faults[0].pointer == "?cursor"


def test_cursor_of_another_kind_of_key_is_refused() -> None:
    with pytest.raises(BadRequest):
        page([1], key, "name", 5, write_cursor(("text",), "name"))
