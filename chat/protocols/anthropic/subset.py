"""The JSON Schemas that Anthropic's models can be held to. Source: Anthropic's guide to structured outputs."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from chat.protocols.payload import as_list, as_object

REFUSED = frozenset(
    (
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "maxItems", "uniqueItems", "contains", "prefixItems", "unevaluatedItems"),
        *("minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired"),
        *("dependentSchemas", "unevaluatedProperties", "oneOf", "not", "if", "then", "else", "$dynamicRef"),
    )
)
"""Keywords that are outside of it."""
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
DEFINITIONS = ("$defs", "definitions")
SPEAKS = ("type", "anyOf", "allOf", "enum", "const", "$ref")


def fits(schema: Any) -> bool:
    """Return whether all of `schema` is within the subset: each object is closed, nothing has a size, and no definition
    is within itself."""
    waiting, found = ["#"], dict[str, list[str]]()
    while waiting:
        ref = waiting.pop()
        if ref in found:
            continue
        refs = _refs(_at(schema, ref))
        if refs is None:
            return False
        found[ref] = refs
        waiting += refs
    try:
        TopologicalSorter(found).prepare()
    except CycleError:
        return False
    return True


def _at(schema: Any, ref: str) -> Any:
    if ref == "#":
        return schema
    root, _, path = ref.partition("/")
    place, _, name = path.partition("/")
    definitions = schema.get(place) if root == "#" and place in DEFINITIONS else None
    return definitions.get(name) if isinstance(definitions, Mapping) else None


def _refs(schema: Any) -> list[str] | None:
    """Return the definitions that `schema` refers to, None where it is outside of the subset."""
    waiting, refs = [schema], list[str]()
    while waiting:
        found = waiting.pop()
        if not isinstance(found, Mapping) or found.keys() & REFUSED or not found.keys() & set(SPEAKS):
            return None
        is_object = found.get("type") == "object" or "properties" in found
        if is_object and found.get("additionalProperties") is not False:
            return None
        if found.get("minItems") not in (None, 0, 1) or found.get("format") not in (None, *FORMATS):
            return None
        if "$ref" in found:
            refs.append(str(found["$ref"]))
        for name in ("anyOf", "allOf"):
            waiting += as_list(found.get(name))
        waiting += as_object(found.get("properties")).values()
        if "items" in found:
            waiting.append(found["items"])
    return refs
