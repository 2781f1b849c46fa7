"""The tools of a request of the Responses API, which of them may be called, and the format of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols.bodies import LONGEST_ECHO, complaints
from chat.protocols.openai.content import CHOICES, allowed_of, function_of
from chat.protocols.payload import as_list, as_object, as_string
from chat.protocols.responses.items import LONGEST_LABEL
from chat.protocols.turns import further_in, stored_in
from chat.types import LISTED, UNKNOWN, Choice, Format, Need, Tool

OF_A_FUNCTION = ("type", "name", "description", "parameters", "strict", "output_schema")
HARMLESS: Mapping[str, Any] = {"async": False, "defer_loading": False, "allowed_callers": ["direct"]}
"""Further fields of a function, with the value of each that asks for nothing."""
CLIENTS = ("local_shell", "apply_patch", "computer", "computer_use_preview", "namespace", "tool_search")
"""Tools that the client carries out, or that only arrange others. All but these and functions reach out."""


def tools_of(tools: Any, needs: list[Need], place: str = "tools") -> tuple[Tool, ...]:
    """Return the functions among the tools; all others are needs. Raises `ValidationError`."""
    found: list[Tool] = []
    for number, tool in enumerate(as_list(tools)):
        where = f"{place}[{number}]"
        if not isinstance(tool, dict):
            raise complaints({where: ["This must be an object."]})
        kind = str(tool.get("type"))[:LONGEST_LABEL]
        if kind == "function":
            found.append(function_of(tool, where))
            needs += _further(tool, where)
            continue
        if kind == "custom":
            needs.append(Need("custom_tool", where, kind, tool))
        elif kind in CLIENTS or (kind == "shell" and _is_local(tool)):
            needs.append(Need(UNKNOWN, f"{where}.type", kind, tool))
        else:
            needs.append(Need(LISTED, f"{where}.type", kind, tool))
        tools_of(tool.get("tools"), needs, f"{where}.tools")
        needs += stored_in(tool, where)
    return tuple(found)


def _further(tool: Mapping[str, Any], place: str) -> Iterator[Need]:
    for name, value in tool.items():
        if value is not None and name not in OF_A_FUNCTION and value != HARMLESS.get(name):
            yield Need(UNKNOWN, f"{place}.{name}"[:LONGEST_ECHO], name[:LONGEST_LABEL], value)


def _is_local(tool: Mapping[str, Any]) -> bool:
    return bool(as_object(tool.get("environment")).get("type") == "local")


def choice_of(choice: Any, parallel: bool | None, needs: list[Need]) -> Choice | None:
    """Return which tools the model may call. Raises `ValidationError`."""
    if choice is None:
        return None if parallel is None else Choice(parallel=parallel)
    if isinstance(choice, str) and choice in CHOICES:
        return Choice(CHOICES[choice], parallel=parallel)  # type: ignore[arg-type]
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function" and isinstance(name := choice.get("name"), str):
        return Choice("tool", name, parallel)
    if kind == "allowed_tools":
        listed = as_list(choice.get("tools"))
        functions = [tool if as_object(tool).get("type") == "function" else {} for tool in listed]
        names = [function.get("name") for function in functions]
        return allowed_of(choice, names, parallel, needs, "tool_choice")
    if isinstance(kind, str) and kind != "function":
        needs.append(Need("custom_tool" if kind == "custom" else UNKNOWN, "tool_choice", kind[:LONGEST_LABEL]))
        return None
    raise complaints({"tool_choice": ["This must be auto, none, required, or name a function."]})


def format_of(form: Mapping[str, Any] | None, needs: list[Need]) -> Format | None:
    """Return the format of the answer, None for plain text. Raises `ValidationError`."""
    kind = form.get("type") if form else "text"
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        needs.append(Need("json_object", "text.format"))
        return Format(None)
    if kind != "json_schema":
        needs.append(Need(UNKNOWN, "text.format.type"))
        return None
    name, schema = form.get("name"), form.get("schema")
    if not isinstance(schema, dict) or not isinstance(name, str):
        raise complaints({"text.format": ["A json_schema has a name and a schema, which is an object."]})
    needs += further_in(form, ("type", "name", "description", "schema", "strict"), "text.format")
    return Format(schema, name, form.get("strict") is True, as_string(form.get("description")))
