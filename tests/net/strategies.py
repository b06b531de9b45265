"""Hypothesis strategies that build any message of the wire, each field within its limits."""

from __future__ import annotations

import enum
import types
import typing
from fractions import Fraction
from typing import Any

import attrs
from hypothesis import strategies as st

from ffcluster.core.load import GpuLoad, WorkerLoad
from ffcluster.core.timeline import FrameRange, TimeBase
from ffcluster.net import messages

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_IDS = st.text("abcXYZ019_-", min_size=1, max_size=64)
_PATHS = st.builds("/v1/pieces/{}".format, _IDS)
_REQUESTS = st.integers(1, 2**53 - 1)
_COUNTS = st.integers(0, 2**53 - 1)
_JSON = st.dictionaries(
    _TEXT, st.none() | st.booleans() | _COUNTS | _TEXT | st.lists(_TEXT, max_size=3), max_size=3
)

_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "request": _REQUESTS,
    "job_id": _IDS,
    "upload_id": _IDS,
    "worker_id": _IDS,
    "token_id": _IDS,
    "path": _PATHS,
    "upload": _PATHS,
    "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
    "role": st.sampled_from(["worker", "client"]),
    "name": _TEXT.filter(bool),
    "priority": st.integers(-1000, 1000),
    "fps": st.floats(0.0, 1e7),
    "heartbeat_s": st.floats(0.0, 1e9),
    "benchmark_duration_s": st.floats(0.0, 1e9),
    "block_bytes": st.integers(1, 2**53 - 1),
    "protocols": st.lists(st.integers(0, 99), max_size=16).map(tuple),
}
_PERCENT = st.floats(0.0, 100.0)
_GPUS = st.builds(
    GpuLoad,
    _TEXT,
    st.none() | _PERCENT,
    st.none() | _COUNTS,
    st.none() | _COUNTS,
    st.none() | st.floats(-100.0, 300.0),
)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    WorkerLoad: st.builds(
        WorkerLoad, _PERCENT, _COUNTS, _COUNTS, st.lists(_GPUS, max_size=3).map(tuple)
    ),
    int: _COUNTS,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: _TEXT,
    bool: st.booleans(),
    Fraction: st.fractions(-1000, 1000, max_denominator=90_000),
    FrameRange: st.tuples(_COUNTS, st.integers(1, 2**40)).map(
        lambda t: FrameRange(t[0], t[0] + t[1])
    ),
    TimeBase: st.builds(TimeBase, st.integers(1, 2**31), st.integers(1, 2**31)),
    dict[str, Any]: _JSON,
}


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type."""
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if attrs.has(kind):
        return objects(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([st.none() if a is type(None) else of_type(a) for a in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of_type(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, arguments))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    raise TypeError(f"no strategy for {kind}")


def objects(cls: type) -> st.SearchStrategy[Any]:
    """Instances of an attrs class, every field drawn."""
    hints = typing.get_type_hints(cls)
    nested = cls not in MESSAGES and cls.__module__ != messages.__name__
    fields = {
        field.name: of_type(hints[field.name])
        if nested or field.name not in _BY_NAME
        else _BY_NAME[field.name]
        for field in attrs.fields(cls)
    }
    if "reply_to" in fields and cls is not messages.Failure:
        fields["reply_to"] = _REQUESTS
    return st.deferred(lambda: st.builds(cls, **fields))


MESSAGES: tuple[type, ...] = typing.get_args(messages.Message)
EVERY_MESSAGE = st.one_of([objects(cls) for cls in MESSAGES])
