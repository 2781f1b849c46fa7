"""Instances of JSON Schemas: the answers and arguments of a simulator that has to keep to a form.

Kept to are type, enum, const, properties, required, items, prefixItems, minItems, uniqueItems, $ref, anyOf, oneOf and
allOf, the bounds of numbers and lengths, and the usual formats; patterns are not. The same schema has always the same
instance, and as many of its properties as there is room for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

MOST_STEPS = 5_000
"""Schemas that are looked at for one instance. A small schema may have huge instances only."""
MOST_DEPTH = 64
LONGEST_TEXT = 10_000
FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "somebody@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "3f8e1c52-6d0b-4c7a-9a53-0d8c5b1f2e64",
}
IMPLIED = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array", "minItems": "array"}
"""Keywords that tell the type of a schema without one."""


class NoInstance(Exception):
    """The schema has no instance, or none that is small."""


def instance_of(schema: Any) -> Any:
    """Return an instance of `schema`. Raises `NoInstance`."""
    return _Maker(schema).make(schema, "text", 0)


class _Maker:
    """Makes one instance of the schema `root`."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.steps = self.depth = 0
        self.within: list[str] = []
        """The references that are being followed: an instance that needs the same one again would never end."""

    def make(self, schema: Any, name: str, number: int) -> Any:
        """Return the `number`-th instance, which is to be another one than those before; `name` is its property's."""
        self.steps += 1
        if self.steps > MOST_STEPS or self.depth > MOST_DEPTH or schema is False:
            raise NoInstance
        self.depth += 1
        try:
            return self.one(schema if isinstance(schema, Mapping) else {}, name, number)
        finally:
            self.depth -= 1

    def one(self, schema: Mapping[str, Any], name: str, number: int) -> Any:
        if "$ref" in schema:
            return self.follow(schema, name, number)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list):
            return self.chosen(schema["enum"], number)
        for several in ("anyOf", "oneOf"):
            if isinstance(schema.get(several), list):
                return self.first(schema, several, name, number)
        if isinstance(schema.get("allOf"), list):
            return self.make(self.merged([_but(schema, "allOf"), *schema["allOf"]]), name, number)
        return self.first_type(schema, name, number)

    def follow(self, schema: Mapping[str, Any], name: str, number: int) -> Any:
        ref = schema["$ref"]
        if not isinstance(ref, str) or ref in self.within:
            raise NoInstance
        self.within.append(ref)
        try:
            return self.make(self.merged([self.at(ref), _but(schema, "$ref")]), name, number)
        finally:
            self.within.pop()

    def at(self, ref: str) -> Any:
        """Return what stands at a JSON pointer within the schema."""
        found, (document, _, pointer) = self.root, ref.partition("#")
        if document:
            raise NoInstance  # nobody is asked for it
        for step in pointer.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key) if isinstance(found, list) else key]
            except (IndexError, KeyError, TypeError, ValueError):
                raise NoInstance from None
        return found

    def merged(self, schemas: Iterable[Any]) -> Any:
        """Return one schema that asks for what all of them do, as far as they do not contradict each other."""
        whole: dict[str, Any] = {}
        for schema in schemas:
            if schema is False:
                raise NoInstance
            for keyword, value in schema.items() if isinstance(schema, Mapping) else ():
                before = whole.get(keyword)
                if keyword == "required" and isinstance(before, list) and isinstance(value, list):
                    value = [*before, *value]
                elif keyword in ("properties", "$defs") and isinstance(before, dict) and isinstance(value, Mapping):
                    self.steps += len(before) // 20
                    both = {key: {"allOf": [before[key], value[key]]} for key in before.keys() & value.keys()}
                    value = {**before, **value, **both}
                elif keyword == "enum" and isinstance(before, list) and isinstance(value, list):
                    value = [item for item in before if item in value]
                elif keyword in ("$ref", "anyOf", "oneOf", "allOf") and before is not None:
                    keyword, value = "allOf", [*whole.pop("allOf", []), {keyword: value}]
                whole[keyword] = value
        return whole

    def first(self, schema: Mapping[str, Any], several: str, name: str, number: int) -> Any:
        """Return an instance of the first choice that has one."""
        for choice in schema[several]:
            try:
                return self.make(self.merged([_but(schema, several), choice]), name, number)
            except NoInstance:
                continue
        raise NoInstance

    def chosen(self, values: list[Any], number: int) -> Any:
        if not values:
            raise NoInstance
        return values[number % len(values)]

    def first_type(self, schema: Mapping[str, Any], name: str, number: int) -> Any:
        """Return an instance of the first of the schema's types that has one; null is the last to be tried."""
        said = schema.get("type") or next((kind for word, kind in IMPLIED.items() if word in schema), "string")
        kinds = said if isinstance(said, list) else [said]
        for kind in sorted(kinds, key=lambda kind: kind == "null"):
            try:
                return self.of_type(kind, schema, name, number)
            except NoInstance:
                continue
        raise NoInstance

    def of_type(self, kind: Any, schema: Mapping[str, Any], name: str, number: int) -> Any:
        if kind == "object":
            return self.object(schema, number)
        if kind == "array":
            return self.array(schema, name)
        if kind == "string":
            return self.text(schema, name, number)
        if kind in ("integer", "number"):
            return self.number(schema, kind, number)
        if kind == "boolean":
            return number % 2 == 0
        if kind == "null":
            return None
        raise NoInstance

    def object(self, schema: Mapping[str, Any], number: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        properties = properties if isinstance(properties, Mapping) else {}
        required = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        made: dict[str, Any] = {}
        for name in dict.fromkeys([*properties, *required]):
            others = schema.get("additionalProperties", True)
            try:
                made[name] = self.make(properties.get(name, others), name, number)
            except NoInstance:
                if name in required:
                    raise
        return made

    def array(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        least, most = _count(schema, "minItems", 0), _count(schema, "maxItems", MOST_STEPS)
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        made: list[Any] = []
        for number in range(min(max(least, len(first), 1), most)):
            inner = first[number] if number < len(first) else schema.get("items", True)
            try:
                made.append(self.make(inner, name, number))
            except NoInstance:
                if number < least:
                    raise
                break
        return made

    def text(self, schema: Mapping[str, Any], name: str, number: int) -> str:
        least, most = _count(schema, "minLength", 0), _count(schema, "maxLength", LONGEST_TEXT)
        if least > min(most, LONGEST_TEXT):
            raise NoInstance
        word = FORMATS.get(str(schema.get("format"))) or (f"{name} {number + 1}" if number else name)
        return word.ljust(least, ".")[:most]

    def number(self, schema: Mapping[str, Any], kind: str, number: int) -> int | float:
        step = _number(schema, "multipleOf")
        low, high = _number(schema, "minimum"), _number(schema, "maximum")
        above, below = _number(schema, "exclusiveMinimum"), _number(schema, "exclusiveMaximum")
        least = max((bound for bound in (low, above) if bound is not None), default=None)
        most = min((bound for bound in (high, below) if bound is not None), default=None)
        try:
            for value in _numbers(least, most, step or 1, number, whole=kind == "integer" or step is not None):
                within = (least is None or value >= least) and (most is None or value <= most)
                if within and value not in (above, below):
                    return int(value) if kind == "integer" else value
        except (OverflowError, ZeroDivisionError):
            pass
        raise NoInstance


def _numbers(
    least: float | None, most: float | None, step: float, number: int, *, whole: bool
) -> Iterator[int | float]:
    """Yield numbers that may lie between the bounds: near 1, next to either bound, and in the middle."""
    near = least if least is not None else min(1, most) if most is not None else 1
    yield from (math.ceil(near / step) * step + further * step for further in (number, number + 1, 0, 1))
    if most is not None:
        yield from (math.floor(most / step) * step - less * step for less in (0, 1))
    if least is not None and most is not None and not whole:
        yield (least + most) / 2


def _but(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}


def _count(schema: Mapping[str, Any], keyword: str, default: int) -> int:
    value = _number(schema, keyword)
    return default if value is None else max(math.ceil(value), 0)


def _number(schema: Mapping[str, Any], keyword: str) -> int | float | None:
    value = schema.get(keyword)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None
