"""The tools of a request of Anthropic's clients, which of them may be called, and how the answer is to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols import bodies
from chat.protocols.anthropic.body import EFFORTS, OutputConfig, Thinking
from chat.protocols.bodies import LONGEST_ECHO, complaints
from chat.protocols.payload import as_list, as_object, as_string
from chat.types import HINT, LISTED, STORED, UNKNOWN, Choice, Format, Need, Tool

CLIENTS = re.compile(r"(?:bash|text_editor|memory|computer|computer_toolset|browser_toolset)_\d{8}", re.ASCII)
"""The types of tools whose definitions the vendor has, and that the client carries out. All other types reach out."""
OF_A_FUNCTION = ("type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming")
HINTS = ("input_examples",)
HARMLESS: Mapping[str, Any] = {"defer_loading": False, "allowed_callers": ["direct"]}
"""Further fields of a function, with the value of each that asks for nothing."""
MODES = ("auto", "none", "any")
BUDGETS = ((4_096, "low"), (16_384, "medium"))
"""Tokens of thinking up to which it is no more than that much effort."""
LONGEST_LABEL = 64


def tools_of(tools: list[dict[str, Any]], needs: list[Need]) -> tuple[Tool, ...]:
    """Return the functions among the tools; all others are needs. Raises `ValidationError`."""
    read = (tool_of(tool, f"tools[{number}]", needs) for number, tool in enumerate(tools))
    return tuple(tool for tool in read if tool)


def tool_of(tool: Mapping[str, Any], place: str, needs: list[Need]) -> Tool | None:
    """Return the function that a tool is, and else note what it needs. Raises `ValidationError`."""
    kind = tool.get("type")
    if kind in (None, "custom"):
        return _function(tool, place, needs)
    known = isinstance(kind, str) and CLIENTS.fullmatch(kind)
    needs.append(
        Need("client_tool" if known else LISTED, f"{place}.type"[:LONGEST_ECHO], str(kind)[:LONGEST_LABEL], tool)
    )
    return None


def _function(tool: Mapping[str, Any], place: str, needs: list[Need]) -> Tool:
    name, schema, strict = tool.get("name"), tool.get("input_schema"), tool.get("strict")
    if not isinstance(name, str) or not name:
        raise complaints({f"{place}.name": ["This must be a string that is not empty."]})
    if not isinstance(schema, dict):
        raise complaints({f"{place}.input_schema": ["This must be a JSON Schema, an object."]})
    if strict is not None and not isinstance(strict, bool):
        raise complaints({f"{place}.strict": ["This must be true or false."]})
    for field, value in tool.items():
        if value is not None and field not in OF_A_FUNCTION and value != HARMLESS.get(field):
            kind = HINT if field in HINTS else UNKNOWN
            needs.append(Need(kind, f"{place}.{field}"[:LONGEST_ECHO], field[:LONGEST_LABEL], value))
    return Tool(name, as_string(tool.get("description")), schema, strict)


def choice_of(choice: Mapping[str, Any] | None, needs: list[Need]) -> Choice | None:
    """Return which tools the model may call. Raises `ValidationError`."""
    if choice is None:
        return None
    kind, name, alone = choice.get("type"), choice.get("name"), choice.get("disable_parallel_tool_use")
    parallel = not alone if isinstance(alone, bool) else None
    if kind == "tool" and isinstance(name, str):
        return Choice("tool", name, parallel)
    if kind in MODES:
        return Choice(kind, parallel=parallel)
    raise complaints({"tool_choice": ["This must have the type auto, any, none, or tool and then a name."]})


def format_of(config: OutputConfig, needs: list[Need]) -> Format | None:
    """Return the format of the answer, None for plain text."""
    form = config.format
    if form is None:
        return None
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        needs.append(Need(UNKNOWN, "output_config.format"))
        return None
    return Format(form["schema"], strict=True)


def effort_of(thinking: Mapping[str, Any] | None, config: OutputConfig, needs: list[Need]) -> tuple[str, str]:
    """Return how much the model is to think, "" where the client does not say, and the field that says so."""
    said = thinking or {}
    needs += bodies.needs_of(Thinking, said, "thinking.")
    if said.get("type") == "disabled":
        return "none", "thinking"
    if config.effort in EFFORTS:
        return config.effort, "output_config.effort"
    budget = said.get("budget_tokens")
    if said.get("type") != "enabled" or not isinstance(budget, int):
        return "", "thinking"
    return next((effort for most, effort in BUDGETS if budget <= most), "high"), "thinking"


def context_needs(context: Mapping[str, Any] | None) -> Iterator[Need]:
    """Yield the needs in how the vendor is to shorten a long history. That it may clear results and thoughts is none:
    another one has no need to."""
    for name, value in (context or {}).items():
        edits = as_list(value) if name == "edits" else []
        if name != "edits":
            yield Need(UNKNOWN, f"context_management.{name}"[:LONGEST_ECHO], value=value)
        for number, edit in enumerate(edits):
            kind = as_object(edit).get("type")
            if not (isinstance(kind, str) and kind.startswith("clear_")):
                yield Need(UNKNOWN, f"context_management.edits[{number}].type", str(kind)[:LONGEST_LABEL])


def container_needs(container: Any) -> Iterator[Need]:
    """Yield the needs in a container: an id would find that of another user, and skills run in it."""
    if isinstance(container, str) or (isinstance(container, dict) and container.get("id")):
        yield Need(STORED, "container", "container")
    for number, skill in enumerate(as_list(as_object(container).get("skills"))):
        if as_object(skill).get("type") != "anthropic":  # somebody's own, not one of the vendor's
            yield Need(STORED, f"container.skills[{number}]", "skill_id")
    if container is not None and not isinstance(container, str):
        yield Need(LISTED, "container", "container")
