"""docs/encoders.md says of every encoder what its settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffcluster.encoders.backend import EncoderSchema
from ffcluster.encoders.neutral import from_reference, reference_schema
from tests.encoders.argv import offers

_DOCUMENT = Path(__file__).parents[2] / "docs" / "encoders.md"
_SCHEMAS = [schema for _, schema in offers()]


def row(schema: EncoderSchema) -> str:
    """The encoder's row in the document's table of scales."""
    quality = "none"
    if schema.quality is not None:
        low, high = schema.quality
        quality = f"{low:g} to {high:g}, default {schema.default_quality:g}"
    ladder = schema.presets
    presets = f"{ladder[0]} ... {ladder[-1]} ({len(ladder)})" if ladder else "none"
    points = "its own"
    if schema.reference_quality:
        reference = reference_schema(schema.codec)
        places = [q for q in (18, 23, 28, 35, 45) if q <= (reference.quality or (0, 63))[1]]
        points = ", ".join(f"{q}: {from_reference(schema, q):g}" for q in places)
    modes = ", ".join(
        mode + (" with a peak" if mode in schema.peak else "") for mode in schema.rate_modes
    )
    return f"| `{schema.encoder}` | {quality} | {points} | {presets} | {modes} |"


@pytest.mark.parametrize("schema", _SCHEMAS, ids=lambda s: s.encoder)
def test_encoder_is_documented_as_it_is(schema: EncoderSchema) -> None:
    assert row(schema) in _DOCUMENT.read_text(encoding="utf-8")
