"""A provider on the loopback interface that speaks OpenAI's and Anthropic's protocol and fails on demand.

    with LoopbackProvider() as server:
        server.then("hang", status(429, {"retry-after": "7"}), "ok")     # one for each request, in order
        Client(openai, base_url=server.openai_url, …)                     # after those: `server.always`, "ok"

`always` may also be a function from `Recorded` to a fault. Faults, by name, or as `Fault(name, …)` to set more:

    ok                    an answer, `text`, with usage
    status                `status` with `body` (bytes, text or JSON) and `headers`; `status()` builds it
    slow                  ok, after `seconds`
    hang                  nothing, ever
    hang_after_headers    headers, then nothing
    drip_body             one byte of a good answer each `seconds`
    drip_headers          a good answer, its headers one byte each `seconds`
    endless_header        one header line that never ends;         endless_headers: lines that never end
    endless_continue      `100 Continue`, again and again;   informational: `102 Processing`, ok after `seconds`
    reset                 the connection is reset instead of an answer;  close: it is closed
    close_half_way        half of the promised body, then the end; chunk_half_way: of a chunked one
    bad_status_line       not HTTP;                                      redirect: to `location`
    huge                  an answer of more than 10 MiB;                 gzip_bomb: the same, compressed
    bad_gzip              says gzip, is not
    html, broken_json, empty_body, json_list, not_utf8, deep_json        bodies of a 200
    error_in_200, no_choices, null_content, empty_content, tool_calls    of a 200, in the protocol asked for
    refusal, content_filter, reasoning_only                              (no_choices: Anthropic's empty content)
    usage_missing, usage_nonsense, surrogates                            still good answers
A request with `"stream": true` gets the same as a stream, where it is an answer, and these, which are "ok" to others
(the first piece of `text` always comes before a break):

    stream_cut, stream_close, stream_reset, stream_stall     the rest is missing: the body ends, the connection ends, is
                          reset after `seconds`, is silent;      stream_stall_in_framing: silent within a chunk's size
    stream_error          an error event, `body` or an overload;    stream_event: any, `body`, and no last event
    stream_garbage, stream_bad_utf8                          an event that cannot be read
    stream_no_terminator  all but the last event;    stream_no_terminator_unframed: and the end of the connection as end
    stream_no_terminator_close                               and the end of the connection before that of the body
    stream_no_finish      a last event, but no finish reason;    stream_empty: a body without an event
    stream_endless_line, stream_endless_comments             each `seconds` another piece, or as fast as they go
    stream_comments_only, stream_pings_only, stream_pings_after_text     every `seconds`, and no (more) text
    stream_slow_first     headers, the rest after `seconds`;    stream_pauses: `seconds` before each event
    stream_paced          the events in `body` (text), `seconds` before each
    stream_split, stream_at_once, stream_loose, stream_no_last_line_end, stream_unframed, stream_goes_on,
    stream_usage_with_last_choice, stream_one_piece          still good answers

Errors for both:

    rate_limit (429), terminal_429 (credit is spent), bad_key (401), unavailable (503), overloaded (529)
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback_faults import body_of, page_of, pieces_of
from tests.support.loopback_streams import CLOSING, RESETTING, send_steps, steps_of


@dataclass(frozen=True)
class Fault:
    """One behaviour; `seconds` is the pause of those that wait."""

    name: str = "ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float = 0.05
    text: str = "hello"
    location: str = "http://127.0.0.1:1/"


def status(code: int, headers: dict[str, str] | None = None, body: Any = b"") -> Fault:
    """An answer of exactly this status."""
    return Fault("status", status=code, headers=headers or {}, body=body)


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived; header names are lower case, `json` is None for a body that is none."""

    path: str
    headers: dict[str, str]
    json: Any
    connection: int

    @property
    def protocol(self) -> str:
        return "anthropic" if self.path.endswith("/messages") else "openai"

    @property
    def wants_stream(self) -> bool:
        return isinstance(self.json, dict) and self.json.get("stream") is True


