"""Objects of the model to plain JSON values and back, for the wire and for what is stored.

Strict about types: nothing is turned into another type on the way. Tolerant of unknown keys, which
a later version may have added. Knows no message and no table.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

from ffcluster.core.media import MediaSummary

# Before Python 3.12 `array[int]` means nothing at run time; its values look like a list's.
attrs.resolve_types(MediaSummary, localns={"array": list})

LONGEST_TEXT = 64 * 1024
_SCALARS = frozenset({str, int, float, bool, NoneType})


def _strict_int(value: Any, _: type) -> int:
    if type(value) is not int:
        raise ValueError(f"expected an integer, got {type(value).__name__}")
    return value


def _strict_float(value: Any, _: type) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {type(value).__name__}")
    return float(value)


def _texts(longest: int) -> Callable[[Any, type], str]:
    def strict(value: Any, kind: type) -> str:
        if type(value) is not str:
            raise ValueError(f"expected a string, got {type(value).__name__}")
        if len(value) > longest:
            raise ValueError(f"string of {len(value)} characters; {longest} are allowed")
        # cattrs hands members of a StrEnum to the hook of `str` too.
        return _member(value, kind) if issubclass(kind, enum.StrEnum) else value

    return strict


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


def _is_union_of_scalars(kind: Any) -> bool:
    """Whether a value may be one of several plain types; `X | None` alone is not such a union."""
    if get_origin(kind) not in (UnionType, Union):
        return False
    kinds = set(get_args(kind))
    return kinds <= _SCALARS and len(kinds - {NoneType}) > 1


def _scalar(value: Any, kind: Any) -> Any:
    if type(value) not in get_args(kind):
        raise ValueError(f"expected a plain value, got {type(value).__name__}")
    return value


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


def make_converter(
    longest_text: int = LONGEST_TEXT, *, forbid_extra_keys: bool = False
) -> Converter:
    """A converter with strict scalars: nothing is turned into another type on the way.

    Args:
        longest_text: Characters that a string may have.
        forbid_extra_keys: Whether unknown keys are errors.
    """
    converter = Converter(forbid_extra_keys=forbid_extra_keys)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _objects(kind, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuples(kind, converter))
    converter.register_structure_hook_func(_is_union_of_scalars, _scalar)
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(float, _strict_float)
    converter.register_structure_hook(str, _texts(longest_text))
    converter.register_structure_hook(bool, _strict_bool)
    converter.register_structure_hook(Fraction, _fraction)
    converter.register_unstructure_hook(Fraction, lambda f: f"{f.numerator}/{f.denominator}")
    # A film has thousands of keyframes: no hook for each.
    converter.register_unstructure_hook_func(lambda kind: kind == list[int], list)
    return converter


_converter = make_converter()


def to_jsonable(value: Any) -> Any:
    """Turn objects of the model into data that `orjson.dumps` takes, every field included."""
    return _converter.unstructure(value)


def in_words(value: Any) -> Any:
    """Put what JSON cannot hold in words.

    Names of files may hold bytes that are no text, and the detail of an error anything at all; a
    report must arrive all the same.
    """
    if isinstance(value, dict):
        return {str(in_words(key)): in_words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_words(item) for item in value]
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return str(value).encode("utf-8", "replace").decode("utf-8")


def reason_of(error: BaseException, kind: type | None) -> str:
    """What is wrong with one value; validators say it in their first argument."""
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, ValueError) and error.args:
        return str(error.args[0])[:200]
    return format_exception(error, kind)[:200]
