"""The document: valid OpenAPI 3.1, whole, and made from what validates."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import attrs
import pytest
from attrs import validators
from openapi_spec_validator import validate

from ffcluster.errors import Code
from ffcluster.net.access import Scope
from ffcluster.web.bodies import NewJob
from ffcluster.web.openapi import document
from ffcluster.web.routing import Answer, Call, Route


class Colour(enum.StrEnum):
    RED = "red"


@attrs.frozen
class Part:
    """A part.

    Attributes:
        size: How large
            it is.
    """

    size: int = attrs.field(validator=validators.and_(validators.ge(1), validators.lt(9)))


@attrs.frozen
class Thing:
    """Something with one of each."""

    part: Part
    colour: Colour = Colour.RED
    name: str | None = attrs.field(
        default=None, validator=validators.optional(validators.max_len(5))
    )
    ids: tuple[str, ...] = ()
    pair: tuple[int, str] = (1, "x")
    counts: Mapping[str, int] = attrs.field(factory=dict)
    rate: Fraction = Fraction(1, 2)


@attrs.frozen
class Query:
    """A query."""

    limit: int = attrs.field(default=5, validator=validators.le(10))
    cursor: str | None = None
    state: tuple[Colour, ...] = ()


async def serve(call: Call) -> Answer:
    return Answer()


def described(**changes: Any) -> Any:
    route = Route(
        **{
            "method": "POST",
            "path": "/things/{thing_id}",
            "name": "make_thing",
            "summary": "Make it.",
            "tag": "things",
            "scope": Scope.CLIENT,
            "serve": serve,
            "query": Query,
            "body": Thing,
            "response": Thing,
            "status": 201,
            "problems": (Code.CONFLICT,),
            "matches": True,
            "keyed": True,
        }
        | changes
    )
    made = json.loads(document((route,), "/api/v1"))
    validate(made)
    return made


def test_body_and_answer_have_schemas_of_their_own() -> None:
    schemas = described()["components"]["schemas"]
    assert set(schemas["Thing"]["required"]) == {field.name for field in attrs.fields(Thing)}
    assert "additionalProperties" not in schemas["Thing"]
    sent = schemas["ThingInput"]
    assert sent["required"] == ["part"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["part"] == {"$ref": "#/components/schemas/PartInput"}
    assert sent["properties"]["colour"] == {"type": "string", "enum": ["red"], "default": "red"}
    assert sent["properties"]["name"]["type"] == ["string", "null"]
    assert sent["properties"]["name"]["maxLength"] == 5
    assert sent["properties"]["pair"]["maxItems"] == 2
    assert sent["properties"]["rate"]["default"] == "1/2"
    size = schemas["PartInput"]["properties"]["size"]
    assert (size["minimum"], size["exclusiveMaximum"]) == (1, 9)
    assert size["description"] == "How large it is."


def test_parameters_and_refusals_are_documented() -> None:
    operation = described()["paths"]["/things/{thing_id}"]["post"]
    places = {one["name"]: one["in"] for one in operation["parameters"]}
    assert places == {
        "thing_id": "path",
        "limit": "query",
        "cursor": "query",
        "state": "query",
        "If-Match": "header",
        "Idempotency-Key": "header",
    }
    statuses = {"201", "400", "401", "403", "404", "409", "412", "413", "415", "421", "422", "500"}
    assert statuses <= set(operation["responses"])
    assert "Location" in operation["responses"]["201"]["headers"]
    limit = next(one for one in operation["parameters"] if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "default": 5, "maximum": 10}


def test_two_classes_of_one_name_are_noticed() -> None:
    other = attrs.make_class("Thing", {"size": attrs.field(type=int)}, frozen=True)
    with pytest.raises(TypeError, match="two classes are called Thing"):
        described(response=attrs.make_class("Box", {
            "one": attrs.field(type=Thing), "other": attrs.field(type=other),
        }, frozen=True))  # fmt: skip


def test_body_of_a_job_is_documented_with_its_bounds() -> None:
    schemas = described(body=NewJob)["components"]["schemas"]
    priority = schemas["NewJobInput"]["properties"]["priority"]
    assert (priority["minimum"], priority["maximum"], priority["default"]) == (-1000, 1000, 0)
    assert schemas["NewJobInput"]["required"] == ["source"]
    codecs = schemas["ProfileInput"]["properties"]["codec"]["enum"]
    assert "hevc" in codecs
