"""What comes of something that is done in steps, all at once."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def outcome(steps: Generator[None, None, T]) -> T:
    """Take all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: T = stop.value
            return found
