"""What the loopback provider sends for each of its faults."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

PROMPT_TOKENS, COMPLETION_TOKENS = 9, 12
HUGE = 11 * 1024 * 1024


def answer(protocol: str, text: Any = "hello", **changes: Any) -> dict[str, Any]:
    """A good answer in `protocol`; `changes` replace parts of OpenAI's message or choice, or of the top level."""
    if protocol == "anthropic":
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": text}],
            "model": "claude-x",
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "stop_details": None,
            "usage": {
                "input_tokens": 4,
                "output_tokens": COMPLETION_TOKENS,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 2,
                "service_tier": "standard",
            },
        } | changes
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": changes.pop("finish_reason", "stop"),
    }
    choice["message"] |= changes.pop("message", {})
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1730000000,
        "model": "gpt-x",
        "system_fingerprint": None,
        "choices": [choice],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 21},
    } | changes


def error(protocol: str, kind: str, code: str | int | None, message: str = "Something is wrong.") -> dict[str, Any]:
    """An error body in `protocol`."""
    if protocol == "anthropic":
        inner: dict[str, Any] = {"type": kind, "message": message}
        if code:
            inner["details"] = {"error_code": code}
        return {"type": "error", "error": inner, "request_id": "req_011"}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


TOOL_CALL = [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{"}}]

TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}

OPENAI: dict[str, dict[str, Any]] = {
    "no_choices": {"choices": []},
    "null_content": {"message": {"content": None}},
    "empty_content": {"message": {"content": ""}},
    "tool_calls": {"message": {"content": None, "tool_calls": TOOL_CALL}, "finish_reason": "tool_calls"},
    "refusal": {"message": {"content": None, "refusal": "I cannot help with that."}},
    "content_filter": {"message": {"content": None}, "finish_reason": "content_filter"},
    "reasoning_only": {"message": {"content": ""}, "finish_reason": "length"},
    "usage_missing": {"usage": None},
    "usage_nonsense": {"usage": {"prompt_tokens": -5, "completion_tokens": "many"}},
    "surrogates": {"message": {"content": "a\ud800b\x00c"}},
}
ANTHROPIC: dict[str, dict[str, Any]] = {
    "no_choices": {"content": []},
    "null_content": {"content": None},
    "empty_content": {"content": [{"type": "text", "text": ""}]},
    "tool_calls": {"content": [TOOL_USE], "stop_reason": "tool_use"},
    "refusal": {"content": [], "stop_reason": "refusal"},
    "content_filter": {"content": [], "stop_reason": "refusal"},
    "reasoning_only": {"content": [{"type": "thinking", "thinking": "hm"}], "stop_reason": "max_tokens"},
    "usage_missing": {"usage": None},
    "usage_nonsense": {"usage": {"input_tokens": True, "output_tokens": 10**12}},
    "surrogates": {"content": [{"type": "text", "text": "a\ud800b\x00c"}]},
}
BODIES = {
    "html": b"<html><body>Welcome to nginx</body></html>",
    "broken_json": b'{"choices": [{"message": {"content": "hal',
    "empty_body": b"",
    "json_list": b'["choices"]',
    "not_utf8": b'{"choices": "\xff\xfe"}',
    "deep_json": b"[" * 100_000,
    "bad_gzip": b"this is not gzip",
}
ERRORS = {
    "rate_limit": (429, {"retry-after": "7"}, "rate_limit_error", "rate_limit_exceeded"),
    "bad_key": (401, {}, "authentication_error", None),
    "unavailable": (503, {}, "api_error", None),
    "overloaded": (529, {}, "overloaded_error", None),
}
SPENT = {
    "openai": ("insufficient_quota", "insufficient_quota"),
    "anthropic": ("rate_limit_error", "enforced_spend_limit_reached"),
}


def body_of(fault: Any, protocol: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a fault that answers."""
    name, headers = fault.name, {"content-type": "application/json"} | fault.headers
    if name == "status":
        return fault.status, headers, _encoded(fault.body)
    if name == "redirect":
        return 307, headers | {"location": fault.location}, b""
    if name in BODIES:
        kind = {"html": {"content-type": "text/html"}, "bad_gzip": {"content-encoding": "gzip"}}.get(name, {})
        return 200, headers | kind, BODIES[name]
    if name == "terminal_429":
        return 429, headers, _encoded(error(protocol, *SPENT[protocol]))
    if name in ERRORS:
        code, more, kind_, word = ERRORS[name]
        return code, headers | more, _encoded(error(protocol, kind_, word if protocol == "openai" else None))
    if name == "error_in_200":
        return 200, headers, _encoded(error(protocol, "server_error", None))
    changes = changes_of(name, protocol)
    if changes is None and name not in ANSWERED and not name.startswith("stream_"):
        raise ValueError(f"unknown fault {name!r}")
    return 200, headers, _encoded(answer(protocol, fault.text, **(changes or {})))


ANSWERED = ("ok", "slow", "informational", "hang_after_headers", "drip_body", "drip_headers", "close_half_way")


def changes_of(name: str, protocol: str) -> dict[str, Any] | None:
    """What `answer` is to be changed by for a fault that is a whole answer, or None."""
    changes = (ANTHROPIC if protocol == "anthropic" else OPENAI).get(name)
    return dict(changes) if changes is not None else None


def page_of(code: int, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP response."""
    lines = [f"HTTP/1.1 {code} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    if not any(name.lower() == "content-length" for name in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def pieces_of(name: str) -> Iterator[bytes] | None:
    """The bytes of a fault that is not one sound response, made while they are sent, or None."""
    makers: dict[str, Callable[[], Iterator[bytes]]] = {
        "huge": _huge,
        "gzip_bomb": _gzip_bomb,
        "endless_header": lambda: _forever(b"HTTP/1.1 200 OK\r\nx-long: ", b"a" * 1024),
        "endless_headers": lambda: _forever(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n"),
        "endless_continue": lambda: _forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "chunk_half_way": lambda: iter([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{"]),
        "bad_status_line": lambda: iter([b"SSH-2.0-OpenSSH_9.9\r\n\r\n"]),
    }
    return makers[name]() if name in makers else None


def _huge() -> Iterator[bytes]:
    yield page_of(200, {"content-length": str(HUGE)}, b"")
    for _ in range(HUGE // 65536):
        yield b" " * 65536


def _gzip_bomb() -> Iterator[bytes]:
    yield page_of(200, {"content-encoding": "gzip"}, _bomb())


@cache
def _bomb() -> bytes:
    """Twenty times HUGE, of which one piece is packed and stands there again and again: to pack all would take a busy
    machine longer than a chat may."""
    piece = b" " * 65536
    pieces = HUGE * 20 // len(piece)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)  # which depends on nothing before it
    check = 0
    for _ in range(pieces):
        check = zlib.crc32(piece, check)
    head, end = gzip.compress(b"", mtime=0)[:10], packer.flush()
    return head + packed * pieces + end + struct.pack("<II", check, len(piece) * pieces)


def _forever(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield piece


def _encoded(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
