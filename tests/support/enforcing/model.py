"""The language model behind the three APIs: it asks about the cities of a question, and says what it was told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CITIES = re.compile(r"Rome|Oslo")


@dataclass(frozen=True)
class Said:
    """What the model says: words, an object of the schema, or the arguments of its calls of one tool."""

    words: str = ""
    object: Any = None
    tool: str = ""
    calls: tuple[dict[str, Any], ...] = ()


def answer(question: str, *, schema: Any = None, tools: Sequence[tuple[str, Any]] = (), results: Sequence[str]) -> Said:
    """Return what the model says of a question, given the names of its tools with their schemas, and their results.

    Of tools among which is none about a city, it calls the first with an object of its schema, as clients want that
    have no other way to get one.
    """
    if schema is not None:
        return Said(object=instance(schema))
    if results:
        return Said("They say: " + ", ".join(results))
    if not tools:
        return Said("Good day.")
    name, about = next((tool for tool in tools if "city" in tool[1]["properties"]), tools[0])
    if set(about["properties"]) != {"city"}:
        return Said(tool=name, calls=(instance(about),))
    cities = CITIES.findall(question)
    return Said(tool=name, calls=tuple({"city": city} for city in cities)) if cities else Said("Good day.")


def instance(schema: Any) -> Any:
    """Return a value of the schema."""
    if schema["type"] == "object":
        return {name: instance(inner) for name, inner in schema["properties"].items()}
    return {"string": "Rome", "integer": 21}[schema["type"]]
