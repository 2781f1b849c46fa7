"""Reading JSON that a stranger wrote."""

from __future__ import annotations

import json
from typing import Any

from chat.types import Usage

MOST_TOKENS = 10_000_000
"""No model has so long a context; a larger count is nonsense."""


class UnusableReply(Exception):
    """A successful answer says nothing usable. `why` is for the log; `usage` is what it cost nevertheless."""

    def __init__(self, why: str, usage: Usage | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.usage = usage


def parse_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None if it holds anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def as_object(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """Return `value` if it is a string, fit for UTF-8, JSON and PostgreSQL, else "". The two halves of a character that
    were escaped one by one become that character, and a half alone U+FFFD."""
    text = part_of(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def part_of(value: Any) -> str:
    """Return `value` if it is a string, else "": a part of a text, which may begin or end in half a character."""
    return value.replace("\x00", "") if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """`value` if it can be a number of tokens, else None."""
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sane else None


def usage_of(prompt_tokens: int | None, completion_tokens: int | None, total_tokens: int | None = None) -> Usage | None:
    """Return both counts, or None if either is missing or nothing at all was counted (some servers send only zeros).

    A total above their sum is what was billed: xAI and Google count the thinking beside the completion. Beside a prompt
    of zero it says nothing of the completion.
    """
    if prompt_tokens is None or completion_tokens is None or prompt_tokens + completion_tokens == 0:
        return None
    thought = (total_tokens or 0) - prompt_tokens if prompt_tokens else 0
    return Usage(prompt_tokens, max(completion_tokens, thought))
