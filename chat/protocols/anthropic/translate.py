"""A chat of another protocol as Anthropic's Messages API has it, with all that it enforces mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chat.protocols.ids import fit
from chat.protocols.payload import parse_object
from chat.types import Call, ChatRequest, Choice, Document, Format, Image, Message, Part, Refusal, Result, Text, Tool

LONGEST_ID = 256
LONGEST_NAME = 128
"""Characters of a tool's name that the API takes; its reference speaks of half as many."""
NO_PARAMETERS = {"type": "object", "properties": {}}


def body_of(request: ChatRequest, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the messages and the fields of `sent`, by Anthropic's names. How much to think is told apart."""
    prompts = [message.text for message in request.messages if message.role == "system"]
    body: dict[str, Any] = {"messages": _turns([turn for turn in request.messages if turn.role != "system"])}
    if system := "\n\n".join(prompt for prompt in prompts if prompt.strip()):
        body["system"] = system
    body |= {name: sent[name] for name in ("temperature", "top_p") if name in sent}
    if "stop" in sent:
        body["stop_sequences"] = list(sent["stop"])
    if "format" in sent:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _schema(sent["format"])}}
    return body | _tools(sent.get("tools", ()), sent.get("choice"))


# --- turns ------------------------------------------------------------------------------------------------------------
def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the turns. The API itself joins those of one role and lets the assistant begin, so they go as they came;
    but the results of all calls stand first in the one turn that follows these."""
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    ids = Ids()
    for message in messages:
        blocks = [block for part in message.parts for block in _blocks(part, ids)]
        if message.role == "user" and turns and turns[-1][0] == "user" and _is_result(turns[-1][1][0]):
            blocks = turns.pop()[1] + blocks
        if blocks:
            turns.append((message.role, sorted(blocks, key=lambda block: not _is_result(block))))
    if turns and turns[-1][0] == "assistant":
        turns[-1] = ("assistant", _without_end(turns[-1][1]))
    return [{"role": role, "content": _content(blocks)} for role, blocks in turns if blocks]


class Ids:
    """Writes the ids of calls: in the API's characters, and each once, since some servers count anew in each turn."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._written: dict[str, str] = {}
        self._times: dict[str, int] = {}

    def of_call(self, given: str) -> str:
        """Return the id of a call."""
        name = written = fit(given, LONGEST_ID)
        while written in self._used:
            self._times[name] = self._times.get(name, 1) + 1
            written = f"{name}_{self._times[name]}"
        self._used.add(written)
        self._written[given] = written
        return written

    def of_result(self, given: str) -> str:
        """Return the id of the last call that had this one."""
        return self._written.get(given) or fit(given, LONGEST_ID)


def _blocks(part: Part, ids: Ids) -> Iterable[dict[str, Any]]:
    """Yield the block that a part becomes. The API refuses a blank one; and thoughts are their own vendor's."""
    if isinstance(part, Text | Refusal | Document | Image):
        yield from _said(part)
    elif isinstance(part, Call):
        arguments = parse_object(part.arguments.encode("utf-8", "replace")) or {}
        yield {
            "type": "tool_use",
            "id": ids.of_call(part.id),
            "name": fit(part.name, LONGEST_NAME),
            "input": arguments,
        }
    elif isinstance(part, Result):
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids.of_result(part.call_id)}
        if content := [block for inner in part.parts for block in _said(inner)]:
            result["content"] = _content(content)
        yield result | ({"is_error": True} if part.is_error else {})


def _said(part: Part) -> Iterable[dict[str, Any]]:
    if isinstance(part, Text | Refusal) and part.text.strip():
        yield {"type": "text", "text": part.text}
    elif isinstance(part, Image):
        yield {"type": "image", "source": _source(part)}
    elif isinstance(part, Document):
        source = _source(part) if part.data or part.url else {"type": "text", "media_type": "text/plain"}
        text = {} if part.data or part.url else {"data": part.text}
        yield {"type": "document", "source": source | text} | ({"title": part.name} if part.name else {})


def _source(part: Image | Document) -> dict[str, Any]:
    if part.url:
        return {"type": "url", "url": part.url}
    media_type = "image/jpeg" if part.media_type == "image/jpg" else part.media_type
    return {"type": "base64", "media_type": media_type, "data": part.data}


def _is_result(block: Mapping[str, Any]) -> bool:
    return bool(block["type"] == "tool_result")


def _content(blocks: Sequence[dict[str, Any]]) -> Any:
    """Return the content of a turn or a result: a string where it is no more than that."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _without_end(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last turn's blocks without white space at the end, which the API refuses of an assistant."""
    *others, last = blocks
    return [*others, last | {"text": last["text"].rstrip()}] if last["type"] == "text" else blocks


# --- tools ------------------------------------------------------------------------------------------------------------
def _tools(tools: Sequence[Tool], choice: Choice | None) -> dict[str, Any]:
    """Return the tools, and which of them may be called: the API has no word for some, so the others are left out."""
    allowed = choice.allowed if choice else ()
    written = [_tool(tool) for tool in tools if not allowed or tool.name in allowed]
    if not written:
        return {}
    return {"tools": written} | ({"tool_choice": _choice(choice)} if choice else {})


def _tool(tool: Tool) -> dict[str, Any]:
    schema = NO_PARAMETERS if tool.parameters is None else {"type": "object", **tool.parameters}
    written = {"name": fit(tool.name, LONGEST_NAME), "input_schema": schema}
    if tool.description:
        written["description"] = tool.description
    return written if tool.strict is None else written | {"strict": tool.strict}


def _schema(form: Format) -> dict[str, Any]:
    """Return the schema of an answer. What the client says of its format stands there, since it has no other place."""
    words = {"description": form.description} if form.description else {}
    return words | dict(form.schema or {})


def _choice(choice: Choice) -> dict[str, Any]:
    name = {"name": fit(choice.name, LONGEST_NAME)} if choice.mode == "tool" else {}
    alone = {"disable_parallel_tool_use": True} if choice.parallel is False and choice.mode != "none" else {}
    return {"type": choice.mode} | name | alone
