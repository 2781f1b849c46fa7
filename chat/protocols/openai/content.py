"""What stands in a request of OpenAI's clients: the messages, their parts, tools, the choice and the format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.protocols import media, turns
from chat.protocols.bodies import LONGEST_ECHO, complaints
from chat.protocols.openai import thoughts
from chat.protocols.openai.body import NAME, ROLES
from chat.protocols.openai.reply import KIND, field_of, thought_in
from chat.protocols.payload import as_list, as_object, as_string
from chat.protocols.turns import fault, object_at, text_at
from chat.types import (
    HINT,
    LISTED,
    STORED,
    UNKNOWN,
    Call,
    Choice,
    Format,
    Message,
    Need,
    Opaque,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    compact,
    parts_of,
)

PARTICIPANT = re.compile(r"[^\s<|\\/>]{1,64}")
"""A participant's name, as OpenAI's reference has it."""
OF_A_MESSAGE = ("role", "content", "name", "refusal", "tool_calls", "tool_call_id", "audio", "function_call")
HARMLESS = ("annotations", *thoughts.FIELDS)
"""Fields of an answer that come back with it and that a route can do without."""
OF_A_PART = ("type", "text", "refusal", "prompt_cache_breakpoint", "cache_control")
"""The fields that a part may have beside the one that is called by its type; the last two are about cost alone."""
OF_A_TOOL = ("type", "function", "cache_control")
OF_A_FUNCTION = ("name", "description", "parameters", "strict", "cache_control")
CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def read_message(item: Any, place: str, needs: list[Need]) -> Message:
    """Return the message at `place`. Raises `InvalidMessageFormatError`."""
    item = object_at(item, place)
    role, name = item.get("role"), item.get("name")
    if role == "function":
        return Message("user", (turns.opaque(NAME, item, f"{place}.role", needs, "functions"),))
    if not isinstance(role, str) or role not in ROLES:
        raise fault(f"The role must be one of {', '.join(ROLES)}.", f"{place}.role", role)
    if name is not None and not (isinstance(name, str) and PARTICIPANT.fullmatch(name)):
        complaint = "A name is 1 to 64 characters, none of them white space or one of < | \\ / >."
        raise fault(complaint, f"{place}.name", name)
    known = (*OF_A_MESSAGE, (field_of(item) or None) if role == "assistant" else None)
    further = {field: value for field, value in item.items() if field not in known and value is not None}
    needs += [
        Need(HINT if field in HARMLESS else UNKNOWN, f"{place}.{field}"[:LONGEST_ECHO], value=value)
        for field, value in further.items()
    ]
    needs += turns.stored_in(further, place)
    if item.get("audio"):
        needs.append(Need(STORED, f"{place}.audio.id", "audio"))
    parts = _content(item, place, needs)
    needs += turns.misplaced_in(ROLES[role], parts, f"{place}.content")
    if role == "tool":
        return Message("user", (Result(text_at(item, "tool_call_id", place), parts),))
    if role == "assistant":
        return Message("assistant", thoughts.beside(item) + parts + _said(item, place, needs), name or "")
    if role == "user" and not turns.has_words(parts):
        raise fault("The content must not be blank.", f"{place}.content", item.get("content"))
    return Message(ROLES[role], parts, name or "")


def _said(item: Mapping[str, Any], place: str, needs: list[Need]) -> tuple[Part, ...]:
    """Return what an assistant's message has beside its content."""
    parts: list[Part] = []
    if refusal := item.get("refusal"):
        parts.append(Refusal(text_at(item, "refusal", place)))
    if item.get("function_call"):
        parts.append(turns.opaque(NAME, item["function_call"], f"{place}.function_call", needs, "functions"))
    calls = item.get("tool_calls") or []
    if not isinstance(calls, list):
        raise fault("The calls must be a list.", f"{place}.tool_calls", calls)
    parts += [_call(call, f"{place}.tool_calls[{number}]", needs) for number, call in enumerate(calls)]
    if not parts and not refusal and item.get("content") is None:
        return ()
    return tuple(parts)


def _call(call: Any, place: str, needs: list[Need]) -> Part:
    call = object_at(call, place)
    if call.get("type") == "custom":
        custom = as_object(call.get("custom"))
        needs.append(Need("custom_tool", place, "custom"))
        return Call(text_at(call, "id", place), str(custom.get("name", "")), compact(custom))
    function = object_at(call.get("function"), f"{place}.function")
    arguments = turns.arguments_of(function.get("arguments"), f"{place}.function.arguments")
    return Call(text_at(call, "id", place), text_at(function, "name", f"{place}.function"), arguments)


def _content(item: Mapping[str, Any], place: str, needs: list[Need]) -> tuple[Part, ...]:
    content, place = item.get("content"), f"{place}.content"
    if isinstance(content, str):
        return parts_of(content)
    if content is None and item["role"] != "user":
        return ()
    if not isinstance(content, list):
        raise fault("The content must be a string or a list of parts.", place, content)
    return tuple(_part(part, f"{place}[{number}]", needs) for number, part in enumerate(content))


