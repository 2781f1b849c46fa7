"""The thoughts that clients send back of what compatible servers told. OpenAI itself tells nothing.

Nothing of it is signed. DeepSeek and Kimi refuse a turn that called a tool without its thoughts; Groq, Cerebras and
Mistral refuse another server's field. So the thoughts go to the route that made them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols.openai.reply import KIND, TEXTS, field_of
from chat.protocols.payload import as_list, as_object
from chat.types import Thinking

FIELDS = (*TEXTS, "reasoning_details")
"""The fields of a message beside its content. The last is OpenRouter's, and says once more what `reasoning` says."""


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
