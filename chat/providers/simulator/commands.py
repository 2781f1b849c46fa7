"""What the last user message asks the simulator for, besides an answer.

/fault NAME         it misbehaves on purpose; an unknown NAME is answered with the known ones
/tool NAME {json}   it calls that tool; without JSON with arguments made from the tool's schema; several are several
                    calls, and `/fault truncated` after them breaks off within
/think              before one of these, or before words: it thinks first
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from chat.types import ChatRequest, Choice, Tool

ERRORS = {
    "rate_limit": (429, "requests", "rate_limit_exceeded"),
    "outage": (503, "service_unavailable_error", "server_is_overloaded"),
    "rejected": (400, "invalid_request_error", "content_policy_violation"),
    "bad_key": (401, "invalid_request_error", "invalid_api_key"),
}
"""Faults that a real provider would report: status, `error.type`, `error.code`."""

TRUNCATED = ("truncated", "truncated_call", "truncated_thinking")
"""Faults in the middle of an answer: of its text, or of what it asks for; of a call's arguments; of its thoughts."""
FAULTS = (*ERRORS, "timeout", "garbage", *TRUNCATED, "crash")

THINK = re.compile(r"/think(?!\S)\s*")
TOOL = re.compile(r"/tool\s+([^\s{]+)\s*")
HOW_TO_CALL = "Send /tool NAME {json}, or /tool NAME alone."


Calls = tuple[tuple[Tool, str | None], ...]


@dataclass(frozen=True)
class Command:
    """What is asked for: the `text` to answer, whether to think first, the tools to call, each with the JSON of its
    arguments (None: made from its schema), and the fault to commit. `complaint` says why a command cannot be obeyed."""

    text: str
    thinks: bool = False
    calls: Calls = ()
    fault: str | None = None
    complaint: str = ""

    @property
    def breaks_off(self) -> bool:
        return self.fault in TRUNCATED


def command_of(request: ChatRequest) -> Command:
    """Return what the last user message asks for, and what the request's choice of tools does."""
    text = next((m.text.strip() for m in reversed(request.messages) if m.role == "user"), "")
    thought = THINK.match(text)
    rest = text[thought.end() :] if thought else text
    calls: Calls = ()
    complaint = ""
    tools, choice = _on_offer(request), request.choice or Choice()
    if rest.partition(" ")[0].split("\n")[0] == "/tool":
        calls, rest, complaint = _asked(rest, tools)
    command, _, name = rest.partition(" ")
    fault = name.strip() if command == "/fault" else None
    if calls and rest and fault is None:
        complaint = f"After the arguments stands something else. {HOW_TO_CALL}"
    if choice.mode == "tool" and choice.name in tools:
        calls = tuple(call for call in calls if call[0].name == choice.name) or ((tools[choice.name], None),)
    elif tools and not calls and (choice.mode == "any" or fault == "truncated_call"):
        calls = ((next(iter(tools.values())), None),)
    if fault == "truncated_call" and not calls:
        fault, complaint = None, "This request has no tool to call."
    if calls and choice.mode in ("any", "tool"):
        complaint = ""
    return Command(rest, bool(thought), calls[:1] if choice.parallel is False else calls, fault, complaint)


def _on_offer(request: ChatRequest) -> dict[str, Tool]:
    """Return the tools that may be called, by name."""
    choice = request.choice or Choice()
    if choice.mode == "none":
        return {}
    return {tool.name: tool for tool in request.tools if not choice.allowed or tool.name in choice.allowed}


def _asked(text: str, tools: dict[str, Tool]) -> tuple[Calls, str, str]:
    """Return the calls in `text`, the rest of it, and what is wrong with it."""
    calls: list[tuple[Tool, str | None]] = []
    while found := TOOL.match(text):
        name, text, arguments = found[1], text[found.end() :], None
        if name not in tools:
            known = f"Its tools are: {', '.join(tools)}." if tools else "It has none."
            return (), "", f"This request has no tool {name[:64]} to call. {known}"
        if text.startswith("{"):
            try:
                data, end = _DECODER.raw_decode(text)
                json.dumps(data, allow_nan=False)
            except (ValueError, RecursionError):
                return (), "", f"The arguments of {name} are no JSON object. {HOW_TO_CALL}"
            arguments, text = text[:end], text[end:].lstrip()
        calls.append((tools[name], arguments))
    return tuple(calls), text, "" if calls else HOW_TO_CALL


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)