def _part(part: Any, place: str, needs: list[Need]) -> Part:
    part = object_at(part, place)
    kind = part.get("type")
    needs += turns.further_in(part, (*OF_A_PART, kind), place)
    if isinstance(kind, str):
        needs += turns.stored_in(part.get(kind), f"{place}.{kind}")
    if kind == "text":
        return Text(text_at(part, "text", place))
    if kind == "refusal":
        return Refusal(text_at(part, "refusal", place))
    if kind == KIND:
        return Thinking(thought_in(part))
    if kind == "image_url":
        image = object_at(part.get("image_url"), f"{place}.image_url")
        url, detail = text_at(image, "url", f"{place}.image_url"), as_string(image.get("detail"))
        needs += turns.further_in(image, ("url", "detail"), f"{place}.image_url")
        return media.image_of(url, detail, f"{place}.image_url", needs)
    if kind == "file":
        return _file(object_at(part.get("file"), f"{place}.file"), f"{place}.file", needs)
    if not isinstance(kind, str):
        raise fault('A part is an object with a type, such as {"type": "text", "text": "..."}.', place, part)
    own = "audio" if kind == "input_audio" else UNKNOWN
    return turns.opaque(NAME, part, f"{place}.{kind}"[:LONGEST_ECHO], needs, own)


def _file(file: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    if file.get("file_id"):
        return Opaque(NAME, file)
    needs += turns.further_in(file, ("file_id", "file_data", "filename"), place)
    url, name = text_at(file, "file_data", place), as_string(file.get("filename"))
    media_type, data = media.split_data_url(url, f"{place}.file_data")
    return media.document_of(media_type, data, name, f"{place}.file_data", needs)


# --- tools, choice, format --------------------------------------------------------------------------------------------
def tools_of(tools: list[dict[str, Any]], needs: list[Need]) -> tuple[Tool, ...]:
    """Return the functions among the tools; all others are needs. Raises `ValidationError`."""
    found: list[Tool] = []
    for number, tool in enumerate(tools):
        place, kind = f"tools[{number}]", tool.get("type")
        if kind == "function":
            found.append(function_of(tool.get("function"), f"{place}.function"))
            needs += turns.further_in(tool, OF_A_TOOL, place)
            needs += turns.further_in(tool["function"], OF_A_FUNCTION, f"{place}.function")
        elif kind == "custom":
            needs.append(Need("custom_tool", place, "custom", tool))
        else:
            needs.append(Need(LISTED, f"{place}.type", str(kind)[:64], tool))
    return tuple(found)


def function_of(function: Any, place: str) -> Tool:
    """Return the tool that a function's definition is. Raises `ValidationError`."""
    if not isinstance(function, dict):
        raise complaints({place: ["This must be an object with a name."]})
    name, parameters, strict = function.get("name"), function.get("parameters"), function.get("strict")
    if not isinstance(name, str) or not name:
        raise complaints({f"{place}.name": ["This must be a string that is not empty."]})
    if parameters is not None and not isinstance(parameters, dict):
        raise complaints({f"{place}.parameters": ["This must be a JSON Schema, an object."]})
    if strict is not None and not isinstance(strict, bool):
        raise complaints({f"{place}.strict": ["This must be true or false."]})
    return Tool(name, as_string(function.get("description")), parameters, strict)


def choice_of(choice: Any, parallel: bool | None, needs: list[Need]) -> Choice | None:
    """Return which tools the model may call. Raises `ValidationError`."""
    if choice is None:
        return None if parallel is None else Choice(parallel=parallel)
    if isinstance(choice, str) and choice in CHOICES:
        return Choice(CHOICES[choice], parallel=parallel)  # type: ignore[arg-type]
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function" and isinstance(name := as_object(choice.get("function")).get("name"), str):
        return Choice("tool", name, parallel)
    if kind == "allowed_tools" and isinstance(allowed := choice.get("allowed_tools"), dict):
        functions = [as_object(as_object(tool).get("function")) for tool in as_list(allowed.get("tools"))]
        names = [function.get("name") for function in functions]
        return allowed_of(allowed, names, parallel, needs, "tool_choice.allowed_tools")
    if isinstance(kind, str) and kind != "function":
        needs.append(Need("custom_tool" if kind == "custom" else UNKNOWN, "tool_choice"))
        return None
    raise complaints({"tool_choice": ["This must be auto, none, required, or name a function."]})


def allowed_of(
    choice: Mapping[str, Any], names: list[Any], parallel: bool | None, needs: list[Need], place: str
) -> Choice:
    """Return the choice among the tools of these `names`; other tools than functions have none, and are a need. So is a
    list of nothing: elsewhere it would be one of everything. Raises `ValidationError`."""
    if (mode := choice.get("mode", "auto")) not in ("auto", "required"):
        raise complaints({f"{place}.mode": ["This must be auto or required."]})
    allowed = tuple(name for name in names if isinstance(name, str))
    if len(allowed) < len(names) or not allowed:
        needs.append(Need(UNKNOWN, f"{place}.tools"))
    return Choice("any" if mode == "required" else "auto", "", parallel, allowed)


def format_of(form: Mapping[str, Any] | None, needs: list[Need]) -> Format | None:
    """Return the format of the answer, None for plain text. Raises `ValidationError`."""
    kind = form.get("type") if form else "text"
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        needs.append(Need("json_object", "response_format"))
        return Format(None)
    if kind != "json_schema":
        needs.append(Need(UNKNOWN, "response_format.type"))
        return None
    inner = form.get("json_schema")
    if not isinstance(inner, dict) or not isinstance(inner.get("schema", {}), dict):
        raise complaints({"response_format.json_schema": ["This must be an object with a name and a schema."]})
    name, strict = inner.get("name"), inner.get("strict")
    needs += turns.further_in(form, ("type", "json_schema"), "response_format")
    needs += turns.further_in(inner, ("name", "description", "schema", "strict"), "response_format.json_schema")
    return Format(
        inner.get("schema") or {},
        name if isinstance(name, str) else "output",
        strict if isinstance(strict, bool) else None,
        as_string(inner.get("description")),
    )
