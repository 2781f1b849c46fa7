"""The JSON Schemas that OpenAI answers strictly by. Source: OpenAI's guide to structured outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
OBJECTS = ("properties", "$defs", "definitions")
ONES = ("items", "not")


def is_strict(schema: Mapping[str, Any] | None) -> bool:
    """Return whether each object in `schema` is closed and requires all of its properties."""
    waiting: list[Any] = [schema or {}]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, Mapping):
            continue
        if found.get("type") == "object" or "properties" in found:
            properties = found.get("properties") or {}
            if found.get("additionalProperties") is not False or set(properties) - set(found.get("required") or ()):
                return False
        waiting.extend(_within(found))
    return True


def _within(schema: Mapping[str, Any]) -> Iterator[Any]:
    for name in LISTS:
        yield from schema.get(name) or ()
    for name in OBJECTS:
        yield from (schema.get(name) or {}).values()
    for name in ONES:
        yield schema.get(name)
