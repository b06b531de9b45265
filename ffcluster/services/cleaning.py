"""Make what a peer says of itself fit to be shown: no control characters, no endless texts."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import attrs

_LONGEST = 1000

T = TypeVar("T")


def clean(value: T) -> T:
    """`value` with every text in it printable and bounded; attrs classes and tuples all through.

    What could move the cursor of a terminal becomes a question mark.
    """
    cleaned: Any = _clean(value)
    return cleaned  # type: ignore[no-any-return]


def _clean(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value[:_LONGEST])
    if attrs.has(type(value)):
        names = [field.name for field in attrs.fields(type(value))]
        return attrs.evolve(value, **{name: _clean(getattr(value, name)) for name in names})
    if isinstance(value, tuple):
        return tuple(_clean(item) for item in value)
    return value
