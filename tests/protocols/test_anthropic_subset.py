"""The JSON Schemas that Anthropic's models can be held to."""

from __future__ import annotations

from typing import Any

import pytest

from chat.protocols.anthropic.subset import fits
from tests.support import messages as api

OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": False}
NODE = OBJECT | {"properties": {"next": {"$ref": "#/$defs/Node"}}}
LEAF = OBJECT | {"properties": {"minimum": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "within"),
    [
        (api.SCHEMA, True),
        (OBJECT | {"properties": {"a": {"type": "array", "items": LEAF, "minItems": 1}}, "required": ["a"]}, True),
        ({"anyOf": [{"type": "null"}, LEAF]}, True),
        ({"$ref": "#/$defs/Leaf", "$defs": {"Leaf": LEAF}}, True),
        (OBJECT | {"properties": {n: {"$ref": "#/definitions/L"} for n in "ab"}, "definitions": {"L": LEAF}}, True),
        ({"type": "string", "format": "date-time", "enum": ["a"]}, True),
        ({"type": "object"}, False),
        (OBJECT | {"properties": {"a": {"type": "object", "properties": {}}}}, False),
        (OBJECT | {"properties": {"a": {"type": "integer", "minimum": 1}}}, False),
        (OBJECT | {"properties": {"a": {"type": "array", "items": {"type": "string"}, "minItems": 2}}}, False),
        ({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}}, False),
        (OBJECT | {"properties": {"a": {"$ref": "#"}}}, False),
        ({"$ref": "#/$defs/Nowhere", "$defs": {}}, False),
        ({"$ref": "https://x.example/schema"}, False),
        ({"type": "string", "format": "color"}, False),
        ({"oneOf": [LEAF]}, False),
        ({}, False),
        (None, False),
    ],
    ids=str,
)
def test_the_schemas_that_the_api_can_hold_a_model_to(schema, within):
    assert fits(schema) is within


def test_a_schema_is_read_in_a_time_that_grows_with_its_length():
    chain = {f"D{n}": OBJECT | {"properties": {s: {"$ref": f"#/$defs/D{n + 1}"} for s in "ab"}} for n in range(60)}
    assert fits({"$ref": "#/$defs/D0", "$defs": chain | {"D60": LEAF}})
