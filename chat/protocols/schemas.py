"""The JSON Schemas of the bodies, for the OpenAPI schema and the pages made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter

from chat.protocols.turns import MOST_MESSAGES

TEXT = {"type": "string"}
NOT_BLANK: dict[str, Any] = {"type": "string", "pattern": r"\S"}
A_USERS = {"type": "object", "properties": {"role": {"const": "user"}}, "required": ["role"]}


def messages_schema(roles: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a vendor's messages. Their parts are the vendor's own documentation's."""
    content = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}
    message = {
        "type": "object",
        "properties": {"role": {"enum": list(roles)}, "content": content},
        "required": ["role"],
    }
    return {"type": "array", "items": message, "minItems": 1, "maxItems": MOST_MESSAGES, "contains": A_USERS}


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a body, in one piece."""
    is_body = isinstance(kind, type) and issubclass(kind, BaseModel)
    schema = TypeAdapter(kind).json_schema(mode="validation" if is_body else "serialization")
    inner = schema.pop("$defs", {})
    whole: dict[str, Any] = _inlined(schema, inner)
    return whole


def _inlined(schema: Any, inner: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, inner) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(inner[schema["$ref"].rpartition("/")[2]], inner)
    return {
        name: _inlined(value, inner)
        for name, value in schema.items()
        if name not in ("title", "default") or isinstance(value, dict)
    }


def closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of objects that have exactly these."""
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def with_facts(example: Mapping[str, Any], words: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of objects like `example`, in which all is a fact that is not one of the `words`. Each fact is
    in them all, but for a wait that may have no end."""
    named = {name: facts[name] for name in example if name not in words}
    return closed({**words, **named}) | {"required": [name for name in example if name != "retry_after"]}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body, with null for each of its fields that may be left out."""
    for name, field in schema["properties"].items():
        if field.get("type") == "object":
            nullable(field)
        if name not in schema.get("required", ()) and "type" in field:
            field["type"] = [field["type"], "null"]
    return schema
