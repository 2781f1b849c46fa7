"""What is no HTTP, or too much of it, to a real server: gunicorn's own answer would be a page without an id."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.contract import UUID4
from tests.support.production import started

HOST = b"Host: 127.0.0.1\r\n"
BROKEN = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "no request line": b'{"content":"secret-plan"}\r\n\r\n',
    "too long an address": b"GET /playground?message=" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "too long a header": b"GET /health HTTP/1.1\r\n" + HOST + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n",
    "too many headers": b"GET /health HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n",
    "a name that is none": b"GET /health HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "two lengths": b"POST /chat HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length below zero": b"POST /chat HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n",
}


@pytest.fixture(scope="module")
def logged(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server for these tests, and the file of its log."""
    from tests.served.conftest import installed
    from tests.support.loopback import LoopbackProvider

    directory = tmp_path_factory.mktemp("logged")
    file = directory / "log"
    with LoopbackProvider() as provider:
        environment = installed(site, directory, provider) | {"LOG_FILE": str(file)}
        with started(environment):
            host, port = environment["BIND"].split(":")
            yield SimpleNamespace(address=(host, int(port)), file=file)


def answer(address: tuple[str, int], request: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    with socket.create_connection(address, timeout=20) as sock, sock.makefile("rb") as reader:
        sock.sendall(request)
        status = int(reader.readline().split()[1])
        lines = iter(lambda: reader.readline().decode().strip(), "")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return status, headers, json.loads(reader.read())  # to the end: the connection is closed


def lines_of(file: Path, request_id: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in found if line.get("request_id") == request_id]


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
def test_it_is_told_as_any_other_broken_request(logged: Any, request_: bytes) -> None:
    status, headers, body = answer(logged.address, request_)
    assert (status, body["error"], set(body)) == (400, "bad_request", {"error", "message", "request_id"})
    assert headers["content-type"] == "application/json"
    assert UUID4.fullmatch(body["request_id"])
    assert headers["x-request-id"] == headers["request-id"] == body["request_id"]
    assert (headers["x-should-retry"], headers["connection"]) == ("false", "close")
    assert not re.search("evil|secret|aaaa|gunicorn", json.dumps(body))
    lines = lines_of(logged.file, body["request_id"])
    assert [line["event"] for line in lines] == ["incoming_request", "bad_request", "response_sent"]
    assert (lines[1]["level"], lines[1]["client_ip"]) == ("warning", "127.0.0.1")
    assert "secret" not in logged.file.read_text()
