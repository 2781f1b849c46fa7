"""A chat of another protocol as OpenAI's Chat Completions API has it, with all that it enforces mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chat.protocols.ids import fit
from chat.types import Call, ChatRequest, Choice, Document, Format, Image, Message, Part, Refusal, Result, Text, Tool

LONGEST_ID = 40
LONGEST_NAME = 64
MODES = {"auto": "auto", "none": "none", "any": "required"}
IMAGE_BELOW = "(image below)"


def body_of(request: ChatRequest, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the messages and the fields of `sent`, by OpenAI's names."""
    messages = [item for message in request.messages for item in _messages(message, "name" in sent)]
    body: dict[str, Any] = {"messages": messages}
    body |= {name: sent[name] for name in ("temperature", "top_p") if name in sent}
    if "stop" in sent:
        body["stop"] = list(sent["stop"])
    if "n" in sent:
        body["n"] = sent["n"]
    if "effort" in sent:
        body["reasoning_effort"] = sent["effort"]
    if "format" in sent:
        body["response_format"] = _format(sent["format"])
    if "tools" in sent:
        body["tools"] = [{"type": "function", "function": _function(tool)} for tool in sent["tools"]]
    return body | (_choice(sent["choice"]) if "choice" in sent and "tools" in sent else {})


def _messages(message: Message, named: bool) -> Iterable[dict[str, Any]]:
    """Yield the messages that a turn becomes: one for each result, and one for all the rest."""
    results = [part for part in message.parts if isinstance(part, Result)]
    yield from ({"role": "tool", "tool_call_id": fit(r.call_id, LONGEST_ID), "content": _result(r)} for r in results)
    rest = [part for part in message.parts if not isinstance(part, Result)]
    below = [part for result in results for part in result.parts if _stands_below(part)]
    name = {"name": message.name} if named and message.name else {}
    if message.role == "assistant":
        yield _assistant(rest) | name
    elif message.role == "system":
        yield {"role": "system", "content": "".join(part.text for part in rest if isinstance(part, Text))} | name
    elif rest or below:
        yield {"role": "user", "content": _content([*below, *rest])} | name


def _assistant(parts: Sequence[Part]) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, Text))
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    calls = [part for part in parts if isinstance(part, Call)]
    said: dict[str, Any] = {"role": "assistant", "content": text or (None if calls or refusal else "")}
    if refusal:
        said["refusal"] = refusal
    if calls:
        said["tool_calls"] = [
            {
                "id": fit(call.id, LONGEST_ID),
                "type": "function",
                "function": {"name": fit(call.name, LONGEST_NAME), "arguments": call.arguments.strip() or "{}"},
            }
            for call in calls
        ]
    return said


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts if not (isinstance(part, Text) and not part.text)]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": part.as_url} | detail}
    if isinstance(part, Document) and part.data:
        return {"type": "file", "file": {"filename": part.name or "document.pdf", "file_data": part.as_url}}
    return {"type": "text", "text": words_of(part)}


def words_of(part: Part) -> str:
    """Return a part as text."""
    if isinstance(part, Document):
        return part.words
    return part.text if isinstance(part, Text | Refusal) else ""


def _result(result: Result) -> str:
    texts = (IMAGE_BELOW if _stands_below(part) else words_of(part) for part in result.parts)
    return ("Error: " if result.is_error else "") + "\n".join(filter(None, texts))


def _stands_below(part: Part) -> bool:
    """Return whether a part of a result is one that a tool's message cannot hold."""
    return isinstance(part, Image) or (isinstance(part, Document) and bool(part.data))


def _function(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": fit(tool.name, LONGEST_NAME)}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    return function if tool.strict is None else function | {"strict": tool.strict}


def _choice(choice: Choice) -> dict[str, Any]:
    parallel = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    if choice.mode == "tool":
        return {"tool_choice": {"type": "function", "function": {"name": fit(choice.name, LONGEST_NAME)}}} | parallel
    mode = MODES[choice.mode]
    if not choice.allowed:
        return ({} if mode == "auto" else {"tool_choice": mode}) | parallel
    tools = [{"type": "function", "function": {"name": fit(name, LONGEST_NAME)}} for name in choice.allowed]
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}} | parallel


def _format(form: Format) -> dict[str, Any]:
    if form.schema is None:
        return {"type": "json_object"}
    words = {"description": form.description} if form.description else {}
    schema = {"name": form.name, "schema": form.schema, "strict": form.strict is not False} | words
    return {"type": "json_schema", "json_schema": schema}
