"""What the simulator makes of a JSON Schema is an instance of it, by the judgement of the package `jsonschema`."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chat.providers.simulator.instances import NoInstance, instance_of

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "others": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"$ref": "#/$defs/node"},
            },
            "required": ["name", "left", "others"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


def made(schema: Any) -> Any:
    instance = instance_of(schema)
    assert list(Draft202012Validator(schema).iter_errors(instance)) == []
    return instance


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({}, "text"),
        (True, "text"),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {"city": "city"}),
        (
            {"properties": {"a": {"properties": {"b": {"const": [None]}}}}, "required": ["z"]},
            {"a": {"b": [None]}, "z": "z"},
        ),
        ({"enum": ["°C", "°F"]}, "°C"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "null"}, None),
        ({"type": "boolean"}, True),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1.5}, 1.25),
        ({"type": "integer", "minimum": 7, "exclusiveMaximum": 9, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "number", "maximum": -3}, -3),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
            ["text", "text 2", "text 3"],
        ),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "items": False}, [1, False]),
        ({"type": "string", "minLength": 6, "maxLength": 7}, "text.."),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"anyOf": [False, {"type": "integer"}]}, 1),
        ({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": "a"}),
        (
            {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}, {"required": ["b"]}]},
            {"a": 1, "b": "b"},
        ),
        (TREE, {"name": "name", "left": None, "others": []}),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "integer"}}}, 1),
    ],
    ids=repr,
)
def test_an_instance(schema, instance):
    assert made(schema) == instance


ENDLESS = {"$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}, "$ref": "#/$defs/a"}
DOUBLING = {
    "$defs": {
        f"d{n}": {"properties": {side: {"$ref": f"#/$defs/d{n + 1}"} for side in "ab"}, "required": ["a", "b"]}
        for n in range(40)
    }
    | {"d40": {"const": 1}},
    "$ref": "#/$defs/d0",
}
DEEP: Any = {"const": 1}
for _ in range(100):
    DEEP = {"properties": {"a": DEEP}, "required": ["a"]}


@pytest.mark.parametrize(
    "schema",
    [
        False,
        ENDLESS,
        DOUBLING,
        DEEP,
        {"enum": []},
        {"anyOf": []},
        {"type": "array", "minItems": 10**12},
        {"type": "string", "minLength": 10**12},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"$ref": 7},
        {"type": "dragon"},
        {"properties": {"a": False}, "required": ["a"]},
    ],
    ids=lambda schema: repr(schema)[:60],
)
def test_none_is_said_so_and_soon(schema):
    began = time.process_time()
    with pytest.raises(NoInstance):
        instance_of(schema)
    assert time.process_time() - began < 2


def objects(inner: Any) -> Any:
    def closed(properties: dict[str, Any], count: int) -> dict[str, Any]:
        required = list(properties)[:count]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    return st.builds(closed, st.dictionaries(st.text(max_size=5), inner, max_size=4), st.integers(0, 4))


LEAVES = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(max_size=4), min_size=1, max_size=3)),
    st.builds(
        lambda value: {"const": value}, st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    ),
    st.builds(
        lambda least, room: {"type": "integer", "minimum": least, "maximum": least + room},
        st.integers(-9, 9),
        st.integers(0, 9),
    ),
    st.just({"$ref": "#/$defs/leaf"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        objects(inner)
        | st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3))
        | st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda schema: {"allOf": [schema, {"description": "whatever"}]}, inner)
    ),
    max_leaves=12,
)


@given(SCHEMAS)
def test_whatever_the_schema_its_instance_is_valid(schema):
    made({**schema, "$defs": {"leaf": {"type": "string", "maxLength": 3}}})
