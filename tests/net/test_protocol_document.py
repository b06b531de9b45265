"""docs/protocol.md and the code say the same: every message, field, type, name and limit."""

from __future__ import annotations

import enum
import re
import types
import typing
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest

from ffcluster import converting
from ffcluster.net import bulk_client, codec, messages, session, site, websocket
from ffcluster.services.coordinator import reception
from ffcluster.services.coordinator import service as coordinator
from ffcluster.services.keeping import housekeeping, shelf, tokens
from ffcluster.services.worker import attempt, workbench

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES: tuple[type, ...] = typing.get_args(messages.Message)
_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", Fraction: "fraction"}


def sections() -> dict[str, str]:
    """Text below each heading of the third level."""
    parts = re.split(r"^### (.+)$", TEXT, flags=re.MULTILINE)
    bodies = (body.split("\n## ")[0] for body in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


def rows(body: str) -> dict[str, str]:
    """Field and type of each row of a table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", body, flags=re.MULTILINE))


def in_words(kind: Any) -> str:
    """An annotation as the document writes it."""
    kind = getattr(kind, "__supertype__", kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else in_words(a) for a in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {in_words(arguments[0])}"
    if origin is tuple and len(set(arguments)) == 1:
        return f"list of {len(arguments)} {in_words(arguments[0])}"
    if origin is tuple:
        each = (in_words(a) for a in arguments)
        return "list of " + " and ".join(f"({words})" if " " in words else words for words in each)
    if origin is dict:
        return "object"
    name: str = kind.__name__
    return name


def parts_of(kind: Any, found: dict[str, Any]) -> None:
    """Collect the classes and enumerations that an annotation is made of."""
    if isinstance(kind, type) and kind.__name__ not in found:
        if attrs.has(kind):
            found[kind.__name__] = kind
            for hint in typing.get_type_hints(kind).values():
                parts_of(hint, found)
        elif issubclass(kind, enum.Enum):
            found[kind.__name__] = kind
    for argument in typing.get_args(kind):
        parts_of(argument, found)


def nested() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for message in MESSAGES:
        parts_of(message, found)
    return {name: kind for name, kind in found.items() if kind not in MESSAGES}


OBJECTS = [kind for kind in nested().values() if attrs.has(kind)]
NAMES = [kind for kind in nested().values() if not attrs.has(kind)]


def fields_of(cls: type) -> dict[str, str]:
    hints = typing.get_type_hints(cls)
    return {field.name: in_words(hints[field.name]) for field in attrs.fields(cls)}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda cls: cls.TYPE)
def test_every_message_stands_in_the_document_with_all_its_fields(message: Any) -> None:
    section = sections().get(f"`{message.TYPE}`")
    assert section is not None, f"{message.TYPE} is not in docs/protocol.md"
    assert rows(section) == fields_of(message)


@pytest.mark.parametrize("cls", OBJECTS, ids=lambda cls: cls.__name__)
def test_every_object_in_a_message_stands_in_the_document(cls: type) -> None:
    assert rows(sections().get(cls.__name__, "")) == fields_of(cls)


@pytest.mark.parametrize("cls", NAMES, ids=lambda cls: cls.__name__)
def test_every_set_of_names_stands_in_the_document_with_all_values(cls: type[enum.Enum]) -> None:
    (row,) = re.findall(rf"^\| {cls.__name__} \| (.+) \|$", TEXT, flags=re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == [member.value for member in cls]


def test_the_document_describes_no_message_that_is_not_there() -> None:
    described = {name.strip("`") for name in sections() if name.startswith("`")}
    assert described == {message.TYPE for message in MESSAGES}  # type: ignore[attr-defined]


def test_directions_are_those_of_the_unions() -> None:
    below = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    chapters = dict(zip(below[1::2], below[2::2], strict=True))
    both = {"heartbeat", "error"}
    for chapter, union in (
        ("Coordinator to worker", messages.ToWorker),
        ("Worker to coordinator", messages.FromWorker),
        ("Client to coordinator", messages.FromClient),
        ("Coordinator to client", messages.ToClient),
    ):
        described = set(re.findall(r"^### `(\w+)`$", chapters[chapter], flags=re.MULTILINE))
        assert described == {cls.TYPE for cls in typing.get_args(union)} - both, chapter


@pytest.mark.parametrize("kind", shelf.KINDS)
def test_every_kind_of_blob_has_its_path(kind: str) -> None:
    assert f"`/v1/{kind}/" in TEXT


def test_document_describes_every_version() -> None:
    described = re.findall(r"^\| (\d+) \| ", TEXT, flags=re.MULTILINE)
    assert [int(version) for version in described[: len(messages.PROTOCOL_VERSIONS)]] == list(
        messages.PROTOCOL_VERSIONS
    )
    assert workbench._FIRST_THAT_TAKES_BACK in messages.PROTOCOL_VERSIONS


def test_limits_are_those_of_the_code() -> None:
    said = " ".join(TEXT.split())
    for words in (
        messages.SUBPROTOCOL,
        f"at most {messages.MAX_MESSAGE_BYTES // 2**20} MiB a message",
        f"at most {messages.MAX_REPLY_BYTES // 2**20} MiB to a client",
        f"nested {codec._DEEPEST} deep",
        f"at most {converting.LONGEST_TEXT:,} characters",
        f"asks for {reception._LONGEST_HEARTBEAT_S:g} s",
        f"a smaller one is taken for {session._SHORTEST_HEARTBEAT_S:g} s",
        f"nothing for {session.BEATS_MISSED} times `heartbeat_s`",
        f"before a `welcome` it is {session.SILENCE_LIMIT_S:g} s",
        f"the session has lasted for {attempt._KEPT_S:g} s since",
        f"is tried {attempt._PUT_FAILURES} times",
        f"still has of earlier sessions; at most {messages.MAX_HELD:,}.",
        f"\N{MINUS SIGN}{messages.MAX_PRIORITY:,} to {messages.MAX_PRIORITY:,}",
        f"| {websocket.CLOSE_PROTOCOL} |",
        f"| {websocket.CLOSE_FORBIDDEN} |",
        f"the latest {tokens._REVOKED_SHOWN} that were revoked",
        f"1 to {tokens.MAX_NAME} printable characters",
        f"| connections | {coordinator._MAX_CONNECTIONS:,} |",
        f"whole within {site._HEADER_DEADLINE_S:g} s",
        f"whole within {site._BODY_DEADLINE_S:g} s",
        f"longer than {site._LARGEST_OTHER_BODY // 1024} KiB",
        f"every {site._SLOWEST_BYTES_PER_S // 1024} KiB",
        f"| {bulk_client._SILENCE_LIMIT_S:g} s, and 1 s more",
        f"after {bulk_client._TRIES} failures in a row",
        f"after {bulk_client._REJECTIONS} rejected hashes",
        f"At most {shelf._MAX_UPLOADS} uploads",
        f"at most every {coordinator._SHOW_EVERY_S:g} s",
        f"after {housekeeping._JOBS_REMEMBERED:,} later ones",
    ):
        assert words in said, words
