"""What the loopback provider sends to a request that asks for a stream."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from urllib3.util import wait_for_read

from tests.support.loopback_faults import answer, changes_of, error

Step = bytes | float
"""Bytes to send, or seconds to wait."""
FOREVER = 60.0

HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
CHUNKED_HEAD = (HEAD + "transfer-encoding: chunked\r\n\r\n").encode()
UNFRAMED_HEAD = (HEAD + "connection: close\r\n\r\n").encode()
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def openai_events(reply: dict[str, Any]) -> list[bytes]:
    """`reply`, an answer in one piece, as the chunks of OpenAI's API and of servers like it."""

    def event(choices: list[Any], usage: Any = None) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1730000000, "model": "gpt-x"}
        head["system_fingerprint"] = None
        return b"data: " + json.dumps({**head, "choices": choices, "usage": usage}).encode() + b"\n\n"

    def delta(delta: dict[str, Any], reason: Any = None) -> bytes:
        return event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])

    events = []
    for choice in reply["choices"]:
        message = choice["message"]
        events.append(delta({"role": "assistant", "content": "", "refusal": None}))
        for name in ("content", "refusal"):
            events += [delta({name: piece}) for piece in pieces_of_text(message.get(name))]
        events += [delta({"tool_calls": [{"index": 0, **call}]}) for call in message.get("tool_calls", [])]
        events.append(delta({}, choice["finish_reason"]))
    if reply["usage"]:
        events.append(event([], reply["usage"]))
    return [*events, b"data: [DONE]\n\n"]


