"""Clients that take their answers slowly, or not at all: they hold no thread, and have a time for it. A real server."""

from __future__ import annotations

import json
import logging
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from genai_site.connections import BODY_SECONDS, LEAST_RATE, MOST_LEFT, Outgoing
from genai_site.worker import Worker
from tests.support.loopback import Fault
from tests.support.production import manage

LARGE = 3_000_000
LITTLE = 4_096


def asking(url: str, request: bytes) -> socket.socket:
    """A client with room for little, which has asked."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
    client.settimeout(20)
    client.connect((host, int(port)))
    client.sendall(request)
    return client


def largest_file(url: str) -> tuple[bytes, bytes]:
    """The largest file of the pages that are there for anyone, as a request and its answer's body."""
    page = requests.get(f"{url}/docs", headers={"Accept": "text/html"}, timeout=20).text
    files = {path: requests.get(url + path, timeout=20).content for path in re.findall(r'"(/static/[^"]+)"', page)}
    path = max(files, key=lambda path: len(files[path]))
    return b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode(), files[path]


def test_300_clients_that_take_nothing_keep_nobody_out(environment: dict[str, str], request: Any) -> None:
    environment |= {"CHAT_MAX_IN_FLIGHT": "60", "WEB_CONCURRENCY": "1"}
    _, url = request.getfixturevalue("server")
    key = manage(environment, "issue_key", "ada", "--create").strip()
    asked, _ = largest_file(url)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(asking(url, asked * 4))  # more than the system's own buffers take
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}
        for _ in range(5):  # a held thread would be free after a minute or two
            answer = requests.post(f"{url}/chat", json=body, headers={"Authorization": f"Token {key}"}, timeout=50)
            assert answer.status_code == 200


def test_who_takes_it_late_gets_it_whole(environment: dict[str, str], server: Any, provider: Any) -> None:
    _, url = server
    key = manage(environment, "issue_key", "ada", "--create").strip()
    provider.always = Fault(text="a" * LARGE)
    body = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Token %s\r\n" % key.encode()
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    asked, file = largest_file(url)
    last = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with asking(url, head + body) as chat, asking(url, last) as page:
        chat.recv(1)
        time.sleep(0.5)  # longer than a thread waits
        taken = {client: client.makefile("rb").read() for client in (chat, page)}
    assert json.loads(taken[chat].partition(b"\r\n\r\n")[2])["response"] == "a" * LARGE
    assert taken[page].partition(b"\r\n\r\n")[2] == file


def test_what_a_client_does_not_take_is_left_for_others_to_send() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outgoing = Outgoing(ours)
        outgoing.sendall(b"head")
        assert (theirs.recv(9), len(outgoing.left)) == (b"head", 0)
        whole = bytes(range(256)) * 8_000
        outgoing.sendall(whole[:-1])
        outgoing.sendall(whole[-1:])
        assert outgoing.left
        taken = bytearray()
        while len(taken) < len(whole):
            taken += theirs.recv(65536)
            outgoing.push()
        assert (bytes(taken), len(outgoing.left)) == (whole, 0)


@dataclass(eq=False)
class Connection:
    """gunicorn's, as far as it is needed."""

    sock: socket.socket

    def close(self) -> None:
        self.sock.close()


@contextmanager
def leaving(*sizes: int) -> Iterator[tuple[Worker, list[Any]]]:
    """A worker, and its connections to clients that still have so many bytes to take, the oldest first."""
    worker = object.__new__(Worker)
    poller, log = selectors.DefaultSelector(), logging.getLogger("gunicorn.error")
    facts = {"leaving": {}, "waiting": {}, "bodies": {}, "pending_conns": deque(), "nr_conns": len(sizes)}
    vars(worker).update(facts, poller=poller, log=log)
    connections = []
    with poller, ExitStack() as stack:
        for size in sizes:
            ours, _ = map(stack.enter_context, socket.socketpair())
            outgoing = Outgoing(ours)
            outgoing.left += bytes(size)
            connections.append(Connection(ours))
            worker.send_rest(connections[-1], outgoing)
        yield worker, connections


def test_the_oldest_answers_go_where_all_are_too_much() -> None:
    with leaving(MOST_LEFT // 2, MOST_LEFT // 4, MOST_LEFT // 2) as (worker, connections):
        assert list(worker.leaving) == connections[1:]
        assert (connections[0].sock.fileno(), worker.nr_conns) == (-1, 2)


def test_an_answer_has_its_time_which_is_longer_for_a_long_one() -> None:
    with leaving(5, 400 * LEAST_RATE) as (worker, connections):
        short, long = (worker.leaving[connection] for connection in connections)
        assert round((long.ends - short.ends) / 10) == (400 - BODY_SECONDS) / 10
        short.ends -= BODY_SECONDS
        worker.murder_pending()
        assert list(worker.leaving) == connections[1:]
