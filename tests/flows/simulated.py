"""Clients of the simulator and what they ask it: what its tests have in common."""

from __future__ import annotations

import base64
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
FORECAST = {
    "type": "object",
    "properties": {"days": {"type": "array", "items": SCHEMA, "minItems": 2}},
    "required": ["days"],
    "additionalProperties": False,
}
IN_BERN = '/tool weather {"city": "Bern"}'
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x01\x00\x08\x06\x00\x00\x00" + bytes(60)
).decode()
PDF = base64.b64encode(b"%PDF-1.7" + bytes(992)).decode()


def function(name: str = "weather") -> Any:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


def said(role: str, content: Any) -> Any:
    return {"role": role, "content": content}


def by_chat(client: Any, content: Any, *, stream: bool = False, **options: Any) -> Any:
    """The message of an answer of OpenAI's older API."""
    messages = content if isinstance(content, list) and "role" in content[0] else [said("user", content)]
    asked = {"model": "gpt-4", "messages": messages, **options}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as events:
        return events.get_final_completion().choices[0].message


def by_messages(client: Any, content: Any, *, stream: bool = False, **options: Any) -> Any:
    """An answer of Anthropic's API."""
    asked = {"model": "claude-3", "max_tokens": 500, "messages": [said("user", content)], **options}
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()
