"""Bytes to messages and back. Hostile input gives `ProtocolError` naming the path of the fault."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from fractions import Fraction
from types import UnionType
from typing import Any, get_args, get_origin

import attrs
import orjson
from cattrs import (
    BaseValidationError,
    ClassValidationError,
    Converter,
    IterableValidationError,
    IterableValidationNote,
    transform_error,
)
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

from ffcluster.errors import ProtocolError
from ffcluster.net import messages

_DEEPEST = 12
_LONGEST_TEXT = 64 * 1024


def _strict_int(value: Any, _: type) -> int:
    if type(value) is not int:
        raise ValueError(f"expected an integer, got {type(value).__name__}")
    return value


def _strict_float(value: Any, _: type) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {type(value).__name__}")
    return float(value)


def _strict_str(value: Any, kind: type) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a string, got {type(value).__name__}")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"string of {len(value)} characters; {_LONGEST_TEXT} are allowed")
    # cattrs hands members of a StrEnum to the hook of `str` too.
    return _member(value, kind) if issubclass(kind, enum.StrEnum) else value


def _member(value: str, kind: type[enum.StrEnum]) -> enum.StrEnum:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(kind)
        raise ValueError(f"{value[:40]!r} is not one of {names}") from None


def _strict_bool(value: Any, _: type) -> bool:
    if type(value) is not bool:
        raise ValueError(f"expected true or false, got {type(value).__name__}")
    return value


def _fraction(value: Any, _: type) -> Fraction:
    if type(value) is not str or len(value) > 64:
        raise ValueError('expected a fraction such as "1001/30000"')
    numerator, slash, denominator = value.partition("/")
    if not slash or not denominator.isdigit() or int(denominator) == 0:
        raise ValueError('expected a fraction such as "1001/30000"')
    return Fraction(int(numerator), int(denominator))


def _objects(kind: type, converter: Converter) -> Callable[[Any, Any], Any]:
    """Classes come from JSON objects only; a list would pass for one with no field given."""
    structure: Any = make_dict_structure_fn(kind, converter)

    def strict(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise ValueError(f"expected an object, got {type(value).__name__}")
        return structure(value, kind)

    return strict


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _tuples(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Tuples come from JSON lists only; a string would pass for a tuple of its letters."""
    kinds = get_args(kind)

    def strict(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise ValueError(f"expected a list, got {type(value).__name__}")
        expected = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(expected) != len(value):
            raise ValueError(f"expected a list of {len(expected)} values, got {len(value)}")
        return tuple(
            _item(converter, item, item_kind, index)
            for index, (item, item_kind) in enumerate(zip(value, expected, strict=True))
        )

    return strict


def _item(converter: Converter, value: Any, kind: Any, index: int) -> Any:
    try:
        return converter.structure(value, kind)
    except (ValueError, TypeError, KeyError, BaseValidationError) as error:
        error.add_note(IterableValidationNote(f"@ index {index}", index, kind))
        raise IterableValidationError("in a list", [error], tuple) from None


def make_converter() -> Converter:
    """A converter with strict scalars: nothing is turned into another type on the way."""
    converter = Converter(forbid_extra_keys=False)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _objects(kind, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuples(kind, converter))
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(float, _strict_float)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(bool, _strict_bool)
    converter.register_structure_hook(Fraction, _fraction)
    converter.register_unstructure_hook(Fraction, lambda f: f"{f.numerator}/{f.denominator}")
    return converter


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
        return orjson.dumps(_sendable(payload))


def _sendable(value: Any) -> Any:
    """Put what JSON cannot hold in words.

    Names of files may hold bytes that are no text, and the detail of an error anything at all; a
    report must arrive all the same.
    """
    if isinstance(value, dict):
        return {str(_sendable(key)): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sendable(item) for item in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return str(value).encode("utf-8", "replace").decode("utf-8")


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
            reasons = transform_error(error, path="$", format_exception=_reason)[:5]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reasons = [_reason(error, None)]
        raise ProtocolError(
            message=f"Message {name!r} is not valid: {'; '.join(reasons)}",
            detail={"type": name} | _numbers(document),
        )

    return decode


def _reason(error: BaseException, kind: type | None) -> str:
    """What is wrong with one value; validators say it in their first argument."""
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, ValueError) and error.args:
        return str(error.args[0])[:200]
    return format_exception(error, kind)[:200]


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


def to_jsonable(value: Any) -> Any:
    """Turn objects of the model into data that `orjson.dumps` takes, every field included."""
    return _converter.unstructure(value)
