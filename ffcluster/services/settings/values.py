"""Turn what people write (sizes, durations, booleans, names, addresses) into checked values.

Every parser takes text from a command line or a native TOML value and raises `BadValue` saying
what is allowed. Knows no option names and no settings classes.
"""

from __future__ import annotations

import ipaddress
import math
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ffcluster.errors import InvalidOption

Parser = Callable[[object], object]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|)", re.IGNORECASE)
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PREFIX_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
BOOLEAN_WORDS = _TRUE | _FALSE
MIN_TOKEN_CHARACTERS = 16
DATABASE_SCHEMES = ("sqlite:///", "postgresql://", "postgres://")
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


class BadValue(ValueError):
    """A value cannot be used; the text says what is allowed instead."""


def parse_size_bytes(value: object) -> int:
    """Read a size: plain bytes, `1MB` (10**6 bytes), `1MiB` or `1M` (2**20), `512KiB`.

    Raises:
        BadValue: When it is not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue("a size is a number of bytes, or a number with KB, MB, GB, KiB, MiB or GiB")
    number, unit = match[1], match[2].lower()
    power = _PREFIX_POWERS[unit.removesuffix("b").removesuffix("i")]
    decimal = power > 0 and unit.endswith("b") and not unit.endswith("ib")
    factor: int = (1000 if decimal else 1024) ** power
    return round(float(number) * factor)


def size_between(low_bytes: int, high_bytes: int) -> Parser:
    """Make a parser for sizes within bounds, both included."""

    def parse(value: object) -> int:
        size = parse_size_bytes(value)
        if not low_bytes <= size <= high_bytes:
            raise BadValue(f"from {format_size(low_bytes)} to {format_size(high_bytes)} is allowed")
        return size

    return parse


def format_size(size_bytes: int) -> str:
    """Write a size with the largest binary unit that divides it, for example `1 MiB`."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power} {unit}"
    return f"{size_bytes} bytes"


def parse_duration_s(value: object) -> float:
    """Read a time: `10`, `10s`, `2.5`, `500ms`, `2m`, `1h`; a bare number is seconds.

    Raises:
        BadValue: When it is not a time.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue("a time is a number of seconds, or a number with ms, s, m or h")
    return float(match[1]) * _DURATION_UNITS_S[match[2].lower()]


def duration_between(low_s: float, high_s: float) -> Parser:
    """Make a parser for times within bounds, both included."""

    def parse(value: object) -> float:
        duration_s = parse_duration_s(value)
        if not low_s <= duration_s <= high_s:
            raise BadValue(f"from {low_s:g} to {high_s:g} seconds is allowed")
        return duration_s

    return parse


def parse_boolean(value: object) -> bool:
    """Read true/false, yes/no, on/off or 1/0.

    Raises:
        BadValue: When it is none of these.
    """
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValue("true or false is allowed")


def count_between(low: int, high: int) -> Parser:
    """Make a parser for whole numbers within bounds, both included."""

    def parse(value: object) -> int:
        text = str(value).strip() if isinstance(value, str | int) else ""
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d{1,12}", text):
            raise BadValue(f"a whole number from {low} to {high} is allowed")
        number = int(text)
        if not low <= number <= high:
            raise BadValue(f"a whole number from {low} to {high} is allowed")
        return number

    return parse


def parse_text(value: object) -> str:
    """Read non-empty text without control characters.

    Raises:
        BadValue: When it is empty or holds control characters.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise BadValue("text that is not empty and has no control characters is allowed")
    return value.strip()


def parse_word(value: object) -> str:
    """Read a name: letters, digits, dot, dash and underscore, at most 64.

    Raises:
        BadValue: When it holds anything else.
    """
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BadValue("up to 64 letters, digits, dots, dashes and underscores are allowed")
    return value


def one_of(words: Sequence[str]) -> Parser:
    """A parser of exactly these words, in lower case."""

    def parse(value: object) -> str:
        if value not in words:
            raise BadValue(f"{', '.join(words)} are allowed")
        return str(value)

    return parse


def parse_path(value: object) -> Path:
    """Read a path and make it absolute at once: a daemon changes its directory later.

    Raises:
        BadValue: When it is empty.
    """
    if isinstance(value, Path):
        return value.expanduser().absolute()
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadValue("a path is allowed")
    return Path(value).expanduser().absolute()


def parse_database(value: object) -> str:
    """Read where a database is; what is behind the scheme is looked at when it is opened.

    Raises:
        InvalidOption: The scheme is none that is known. The value, which may hold a password, is
            not in the message.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text.isprintable() or not text.startswith(DATABASE_SCHEMES):
        raise InvalidOption(
            message="sqlite:///PATH or postgresql://USER@HOST/NAME is allowed.",
            option="database",
        )
    return text


def parse_paths(value: object) -> tuple[Path, ...]:
    """Read one path or a list of them; each must be a directory that exists.

    Raises:
        BadValue: When one is not such a directory.
    """
    values = value if isinstance(value, list | tuple) else [value]
    paths = tuple(parse_path(item) for item in values)
    for path in paths:
        if not path.is_dir():
            raise BadValue(f"only directories that exist are allowed; {path} is none")
    return paths


def parse_program(value: object) -> str:
    """Read the name or path of a program and make it an absolute path.

    Raises:
        BadValue: When there is no such program.
    """
    found = shutil.which(str(Path(parse_text(value)).expanduser()))
    if found is None:
        raise BadValue("a program that exists and may be run is allowed")
    return str(Path(found).absolute())


def parse_programs(value: object) -> tuple[str, ...]:
    """Read one program or a list of them, each once, in order; see `parse_program`.

    Raises:
        BadValue: When one is not a program, or there is none.
    """
    return _each(value, parse_program)


def parse_words(value: object) -> tuple[str, ...]:
    """Read one name or a list of them, each once; see `parse_word`.

    Raises:
        BadValue: When one is not a name, or there is none.
    """
    return _each(value, parse_word)


def _each(value: object, parse: Callable[[object], str]) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise BadValue("one or more are allowed, not none")
    return tuple(dict.fromkeys(parse(item) for item in values))


def parse_interface(value: object) -> str:
    """Read a local address to listen on: an IPv4 or IPv6 address, or `localhost`.

    Raises:
        BadValue: When it is a host name or nothing at all.
    """
    text = value.strip() if isinstance(value, str) else ""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadValue(
            "localhost or an address of this machine is allowed, "
            "for example 192.168.1.10, or 0.0.0.0 for all"
        ) from None


def is_loopback(interface: str) -> bool:
    """Say whether only this machine can reach a server that listens on `interface`."""
    return ipaddress.ip_address(interface).is_loopback


def parse_host(value: object) -> str:
    """Read a host name or address to connect to.

    Raises:
        BadValue: When it holds spaces, a scheme, a path or a port.
    """
    text = value.strip().removeprefix("[").removesuffix("]") if isinstance(value, str) else ""
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            text = ""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text):
        raise BadValue("a host name or an address is allowed, without ws:// and without a port")
    return text


def parse_hosts(value: object) -> tuple[str, ...]:
    """Read one host name or address or a list of them, each once; see `parse_host`.

    Raises:
        BadValue: When one is neither, or there is none.
    """
    return _each(value, parse_host)
