"""What compatible servers tell of a model's thoughts, and what clients send back of them. OpenAI itself tells nothing.

Nothing of it is signed. DeepSeek and Kimi refuse a turn that called a tool without its thoughts; Groq, Cerebras and
Mistral refuse another server's field. So the thoughts go to the route that made them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols.payload import as_list, as_object, part_of
from chat.types import Thinking

TEXTS = ("reasoning_content", "reasoning")
FIELDS = (*TEXTS, "reasoning_details")
"""The fields of a message beside its content. The last is OpenRouter's, and says once more what `reasoning` says."""
KIND = "thinking"
"""The type of Mistral's part among those of the content."""


def thoughts_of(message: Mapping[str, Any]) -> str:
    """Return the thoughts in a message or a delta, "" for none."""
    name = field_of(message)
    parts = [as_object(part) for part in as_list(message.get("content"))]
    return message[name] if name else "".join(text_of(part) for part in parts if part.get("type") == KIND)


def field_of(message: Mapping[str, Any]) -> str:
    """Return the name of the field that tells the thoughts of a message as a text, "" where none does."""
    return next((name for name in TEXTS if isinstance(message.get(name), str) and message[name]), "")


def text_of(part: Mapping[str, Any]) -> str:
    """Return the text of Mistral's part."""
    return "".join(part_of(as_object(inner).get("text")) for inner in as_list(part.get(KIND)))


def beside(message: Mapping[str, Any]) -> tuple[Thinking, ...]:
    """Return the thoughts in the fields of a message, none where it has no such field."""
    if all(message.get(name) is None for name in FIELDS):
        return ()
    name = field_of(message)
    return (Thinking(message[name] if name else ""),)


def without(message: Any) -> Any:
    """Return a message of a client without its thoughts, None where it was no more than them."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    parts = [part for part in as_list(content) if as_object(part).get("type") != KIND]
    kept = {name: value for name, value in message.items() if name not in FIELDS}
    if len(parts) < len(as_list(content)):
        kept["content"] = parts or None
    says = any(value for name, value in kept.items() if name not in ("role", "name"))
    return kept if says or kept == message else None
