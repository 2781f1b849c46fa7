"""A chat of another protocol as OpenAI's Responses API has it, with all that it enforces mended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from chat.protocols.ids import fit
from chat.protocols.openai.translate import MODES, words_of
from chat.types import (
    Call,
    ChatRequest,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
)

LONGEST_ID = 64
LONGEST_NAME = 64
NO_PARAMETERS = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def body_of(request: ChatRequest, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the items and the fields of `sent`, by the names of the Responses API."""
    messages = list(request.messages)
    prompts: list[str] = []
    while messages and messages[0].role == "system":
        prompts.append(messages.pop(0).text)
    body: dict[str, Any] = {"input": [item for message in messages for item in _items(message)]}
    if instructions := "\n\n".join(filter(None, prompts)):
        body["instructions"] = instructions
    body |= {name: sent[name] for name in ("temperature", "top_p") if name in sent}
    if "effort" in sent:
        body["reasoning"] = {"effort": sent["effort"]}
    text = {need.kind: need.value for need in request.needs if need.kind == "verbosity"}
    if "format" in sent:
        text["format"] = _format(sent["format"])
    if text:
        body["text"] = text
    if "tools" in sent:
        body["tools"] = [_function(tool) for tool in sent["tools"]]
    return body | (_choice(sent["choice"]) if "choice" in sent and "tools" in sent else {})


def _items(message: Message) -> Iterator[dict[str, Any]]:
    """Yield the items that a turn becomes: each call and each result is one, and what stands between them."""
    for apart, parts in groupby(message.parts, lambda part: isinstance(part, Call | Result)):
        if apart:
            yield from map(_call_or_result, parts)
        elif content := _content(parts, message.role):
            yield {"type": "message", "role": message.role, "content": content}


def _call_or_result(part: Any) -> dict[str, Any]:
    if isinstance(part, Call):
        name, arguments = fit(part.name, LONGEST_NAME), part.arguments.strip() or "{}"
        return {"type": "function_call", "call_id": fit(part.id, LONGEST_ID), "name": name, "arguments": arguments}
    return {"type": "function_call_output", "call_id": fit(part.call_id, LONGEST_ID), "output": _output(part)}


def _output(result: Result) -> str | list[dict[str, Any]]:
    """Return what a tool answered: a text, or parts where it has an image or a file."""
    parts = (*([Text("Error: ")] if result.is_error else ()), *result.parts)
    if all(isinstance(part, Text) for part in parts):
        error = "Error: " if result.is_error else ""
        return error + "\n".join(part.text for part in result.parts if part.text)
    return _content(parts, "user")


def _content(parts: Iterable[Part], role: str) -> list[dict[str, Any]]:
    # Thoughts are their own vendor's, as is what nobody else can read; and an empty text says nothing.
    return [_part(part, role) for part in parts if not isinstance(part, Thinking | Opaque) and part != Text("")]


def _part(part: Part, role: str) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "input_image", "image_url": part.as_url, "detail": part.detail or "auto"}
    if isinstance(part, Document) and not part.text:
        return _file(part)
    if isinstance(part, Refusal) and role == "assistant":
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text" if role == "assistant" else "input_text", "text": words_of(part)}


def _file(document: Document) -> dict[str, Any]:
    name = {"filename": document.name} if document.name else {}
    if document.url:
        return {"type": "input_file", "file_url": document.url} | name
    return {"type": "input_file", "filename": "document.pdf", "file_data": document.as_url} | name


def _function(tool: Tool) -> dict[str, Any]:
    """Return a function. That it is not strict must be said, since here it would be else."""
    words = {"description": tool.description} if tool.description else {}
    parameters = NO_PARAMETERS if tool.parameters is None else tool.parameters
    named = {"type": "function", "name": fit(tool.name, LONGEST_NAME)}
    return named | words | {"parameters": parameters, "strict": tool.strict is True}


def _choice(choice: Choice) -> dict[str, Any]:
    parallel = {} if choice.parallel is None else {"parallel_tool_calls": choice.parallel}
    if choice.mode == "tool":
        return {"tool_choice": {"type": "function", "name": fit(choice.name, LONGEST_NAME)}} | parallel
    mode = MODES[choice.mode]
    if not choice.allowed:
        return ({} if mode == "auto" else {"tool_choice": mode}) | parallel
    tools = [{"type": "function", "name": fit(name, LONGEST_NAME)} for name in choice.allowed]
    return {"tool_choice": {"type": "allowed_tools", "mode": mode, "tools": tools}} | parallel


def _format(form: Format) -> dict[str, Any]:
    if form.schema is None:
        return {"type": "json_object"}
    words = {"description": form.description} if form.description else {}
    return {"type": "json_schema", "name": form.name, "schema": form.schema, "strict": form.strict is True} | words
