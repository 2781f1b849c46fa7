"""Connections that send half a request and no more: they hold no thread, and end in time. A real server."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import requests

from chat.urls import urlpatterns
from genai_site.connections import Waiting
from tests.support.production import manage, started

HALVES: dict[str, Callable[[str], bytes]] = {
    "nothing": lambda key: b"",
    "half a head": lambda key: b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half",
    "half a body": lambda key: _post("/chat", b"Content-Length: 5000\r\n", b'{"mod'),
    "half a body with a key": lambda key: _post("/chat", _key(key) + b"Content-Length: 5000\r\n", b'{"mod'),
    "half a chunk": lambda key: _post("/chat", b"Transfer-Encoding: chunked\r\n", b'50\r\n{"mod'),
    "half a chunk with a key": lambda key: _post(
        "/v1/messages", _key(key) + b"Transfer-Encoding: chunked\r\n", b'50\r\n{"mod'
    ),
    "half a log-in": lambda key: _post(
        "/admin/login/", b"Content-Length: 5000\r\n", b"username=a", b"application/x-www-form-urlencoded"
    ),
    "half an upload": lambda key: _post(
        "/api-auth/login/", b"Content-Length: 900000\r\n", b"--b\r\n", b"multipart/form-data; boundary=b"
    ),
}


def _post(path: str, headers: bytes, body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n" % (path.encode(), kind)
    return head + headers + b"\r\n" + body


def _key(key: str) -> bytes:
    return f"Authorization: Token {key}\r\n".encode()


@pytest.fixture
def few_threads(environment: dict[str, str]) -> dict[str, str]:
    environment |= {"CHAT_MAX_IN_FLIGHT": "60", "CHAT_RATE_LIMIT": "100000/m", "TOKEN_BUDGET_DEFAULT": "100000000"}
    return environment


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def chat(url: str, key: str) -> float:
    """The seconds of one chat over a connection of its own."""
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}
    began = time.monotonic()
    answer = requests.post(f"{url}/chat", json=body, headers={"Authorization": f"Token {key}"}, timeout=20)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began


def test_640_halves_keep_nobody_out(few_threads: dict[str, str], server: Any) -> None:
    _, url = server
    good = manage(few_threads, "issue_key", "ada", "--create").strip()
    other = manage(few_threads, "issue_key", "eve", "--create").strip()
    with ExitStack() as stack:
        for number in range(640):
            half = list(HALVES.values())[number % len(HALVES)](other)
            stack.enter_context(connect(url)).sendall(half)
        waits = sorted(chat(url, good) for _ in range(60))
    # Those that come while 640 heads are taken in wait for that. A held thread would be free after ten seconds.
    assert waits[-1] < 8, waits[-5:]
    assert waits[-4] < 2, waits[-5:]


@pytest.mark.parametrize("half", ["nothing", "half a head"])
def test_a_head_has_ten_seconds_and_a_byte_a_second_resets_none(shared: Any, half: str) -> None:
    with connect(shared.url) as client:
        client.sendall(HALVES[half](""))
        began = time.monotonic()
        client.settimeout(0.5)
        while time.monotonic() - began < 20:
            with suppress(TimeoutError):
                if client.recv(1) == b"":
                    break
            with suppress(OSError):
                client.sendall(b"a")
    assert 8.5 < time.monotonic() - began < 14


def test_a_strangers_body_is_not_waited_for(shared: Any) -> None:
    for half in ("half a body", "half a chunk"):
        with connect(shared.url) as client:
            client.sendall(HALVES[half](""))
            client.settimeout(4)
            answer = client.makefile("rb").read()  # to the end: an answer that left its body unread closes
        assert answer.startswith(b"HTTP/1.1 401"), half


def test_a_user_whose_slots_are_taken_has_no_body_waited_for(environment: dict[str, str]) -> None:
    environment["CHAT_MAX_IN_FLIGHT_PER_USER"] = "2"
    addresses = [re.sub(r"\(.*\)", "x", str(route.pattern)).strip("^/?$").replace("\\", "") for route in urlpatterns]
    with started(environment) as (_, url), ExitStack() as stack:
        key = manage(environment, "issue_key", "ada", "--create").strip()

        def half(path: str) -> socket.socket:
            client = stack.enter_context(connect(url))
            client.settimeout(4)
            client.sendall(_post(f"/{path}", _key(key) + b"Content-Length: 5000\r\n", b'{"tit'))
            return client

        for client in [half("conversations"), half("chat")]:
            client.settimeout(1)
            with pytest.raises(TimeoutError):
                client.recv(1)
        answers = {path: half(path).recv(12).decode() for path in addresses}
    waiting = {path for path, answer in answers.items() if answer == "HTTP/1.1 429"}
    assert waiting >= {"conversations", "chat", "v1/messages"}
    others = {answers[path] for path in answers.keys() - waiting}
    assert others <= {"HTTP/1.1 405", "HTTP/1.1 403"}, answers  # the latter for want of a CSRF token


def test_a_page_waits_for_no_body(shared: Any) -> None:
    with connect(shared.url) as client:
        headers = _key(shared.key) + b"Accept: text/html\r\nContent-Length: 5000\r\n"
        client.sendall(_post("/chat", headers, b'{"mod').replace(b"POST", b"GET"))
        client.settimeout(4)
        assert client.recv(12) == b"HTTP/1.1 405"


def test_too_large_a_body_is_refused_unread(shared: Any) -> None:
    for path, kind in (("/admin/login/", b"multipart/form-data; boundary=b"), ("/chat", b"application/json")):
        with connect(shared.url) as client:
            client.sendall(_post(path, b"Content-Length: 3000000\r\n", b"--b", kind))
            client.settimeout(4)
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 413")


def test_a_form_in_two_parts_arrives(shared: Any) -> None:
    form = b"username=nobody&password=wrong"
    with connect(shared.url) as client:
        length = b"Content-Length: %d\r\nConnection: close\r\n" % len(form)
        client.sendall(_post("/api-auth/login/", length, form[:10], b"application/x-www-form-urlencoded"))
        time.sleep(0.2)
        client.sendall(form[10:])
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 403")  # for want of a CSRF token: it was read


@pytest.mark.parametrize(
    ("pieces", "complete"),
    [
        ([b"GET / HTTP/1.1\r\n", b"\r\n"], [False, True]),
        ([b"GET / HTTP/1.1\r\n\r\nGET"], [True]),
        ([_post("/", b"Content-Length: 9\r\n", b"1234"), b"56789"], [True, True]),
        ([_post("/", b"Content-Length: 9\r\n", b"1234", b"multipart/form-data"), b"5678", b"9"], [False, False, True]),
        ([_post("/", b"Content-Length: 9000000\r\n", b"1", b"multipart/form-data")], [True]),
        ([b"a" * 200_000], [True]),
    ],
)
def test_when_a_head_is_there(pieces: list[bytes], complete: list[bool]) -> None:
    waiting, seen = Waiting(0, bytearray()), []
    for piece in pieces:
        waiting.take(piece)
        seen.append(waiting.is_complete())
    assert seen == complete
