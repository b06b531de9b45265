"""Bytes to messages and back. Hostile input gives `ProtocolError` naming the path of the fault."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, get_args

import orjson
from cattrs import ClassValidationError, IterableValidationError, transform_error

from ffcluster.converting import in_words, make_converter, reason_of
from ffcluster.errors import ProtocolError
from ffcluster.net import messages

_DEEPEST = 12


_converter = make_converter()


def _types(union: UnionType | type) -> dict[str, type]:
    members: tuple[type, ...] = get_args(union) or (union,)
    return {member.TYPE: member for member in members}  # type: ignore[attr-defined]


def encode(message: messages.Message) -> bytes:
    """Serialise a message as one JSON object."""
    payload = _converter.unstructure(message)
    payload["type"] = message.TYPE
    try:
        return orjson.dumps(payload)
    except TypeError:
        return orjson.dumps(in_words(payload))


def decoder(
    allowed: UnionType | type, max_bytes: int = messages.MAX_MESSAGE_BYTES
) -> Callable[[bytes], Any]:
    """A function that reads messages of the union `allowed`.

    It raises `ProtocolError` for anything that is not a JSON object of a type in `allowed` with
    values of the right types and sizes; the error's detail has `type`, `request` and `reply_to`
    as far as they were readable.
    """
    types = _types(allowed)

    def decode(payload: bytes) -> Any:
        document = _document(payload, max_bytes)
        name = document.get("type")
        if not isinstance(name, str) or name not in types:
            shown = repr(name)[:80]
            raise ProtocolError(
                message=f"Message type {shown} is not known here.",
                advice=f"Known types: {', '.join(sorted(types))}.",
                detail={"type": shown} | _numbers(document),
            )
        try:
            return _converter.structure(document, types[name])
        except (ClassValidationError, IterableValidationError) as error:
            reasons = transform_error(error, path="$", format_exception=reason_of)[:5]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reasons = [reason_of(error, None)]
        raise ProtocolError(
            message=f"Message {name!r} is not valid: {'; '.join(reasons)}",
            detail={"type": name} | _numbers(document),
        )

    return decode


def _document(payload: bytes, max_bytes: int) -> dict[str, Any]:
    if len(payload) > max_bytes:
        raise ProtocolError(message=f"Message of {len(payload)} bytes; {max_bytes} are allowed.")
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(message=f"Message is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ProtocolError(message="Message is not a JSON object.")
    if _deeper_than(document, _DEEPEST):
        raise ProtocolError(message=f"Message is nested more than {_DEEPEST} levels deep.")
    return document


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            child
            for item in layer
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return False
    return any(isinstance(item, (dict, list)) for item in layer)


def _numbers(document: dict[str, Any]) -> dict[str, int]:
    """The request number of a message that was not understood, and the one that it answers."""
    found = {name: document.get(name) for name in ("request", "reply_to")}
    return {
        name: number if type(number) is int and 0 < number < 2**53 else 0
        for name, number in found.items()
    }
