"""The body of a request: strict JSON that everything behind it can rely on."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import UnreadablePostError
from rest_framework.parsers import JSONParser, get_encoding  # type: ignore[attr-defined]

from chat.exceptions import BodyTooLarge, InvalidJSON

MOST_VALUES = 200_000
"""Values that a body may have: a parser takes 50 times the memory of the body for a list of empty ones."""
DEEPEST = 100
"""Levels of nesting that a body may have: the JSON schema of a tool has some. Python's own parser takes 900."""
MOST_DIGITS = 400
"""Digits of an integer; a float has no more, and Python itself refuses some thousands with a ValueError."""

UNICODE = {"utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
"""The charsets that JSON was ever written in. Some of Python's others take minutes over a body (punycode)."""


class StrictJSONParser(JSONParser):
    """JSON as RFC 8259 has it, and no NUL, no lone surrogate, no number beyond a float, no endless nesting: each would
    fail only later, in the database, in the answer or in the log."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        encoding = get_encoding(parser_context or {})
        if codecs.lookup(encoding).name not in UNICODE:
            raise InvalidJSON("The body must be in UTF-8.")
        text = ""
        try:
            text = codecs.decode(_whole(stream, parser_context or {}), encoding).removeprefix("\ufeff")
            if _values(text) > MOST_VALUES:
                raise BodyTooLarge(limit_values=MOST_VALUES)
            data = json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
            _check_text(data)
        except RecursionError:
            raise InvalidJSON("The body is nested too deeply.", text) from None
        except ValueError as exc:
            # UnicodeDecodeError quotes the body's bytes, so only a JSON error's own words go out.
            known = isinstance(exc, json.JSONDecodeError | _Refused)
            raise InvalidJSON(str(exc) if known else "The body is not text in its charset.", text) from None
        return data


def _values(text: str) -> int:
    """Return how many values a parser would make of `text`, or a number below the limit: each list and object that is
    not empty has one more than commas. What stands within strings is neither.

    Each step goes over the whole body at once, in a copy of its size: pieces of it would take many times as much. Where
    `text` is no JSON, a parser stops there, and what is counted of the rest is of no account.
    """
    if sum(map(text.count, ",[{")) < MOST_VALUES:
        return 0
    body = text.encode().replace(b"\\\\", b"").replace(b'\\"', b"")
    if body.count(b'"') > 4 * MOST_VALUES:  # a value is a string at most, and has one for a name
        return MOST_VALUES + 1
    outside = b"0".join(body.split(b'"')[::2]).translate(None, b" \t\r\n")
    opened, empty = (sum(map(outside.count, marks)) for marks in ((b"[", b"{"), (b"[]", b"{}")))
    return 1 + outside.count(b",") + opened - empty


def _whole(stream: Any, parser_context: Mapping[str, Any]) -> bytes:
    """Return the body, all of it: what arrived of one that was cut short may be sound JSON, and not what was meant."""
    body: bytes = stream.read()
    told = parser_context["request"].META if "request" in parser_context else {}
    chunked = "chunked" in told.get("HTTP_TRANSFER_ENCODING", "").lower()  # whose end the server has seen
    if not chunked and len(body) < int(told.get("CONTENT_LENGTH") or 0):
        raise UnreadablePostError("the body was cut short")
    return body


class _Refused(ValueError):
    pass


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a JSON number.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused("A number is too large.")
    return number


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise _Refused("A number is too large.")
    return int(digits)


def _check_text(data: Any) -> None:
    waiting = [(data, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_string(value)
        elif isinstance(value, dict | list):
            if depth > DEEPEST:
                raise _Refused("The body is nested too deeply.")
            if isinstance(value, dict):
                waiting.extend((key, depth + 1) for key in value)
                value = value.values()
            waiting.extend((item, depth + 1) for item in value)


def _check_string(value: str) -> None:
    if "\0" in value:
        raise _Refused("A string contains a NUL character.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("A string contains half of a surrogate pair.") from None
