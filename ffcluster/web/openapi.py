"""The OpenAPI 3.1 document, made from the route table and the very classes that validate.

What a class says in its docstring describes its schema; what its validators allow bounds it.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
import orjson

from ffcluster import __version__
from ffcluster.converting import to_jsonable
from ffcluster.errors import Code
from ffcluster.net.door import PROBLEM_TYPE
from ffcluster.web.problems import Problem, status_of
from ffcluster.web.routing import Route

_JSON = "application/json"
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Fraction: {"type": "string", "pattern": r"^-?[0-9]+/[0-9]+$"},
    Any: {},
}
_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
# What every route may refuse with.
_ALWAYS = (Code.UNAUTHORIZED, Code.FORBIDDEN, Code.INTERNAL, Code.STORE_UNAVAILABLE)
_OTHERS: Mapping[int, str] = {
    413: "The body is too long.",
    414: "The address is too long.",
    415: "The body is of another media type than application/json.",
    416: "The range lies outside the file.",
    421: "The coordinator is not asked under this name.",
    431: "A header is too long.",
}


class _Schemas:
    """The schemas of classes, each once by its name.

    Args:
        strict: Whether the objects are requests: members with defaults may be left out, and there
            are no others.
    """

    def __init__(self, *, strict: bool, suffix: str = "") -> None:
        self.named: dict[str, dict[str, Any]] = {}
        self._strict = strict
        self._suffix = suffix
        self._classes: dict[str, type] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type."""
        kind = getattr(kind, "__supertype__", kind)
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if inspect.isclass(kind) and issubclass(kind, enum.Enum):
            return {"type": "string", "enum": [member.value for member in kind]}
        if inspect.isclass(kind) and attrs.has(kind):
            return self._reference(kind)
        return self._generic(typing.get_origin(kind), typing.get_args(kind), kind)

    def _generic(self, origin: Any, arguments: tuple[Any, ...], kind: Any) -> dict[str, Any]:
        if origin in (types.UnionType, typing.Union):
            return self._union(arguments)
        if origin is tuple and arguments[-1] is not Ellipsis:
            count = len(arguments)
            parts = [self.of(one) for one in arguments]
            return {"type": "array", "prefixItems": parts, "minItems": count, "maxItems": count}
        if origin in (tuple, list):
            return {"type": "array", "items": self.of(arguments[0])}
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"{kind} has no schema")

    def _union(self, kinds: Sequence[Any]) -> dict[str, Any]:
        schemas = [self.of(kind) for kind in kinds]
        if all(set(schema) == {"type"} for schema in schemas):
            return {"type": [schema["type"] for schema in schemas]}
        return {"anyOf": schemas}

    def _reference(self, kind: type) -> dict[str, Any]:
        name = kind.__name__ + self._suffix
        if self._classes.setdefault(name, kind) is not kind:
            raise TypeError(f"two classes are called {name}: {kind} and {self._classes[name]}")
        if name not in self.named:
            self.named[name] = {}
            self.named[name].update(self._object(kind))
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, kind: type) -> dict[str, Any]:
        properties = {field.name: self.member(kind, field) for field in _fields(kind)}
        required = [
            field.name
            for field in _fields(kind)
            if not self._strict or field.default is attrs.NOTHING
        ]
        schema: dict[str, Any] = {
            "type": "object",
            "description": _summary(kind),
            "properties": properties,
        }
        if required:
            schema["required"] = required
        if self._strict:
            schema["additionalProperties"] = False
        return schema

    def member(self, kind: type, field: Any) -> dict[str, Any]:
        """The schema of one member, with its bounds, its default and what it means."""
        schema = self.of(field.type)
        if self._strict:
            _bound(schema, field.validator)
            if not isinstance(field.default, (type(attrs.NOTHING), attrs.Factory)):  # type: ignore[arg-type]
                schema["default"] = to_jsonable(field.default)
        text = _described(kind).get(field.name)
        if text:
            schema["description"] = text
        return schema


def _fields(kind: type) -> Sequence[Any]:
    attrs.resolve_types(kind)
    found: Sequence[Any] = attrs.fields(kind)
    return found


def _bound(schema: dict[str, Any], validator: Any) -> None:
    """Say in a schema what a validator of attrs allows."""
    name = type(validator).__name__
    if name == "_OptionalValidator":
        _bound(schema, validator.validator)
    elif name == "_AndValidator":
        for one in validator._validators:
            _bound(schema, one)
    elif name == "_DeepIterable":
        _bound(schema["items"], validator.member_validator)
    elif name == "_NumberValidator":
        schema[_BOUNDS[validator.compare_op]] = validator.bound
    elif name == "_InValidator":
        schema["enum"] = list(validator.options)
    elif name == "_MatchesReValidator":
        schema["pattern"] = f"^(?:{validator.pattern.pattern})$"
    elif name in ("_MinLengthValidator", "_MaxLengthValidator"):
        least = name == "_MinLengthValidator"
        length = validator.min_length if least else validator.max_length
        what = "Items" if schema.get("type") == "array" else "Length"
        schema[f"{'min' if least else 'max'}{what}"] = length