def anthropic_events(reply: dict[str, Any]) -> list[bytes]:
    """`reply`, an answer in one piece, as the events of Anthropic's API."""

    def event(kind: str, **data: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()

    usage = reply["usage"] or {}
    message = {**reply, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1} if usage else None}
    events = [event("message_start", message=message)]
    for index, block in enumerate(reply["content"] or []):
        kind = "thinking" if block["type"] == "thinking" else "text"
        events.append(event("content_block_start", index=index, content_block={**block, kind: ""}))
        events.append(event("ping"))
        for piece in pieces_of_text(block.get(kind)):
            events.append(event("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: piece}))
        events.append(event("content_block_stop", index=index))
    more = {"usage": {"output_tokens": usage["output_tokens"]}} if usage else {}
    end = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    return [*events, event("message_delta", delta=end, **more), event("message_stop")]


def pieces_of_text(text: str | None) -> list[str]:
    """Words with the space after them; of a single word, two halves."""
    words = re.findall(r"\s*\S+\s*", text or "")
    return words if len(words) != 1 else [half for half in (words[0][:2], words[0][2:]) if half]


EVENTS: dict[str, Callable[[dict[str, Any]], list[bytes]]] = {"openai": openai_events, "anthropic": anthropic_events}
ERROR_EVENT = {"openai": b"data: %s\n\n", "anthropic": b"event: error\ndata: %s\n\n"}
IDLE_EVENT = {"openai": openai_events(answer("openai", ""))[0], "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n'}

RESETTING = ("stream_reset",)
CLOSING = (*RESETTING, "stream_close", "stream_no_terminator_close", "stream_unframed", "stream_no_terminator_unframed")


def steps_of(fault: Any, protocol: str) -> Iterator[Step] | None:
    """What to send and when to wait, or None for a fault that does not get as far as a stream."""
    if fault.name == "stream_one_piece":
        return None
    changes = changes_of(fault.name, protocol)
    if changes is None and not fault.name.startswith("stream_") and fault.name not in ("ok", "slow", "drip_body"):
        return None
    return _steps(fault, protocol, EVENTS[protocol](answer(protocol, fault.text, **(changes or {}))))


def send_steps(sock: socket.socket, steps: Iterator[Step], check: Callable[[float], None]) -> None:
    """Raises `OSError` when the client leaves: it has nothing more to say, so all that can be read is that it has gone.

    `check` may raise one, too.
    """
    for step in steps:
        if isinstance(step, bytes):
            sock.sendall(step)
            continue
        ends = time.monotonic() + step
        while (left := ends - time.monotonic()) > 0:
            check(0)
            if wait_for_read(sock, min(left, 0.02)):
                raise OSError("the client has left")


def _steps(fault: Any, protocol: str, events: list[bytes]) -> Iterator[Step]:
    name = fault.name
    if name in ("stream_unframed", "stream_no_terminator_unframed"):
        yield UNFRAMED_HEAD
        yield from events if name == "stream_unframed" else events[:-1]
        return
    if name == "slow":
        yield fault.seconds
    yield CHUNKED_HEAD
    if name == "stream_pauses":
        for event in events:
            yield fault.seconds
            yield chunk(event)
    elif name == "stream_slow_first":
        yield fault.seconds
        yield chunk(b"".join(events))
    elif name == "stream_split":  # every byte on its own, as chunks and as packets
        yield from (chunk(b"".join(events)[i : i + 1]) for i in range(len(b"".join(events))))
    elif name == "drip_body":
        for byte in b"".join(map(chunk, events)) + LAST_CHUNK:
            yield bytes([byte])
            yield fault.seconds
        return
    elif name == "stream_paced":
        for piece in fault.body.split("\n\n")[:-1]:
            yield fault.seconds
            yield chunk(piece.encode() + b"\n\n")
    elif name == "stream_at_once":
        yield b"".join(chunk(event) for event in events) + LAST_CHUNK
        return
    elif name == "stream_no_terminator_close":
        yield from map(chunk, events[:-1])
        return
    elif name in ALTERED:
        yield from map(chunk, ALTERED[name](events))
    elif name in ENDLESS:
        head, again = ENDLESS[name](events, protocol)
        yield chunk(head)
        while True:
            if fault.seconds:
                yield fault.seconds
            yield chunk(again)
    elif name in ENDINGS:
        yield from map(chunk, _until_text(events, fault))
        yield from ENDINGS[name](fault, protocol)
        if name in ("stream_close", "stream_reset"):
            return
    elif name.startswith("stream_"):
        raise ValueError(f"unknown fault {name!r}")
    else:
        yield from map(chunk, events)
    yield LAST_CHUNK


def _until_text(events: list[bytes], fault: Any) -> list[bytes]:
    first = json.dumps(pieces_of_text(fault.text)[0]).encode()
    return events[: next(i for i, event in enumerate(events) if first in event) + 1]


def _error_event(fault: Any, protocol: str) -> bytes:
    body = error(protocol, "overloaded_error", None) if fault.body is None else fault.body
    return ERROR_EVENT[protocol] % json.dumps(body).encode()


def _usage_with_the_last_choice(events: list[bytes]) -> list[bytes]:
    *others, last, usage, end = events
    data = json.loads(last.removeprefix(b"data: "))
    data["usage"] = json.loads(usage.removeprefix(b"data: "))["usage"]
    return [*others, b"data: " + json.dumps(data).encode() + b"\n\n", end]


def _loosely(events: list[bytes]) -> list[bytes]:
    """The same events in other ways that the standard allows."""
    more = b"\xef\xbb\xbf: a comment\r\n\r\nid: 7\r\nretry: 1000\r\nunknown\r\n\r\n"
    strange = b'event: weather\ndata: {"type": "weather",\ndata:  "object": "weather"}\n\n'
    tight = [re.sub(rb"\n", b"\r\n", event.replace(b"data: ", b"data:")) for event in events]
    return [more, *tight[:2], strange, *(event.replace(b"\r\n", b"\r") for event in tight[2:4]), *tight[4:]]


ALTERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "stream_loose": _loosely,
    "stream_no_terminator": lambda events: events[:-1],
    "stream_no_last_line_end": lambda events: [*events[:-1], events[-1].rstrip()],
    "stream_no_finish": lambda events: [e for e in events if not re.search(rb'_reason": "|"message_delta"', e)],
    "stream_usage_with_last_choice": _usage_with_the_last_choice,
    "stream_empty": lambda events: [],
}
ENDLESS: dict[str, Callable[[list[bytes], str], tuple[bytes, bytes]]] = {
    "stream_comments_only": lambda events, protocol: (b": hello\n\n", b": still here\n\n"),
    "stream_pings_only": lambda events, protocol: (events[0], IDLE_EVENT[protocol]),
    "stream_pings_after_text": lambda events, protocol: (b"".join(events[:5]), IDLE_EVENT[protocol]),
    "stream_goes_on": lambda events, protocol: (b"".join(events), b": more\n"),
    "stream_endless_line": lambda events, protocol: (b"".join(events[:5]) + b"data: ", b"x" * 65536),
    "stream_endless_comments": lambda events, protocol: (b"".join(events[:5]), b":" + b"x" * 65535 + b"\n"),
}
ENDINGS: dict[str, Callable[[Any, str], list[Step]]] = {
    "stream_cut": lambda fault, protocol: [],
    "stream_close": lambda fault, protocol: [],
    # What was sent must have been read, since a reset overtakes it.
    "stream_reset": lambda fault, protocol: [fault.seconds],
    "stream_stall": lambda fault, protocol: [FOREVER],
    "stream_stall_in_framing": lambda fault, protocol: [b"1", FOREVER],
    "stream_error": lambda fault, protocol: [chunk(_error_event(fault, protocol))],
    "stream_event": lambda fault, protocol: [chunk(b"data: %s\n\n" % json.dumps(fault.body).encode())],
    "stream_garbage": lambda fault, protocol: [chunk(b'data: {"choices": [{"del\n\n'), FOREVER],
    "stream_bad_utf8": lambda fault, protocol: [chunk(b'data: {"type": "x", "text": "\xf0\x9f\x98"}\n\n'), FOREVER],
}
