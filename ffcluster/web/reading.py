"""Bodies and queries of requests to attrs objects: strictly, naming every fault by its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs
import orjson
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from ffcluster.converting import make_converter, reason_of
from ffcluster.web.problems import BadRequest, Fault

_MOST_FAULTS = 20
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")
_NAMED = re.compile(r"'([a-z_0-9]+)'")
_BOOLEANS = {"true": True, "false": False}

_converter = make_converter(forbid_extra_keys=True)


def read_body(data: bytes, model: type) -> Any:
    """The body of a request.

    Raises:
        BadRequest: It is no JSON, or not such a `model`, and where.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _bad([Fault("", f"not JSON: {error}")]) from None
    return _structured(document, model, "/")


def read_query(arguments: Mapping[str, Sequence[str]], model: type | None) -> Any:
    """The query of a request; None without a model.

    Raises:
        BadRequest: A parameter is unknown, repeated, or not what it must be.
    """
    fields = {} if model is None else {field.name: field for field in attrs.fields(model)}
    unknown = [
        Fault(f"?{name}", "there is no such parameter") for name in arguments.keys() - fields
    ]
    if unknown:
        raise _bad(unknown)
    if model is None:
        return None
    attrs.resolve_types(model)
    document = {name: _plain(name, arguments[name], fields[name].type) for name in arguments}
    return _structured(document, model, "?")


def _plain(name: str, values: Sequence[str], kind: Any) -> Any:
    """A query parameter as JSON would have it; what cannot be one stays text, and is refused."""
    if get_origin(kind) is tuple:
        return [part for value in values for part in value.split(",") if part]
    if len(values) != 1:
        raise _bad([Fault(f"?{name}", "given more than once")])
    text = values[0]
    kinds = get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)
    kinds = tuple(one for one in kinds if one is not NoneType)
    if int in kinds and _INTEGER.match(text):
        return int(text)
    if float in kinds:
        return _number(text)
    return _BOOLEANS.get(text, text) if bool in kinds else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _structured(document: Any, model: type, root: str) -> Any:
    try:
        return _converter.structure(document, model)
    except (ValueError, TypeError, KeyError, BaseValidationError) as error:
        raise _bad(list(_faults(error, "", model))[:_MOST_FAULTS], root) from None
    except RecursionError:
        raise _bad([Fault("", "nested too deeply")], root) from None


def _bad(faults: Sequence[Fault], root: str = "/") -> BadRequest:
    if root == "?":
        faults = [Fault(f"?{fault.pointer.strip('/')}", fault.detail) for fault in faults]
    first = faults[0]
    where = f"{first.pointer}: " if first.pointer else ""
    return BadRequest(message=f"{where}{first.detail}.", faults=tuple(faults))


def _faults(error: BaseException, pointer: str, kind: Any) -> Iterator[Fault]:
    """Every single fault in a tree of errors, with its place."""
    if isinstance(error, BaseValidationError):
        own = error.cl if isinstance(error.cl, type) else None
        for child in error.exceptions:
            note = _note(child)
            inner = pointer if note is None else f"{pointer}/{_escaped(note.name_or_index)}"
            yield from _faults(child, inner, note.type if note else own)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(map(str, error.extra_fields)):
            yield Fault(f"{pointer}/{_escaped(name[:100])}", "there is no such member")
    elif isinstance(error, KeyError):
        yield Fault(f"{pointer}/{_escaped(error.args[0])}", "must be given")
    else:
        detail = reason_of(error, kind if isinstance(kind, type) else None)
        yield Fault(pointer + _member(detail, kind), detail)


@attrs.frozen
class _Note:
    name_or_index: object
    type: Any


def _note(error: BaseException) -> _Note | None:
    """Where in its parent an error happened."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            # Of a missing member the error itself says the name.
            return None if type(error) is KeyError else _Note(note.name, note.type)
        if isinstance(note, IterableValidationNote):
            return _Note(note.index, note.type)
    return None


def _member(detail: str, kind: Any) -> str:
    """The member that a validator complains of: it says its name, and nothing else does."""
    named = _NAMED.search(detail)
    if named is None or not (isinstance(kind, type) and attrs.has(kind)):
        return ""
    return f"/{named[1]}" if named[1] in attrs.fields_dict(kind) else ""


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
