"""Rules that say which values an option may have. A value that no rule accepts reaches nothing.

Every rule's `check` gives back the value to pass on, or raises ValueError with what is allowed.
"""

from __future__ import annotations

import math
import re
from typing import Protocol

import attrs


class Rule(Protocol):
    """Decides over the values of one option."""

    def check(self, value: str) -> str:
        """Give back the value as it is passed on; ValueError says what would be allowed."""


@attrs.frozen
class Int:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        if re.fullmatch(r"[+-]?\d{1,9}", value) and self.low <= int(value) <= self.high:
            return str(int(value))
        raise ValueError(f"a whole number from {self.low} to {self.high}")


@attrs.frozen
class Number:
    """A decimal number from `low` to `high`."""

    low: float
    high: float

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        if re.fullmatch(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})", value):
            number = float(value)
            if math.isfinite(number) and self.low <= number <= self.high:
                return value.removeprefix("+")
        raise ValueError(f"a number from {self.low:g} to {self.high:g}")


@attrs.frozen
class Numbers:
    """`count` or fewer decimal numbers with `separator` between them."""

    separator: str
    count: int
    low: float = -1000.0
    high: float = 1000.0

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        parts = value.split(self.separator)
        if len(parts) > self.count:
            raise ValueError(f"at most {self.count} numbers separated by {self.separator!r}")
        return self.separator.join(Number(self.low, self.high).check(part) for part in parts)


@attrs.frozen
class Choice:
    """One of a few words."""

    allowed: frozenset[str]

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        if value in self.allowed:
            return value
        raise ValueError("one of " + ", ".join(sorted(self.allowed)))


def one_of(words: str) -> Choice:
    """The words of a blank-separated list."""
    return Choice(frozenset(words.split()))


@attrs.frozen
class Words:
    """Some of a few words with `separator` between them."""

    separator: str
    allowed: frozenset[str]

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        if all(word in self.allowed for word in value.split(self.separator)):
            return value
        raise ValueError(f"{self.separator!r} between some of " + ", ".join(sorted(self.allowed)))


@attrs.frozen
class Pattern:
    """Text that matches a regular expression as a whole; `meaning` says it in words."""

    expression: str
    meaning: str

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        if re.fullmatch(self.expression, value, re.ASCII):
            return value
        raise ValueError(self.meaning)


@attrs.frozen
class AnyOf:
    """What at least one of several rules accepts."""

    rules: tuple[Rule, ...]

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        reasons = []
        for rule in self.rules:
            try:
                return rule.check(value)
            except ValueError as reason:
                reasons.append(str(reason))
        raise ValueError(" or ".join(reasons))


@attrs.frozen
class Expression:
    """Arithmetic over a few variables, as ffmpeg evaluates it: no time, no state, no files."""

    variables: frozenset[str]

    def check(self, value: str) -> str:
        """See `Rule.check`."""
        value = value.replace(" ", "")
        if 0 < len(value) <= 200 and re.fullmatch(r"[0-9a-zA-Z_+*/().,\-]+", value):
            # A number's exponent is no name; ffmpeg's suffixes (k, M, dB) are refused.
            names = re.findall(r"[a-zA-Z_]\w*|\d[\d.]*[a-zA-Z_]+", value)
            unknown = [n for n in names if n not in self.variables and n not in _FUNCTIONS]
            if not unknown and _balanced(value):
                return value
        raise ValueError("arithmetic over " + ", ".join(sorted(self.variables)))


_FUNCTIONS = frozenset(
    {"min", "max", "floor", "ceil", "round", "trunc", "abs", "mod", "gcd", "if", "not"}
    | {"gt", "gte", "lt", "lte", "eq"}
)


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


FLAG = one_of("0 1")
BOOLEAN = one_of("0 1 true false")
COLOR = Pattern(
    r"[a-zA-Z]{2,30}(@[01](\.\d{1,6})?)?|(0x|#)[0-9a-fA-F]{6}([0-9a-fA-F]{2})?(@[01](\.\d{1,6})?)?",
    "a colour by name or as 0xRRGGBB",
)
PIX_FMT = Pattern(r"[a-z0-9]{2,20}", "a pixel format by ffmpeg's name")