# --- what docstrings say -------------------------------------------------------------------------


def _summary(kind: type) -> str:
    text = inspect.cleandoc(kind.__doc__ or "")
    return " ".join(text.split("\n\n")[0].split())


def _described(kind: type) -> dict[str, str]:
    """What a class's docstring says of its attributes."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in listed.split("\n\n")[0].splitlines():
        match = re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if match and not line.startswith(" " * 5):
            name = match[1]
            found[name] = match[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {one: text for names, text in found.items() for one in names.split(", ")}


# --- the document --------------------------------------------------------------------------------


def document(routes: Sequence[Route], prefix: str) -> bytes:
    """The document of all routes, as JSON."""
    shown = _Schemas(strict=False)
    sent = _Schemas(strict=True, suffix="Input")
    shown.of(Problem)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(route.path, {})
        operations[route.method.lower()] = _operation(route, shown, sent)
    tags = sorted({route.tag for route in routes})
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "ffcluster",
            "version": __version__,
            "description": "Encode one video on many machines, and see and steer it. Members that "
            "a client does not know must be ignored: later versions may add some.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": {**shown.named, **sent.named},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The coordinator's token, or one of those it made. A "
                    "coordinator without a token answers only this machine, and everything.",
                }
            },
        },
    }
    return orjson.dumps(made)


def _operation(route: Route, shown: _Schemas, sent: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Needs a token of scope {route.scope.value}.",
        "tags": [route.tag],
        "responses": dict(_responses(route, shown)),
    }
    parameters = [*_path_parameters(route), *_query_parameters(route, sent), *_headers(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.method in ("POST", "PUT", "PATCH"):
        schema = sent.of(route.body) if route.body is not None else _EMPTY
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    return operation


_EMPTY = {"type": "object", "additionalProperties": False}


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route, sent: _Schemas) -> Iterator[dict[str, Any]]:
    for field in () if route.query is None else _fields(route.query):
        schema = sent.member(route.query, field)  # type: ignore[arg-type]
        text = schema.pop("description", "")
        kinds = schema.get("type")
        if isinstance(kinds, list):
            # A parameter that is not given is not null.
            schema["type"] = next(kind for kind in kinds if kind != "null")
            if schema.get("default", 0) is None:
                del schema["default"]
        parameter = {"name": field.name, "in": "query", "description": text, "schema": schema}
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        yield parameter


def _headers(route: Route) -> Iterator[dict[str, Any]]:
    if route.matches:
        yield _header("If-Match", "The `etag` that was seen last; 412 when it is another one now.")
    if route.keyed:
        text = "Your own name for this request: asking again with it makes no second job."
        schema = {"type": "string", "maxLength": 200, "pattern": "^[!-~]+$"}
        yield _header("Idempotency-Key", text, schema)


def _header(name: str, text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = schema or {"type": "string"}
    return {"name": name, "in": "header", "description": text, "schema": schema}


def _responses(route: Route, shown: _Schemas) -> Iterator[tuple[str, dict[str, Any]]]:
    yield str(route.status), _success(route, shown)
    if route.name == "fetch_result":
        yield "206", {**_success(route, shown), "description": "The part that was asked for."}
    codes: dict[int, list[str]] = {}
    for code in dict.fromkeys((*_refusals(route), *_ALWAYS)):
        codes.setdefault(status_of(code), []).append(code.value)
    texts = {status: f"Codes: {', '.join(names)}." for status, names in sorted(codes.items())}
    texts |= {status: text for status, text in _OTHERS.items() if _may(route, status)}
    for status, text in sorted(texts.items()):
        content = {PROBLEM_TYPE: {"schema": shown.of(Problem)}}
        yield str(status), {"description": text, "content": content}


def _refusals(route: Route) -> Iterator[Code]:
    yield from route.problems
    # Every query is checked, also one that should not be there.
    yield Code.INVALID_OPTION
    if "{" in route.path:
        yield Code.NOT_FOUND
    if route.matches:
        yield Code.STALE
    if route.keyed:
        yield Code.IDEMPOTENCY_CONFLICT


def _may(route: Route, status: int) -> bool:
    if status == 416:
        return route.name == "fetch_result"
    return status in (414, 421, 431) or route.method in ("POST", "PUT", "PATCH", "DELETE")


def _success(route: Route, shown: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.status == 204:
        return answer
    if route.response is not None:
        schema = shown.of(route.response)
    else:
        schema = {"type": "object"} if route.media_type == _JSON else {}
    answer["content"] = {route.media_type: {"schema": schema}}
    if route.status in (201, 202):
        text = {"description": "Where it is to be found.", "schema": {"type": "string"}}
        answer["headers"] = {"Location": text}
    return answer
