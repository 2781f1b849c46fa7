"""Reading JSON that a stranger wrote: the values in it, how a reply ended, and what it cost."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chat.types import ChatRequest, FinishReason, Usage

LARGEST_REPLY = 10 * 1024 * 1024
"""Bytes of a chat's answer, after decompression, beside those that each token brings along."""
LARGEST_OF_ALL = 64 * 1024 * 1024
"""Bytes of an answer, whatever it holds."""
MOST_TOKENS = 10_000_000
"""No model has so long a context; a larger count is nonsense."""


class Response(NamedTuple):
    """A whole answer. `headers` may be looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class UnusableReply(Exception):
    """A successful answer says nothing usable. `why` is for the log; `usage` is what it cost nevertheless."""

    def __init__(self, why: str, usage: Usage | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.usage = usage


@dataclass(slots=True)
class Heard:
    """What the events so far have told besides text. `reason` is the format's own finish reason, `usage_report` its
    own usage object where that comes in parts; `done` means that the event came which must be the last,
    `counted` that the output was counted after it had begun; `parts` is what a format remembers of each part of the
    answer by its own key, such as the id of a call; `request` is the one
    that is answered."""

    usage: Usage | None = None
    usage_report: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    refused: bool = False
    stop_sequence: str = ""
    done: bool = False
    counted: bool = False
    parts: dict[Any, Any] = field(default_factory=dict)
    request: ChatRequest = field(default_factory=ChatRequest)


def _nothing(constant: str) -> None:
    """Return null in place of NaN or an infinity, which Python's own servers write and JSON has not."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


HUGE = (re.compile(rb"e\+?\d{3}"), re.compile(rb"E\+?\d{3}"))
"""The exponent of a number that may be infinite as a float, which no JSON can hold. One pattern of both letters would
take as long as the parser."""
DECODER = json.JSONDecoder(parse_constant=_nothing)
WARY_DECODER = json.JSONDecoder(parse_constant=_nothing, parse_float=_finite)
"""The same, several times as slow where there are many numbers."""


def parse_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None if it holds anything else. All in it can be written as JSON again."""
    decoder = WARY_DECODER if any(pattern.search(body) for pattern in HUGE) else DECODER
    try:
        data = decoder.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def as_object(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_string(value: Any) -> str:
    """Return `value` if it is a string, else "": of a request, whose strings are sound."""
    return value if isinstance(value, str) else ""


def as_text(value: Any) -> str:
    """Return `value` if it is a string, fit for UTF-8, JSON and PostgreSQL, else "". The two halves of a character that
    were escaped one by one become that character, and a half alone U+FFFD."""
    text = part_of(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def cleaned(value: Any) -> Any:
    """Return JSON whose strings are fit for UTF-8, JSON and PostgreSQL."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {as_text(name): cleaned(inner) for name, inner in value.items()}
    return [cleaned(inner) for inner in value] if isinstance(value, list) else value


def part_of(value: Any) -> str:
    """Return `value` if it is a string, else "": a part of a text, which may begin or end in half a character."""
    return value.replace("\x00", "") if isinstance(value, str) else ""


def error_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, or the first one of a list, as Google's OpenAI API sends it."""
    data = parse_object(body)
    if data is None and body[:64].lstrip().startswith(b"["):
        first = parse_object(b'{"list": ' + body + b"}")
        items = first["list"] if first else []
        data = items[0] if items and isinstance(items[0], dict) else None
    return data


def is_error(data: Mapping[str, Any]) -> bool:
    """Return whether a body or an event of a status of success tells an error, with or without an `error` envelope."""
    if data.get("error") or data.get("type") in ("error", "response.failed") or data.get("object") == "error":
        return True
    bare = isinstance(data.get("message"), str) or isinstance(data.get("detail"), str | list)
    return bare and not {"choices", "content", "delta", "usage"} & data.keys()


def finish_reason(
    reason: Any, reasons: Mapping[str, FinishReason], usage: Usage | None, most: int, *, calls: bool = False
) -> FinishReason:
    """Return our word for a format's finish reason; `most` are the tokens that the answer could have, `calls` says
    whether it calls a tool: many a server then says no more than that it has stopped.

    An unknown or missing one comes with text that is usable; that it was cut is then told by its length alone.
    """
    known = reasons.get(reason) if isinstance(reason, str) else None
    cut = usage is not None and usage.completion_tokens >= most
    ended = known or ("length" if cut else "stop")
    if calls and ended == "stop":
        return "tool_calls"
    return "stop" if ended == "tool_calls" and not calls else ended


def count(value: Any) -> int | None:
    """Return `value` if it can be a number of tokens, else None."""
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sane else None


def usage_of(
    prompt_tokens: int | None, completion_tokens: int | None, total_tokens: int | None = None, **details: int
) -> Usage | None:
    """Return both counts with their `details`, or None if either is missing or nothing at all was counted (some
    servers send only zeros).

    A total above their sum is what was billed: xAI and Google count the thinking beside the completion. Beside a prompt
    of zero it says nothing of the completion.
    """
    if prompt_tokens is None or completion_tokens is None or prompt_tokens + completion_tokens == 0:
        return None
    thought = (total_tokens or 0) - prompt_tokens if prompt_tokens else 0
    return Usage(prompt_tokens, max(completion_tokens, thought), **details)