Behaviour = Fault | str | Callable[[Recorded], "Fault | str"]


class LoopbackProvider:
    """A server on a free port, running inside the `with` block. `tls` makes it speak HTTPS."""

    def __init__(self, always: Behaviour = "ok", *, tls: ssl.SSLContext | None = None) -> None:
        self.always = always
        self.requests: list[Recorded] = []
        self.connections = 0
        self.arrived = threading.Event()
        """Set whenever a request has been read."""
        self.left = threading.Event()
        """Set when a client has closed its connection in the middle of a stream."""
        self._script: deque[Fault | str] = deque()
        self._tls = tls
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.openai_url = f"{self.url}/v1"

    def then(self, *faults: Fault | str) -> LoopbackProvider:
        """Queue behaviours, one for each of the next requests."""
        self._script.extend(faults)
        return self

    def __enter__(self) -> LoopbackProvider:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wake everything that waits, close all connections and end all threads."""
        self._stopping.set()
        for sock in [self._listener, *self._open]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="loopback", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._spawn(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, number: int) -> None:
        with self._lock:
            self._open.add(sock)
        try:
            with suppress(OSError, ValueError):
                sock.settimeout(60)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls:
                    with self._lock:
                        self._open.discard(sock)
                        sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                        self._open.add(sock)
                    sock.do_handshake()
                with sock.makefile("rb") as reader:
                    while not self._stopping.is_set() and self._answer(sock, reader, number):
                        pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _answer(self, sock: socket.socket, reader: Any, number: int) -> bool:
        """Serve one request; False ends the connection."""
        recorded = _read_request(reader, number)
        if recorded is None:
            return False
        with self._lock:
            self.requests.append(recorded)
            fault = self._script.popleft() if self._script else self.always
        self.arrived.set()
        if callable(fault):
            fault = fault(recorded)
        fault = Fault(fault) if isinstance(fault, str) else fault
        if fault.name in ("reset", *RESETTING):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        steps = steps_of(fault, recorded.protocol) if recorded.wants_stream else None
        if steps is not None:
            try:
                send_steps(sock, steps, self._wait)
            except OSError:
                if not self._stopping.is_set():
                    self.left.set()
                raise
            return fault.name not in CLOSING
        for piece in self._play(fault, recorded):
            sock.sendall(piece)
        return fault.name not in ("reset", "close", "close_half_way", "chunk_half_way", "bad_status_line")

    def _wait(self, seconds: float | None) -> None:
        if self._stopping.wait(seconds):
            raise OSError("stopping")

    def _play(self, fault: Fault, recorded: Recorded) -> Iterator[bytes]:
        """The bytes to send, with the pauses between them."""
        if fault.name == "informational":
            yield b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        if fault.name in ("slow", "informational"):
            self._wait(fault.seconds)
        if fault.name == "hang":
            self._wait(60)
        if fault.name in ("reset", "close"):
            return
        pieces = pieces_of(fault.name)
        if pieces is not None:
            for piece in pieces:
                yield piece
                self._wait(0)
            return
        code, headers, body = body_of(fault, recorded.protocol)
        page = page_of(code, headers, body)
        head, _, _ = page.partition(b"\r\n\r\n")
        head_length = len(head) + 4
        if fault.name == "hang_after_headers":
            yield page[:head_length]
            self._wait(60)
        elif fault.name == "close_half_way":
            yield page[: head_length + len(body) // 2]
        elif fault.name in ("drip_body", "drip_headers"):
            quick = head_length if fault.name == "drip_body" else 0
            yield page[:quick]
            for i in range(quick, len(page)):
                yield page[i : i + 1]
                self._wait(fault.seconds)
        else:
            yield page


def _read_request(reader: Any, number: int) -> Recorded | None:
    parts = reader.readline(65536).decode("latin-1").split()
    if len(parts) != 3:
        return None
    headers = {}
    while line := reader.readline(65536).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    return Recorded(parts[1], headers, data, number)
