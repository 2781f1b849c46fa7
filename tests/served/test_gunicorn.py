"""The production server: one chat through it, and a SIGTERM while another one is in flight."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from genai_site.worker import Worker
from tests.support.fleet import accepts
from tests.support.loopback import Fault, Recorded
from tests.support.machine import children
from tests.support.production import ROOT, manage
from tests.support.rig import eventually


def test_a_chat_in_flight_is_finished_before_the_server_stops(server: Any, environment: Any, provider: Any) -> None:
    process, url = server
    key = manage(environment, "issue_key", "ada", "--create").strip()
    go_on = threading.Event()

    def held(recorded: Recorded) -> Fault:
        go_on.wait(30)
        return Fault("ok", text="late but whole")

    provider.always = held
    answers: list[requests.Response] = []

    def chat() -> None:
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"Authorization": f"Token {key}"}
        answers.append(requests.post(f"{url}/chat", json=body, headers=headers, timeout=30))

    client = threading.Thread(target=chat)
    client.start()
    assert provider.arrived.wait(20)
    process.send_signal(signal.SIGTERM)
    while accepts(environment["BIND"]):
        pass
    go_on.set()
    client.join(20)
    assert (answers[0].status_code, answers[0].json()["response"]) == (200, "late but whole")
    assert process.wait(20) == 0


def test_a_draining_server_serves_what_waited_and_refuses_at_once_what_comes_later(
    server: Any, environment: Any, provider: Any
) -> None:
    process, url = server
    host, port = url.removeprefix("http://").split(":")
    key = manage(environment, "issue_key", "ada", "--create").strip()
    go_on = threading.Event()
    provider.always = lambda recorded: Fault("ok" if go_on.wait(30) else "close")
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}
    chats: list[requests.Response] = []
    headers = {"Authorization": f"Token {key}"}
    client = threading.Thread(
        target=lambda: chats.append(requests.post(f"{url}/chat", json=body, headers=headers, timeout=40))
    )
    client.start()
    assert provider.arrived.wait(20)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGSTOP)
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(20)]
        for sock in waiting:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        assert [sock.recv(15) for sock in waiting] == [b"HTTP/1.1 200 OK"] * 20
    eventually(lambda: not accepts(environment["BIND"]), 5)
    assert not chats, "the chat is still in flight"
    go_on.set()
    client.join(20)
    assert chats[0].status_code == 200
    assert process.wait(20) == 0


def test_the_pages_have_their_files(shared: Any) -> None:
    page = requests.get(f"{shared.url}/playground", headers={"Accept": "text/html"}, timeout=20).text
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(files) == 3
    for file in files:
        assert requests.get(shared.url + file, timeout=20).ok, file


def test_the_admin_has_its_style_sheet_and_a_broken_model_file_stops_the_start(shared: Any, tmp_path: Path) -> None:
    page = requests.get(f"{shared.url}/admin/login/", timeout=20).text
    (sheet, *_) = re.findall(r'<link href="([^"]+\.css)"', page)
    assert requests.get(shared.url + sheet, timeout=20).headers["Content-Type"].startswith("text/css")

    broken = tmp_path / "models.toml"
    broken.write_text("[models.x]\nroutes = []\n")
    command = [sys.executable, "-c", "import genai_site.wsgi"]
    failed = subprocess.run(
        command, cwd=ROOT, env=shared.environment | {"CHAT_MODELS_FILE": str(broken)}, capture_output=True, text=True
    )
    assert failed.returncode != 0
    assert f"{broken}, line 1" in failed.stderr


def test_gunicorns_own_lines_can_be_written_beside_ours(environment: dict[str, str]) -> None:
    words = "import genai_site.wsgi; from gunicorn import config, glogging as g; g.Logger(config.Config()).error('It.')"
    command = [sys.executable, "-c", words]
    lines = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stderr
    assert lines.endswith("[ERROR] It.\n")
    assert "Logging error" not in lines


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name"])
def test_no_header_says_where_the_site_begins(shared: Any, name: str) -> None:
    answer = requests.get(f"{shared.url}/", headers={name: "/elsewhere"}, timeout=20)
    assert (answer.status_code, "elsewhere" in answer.text) == (200, False)
    assert answer.json()["chat"] == f"{shared.url}/chat"


def test_a_request_without_a_body_is_not_one_whose_body_was_cut_short(shared: Any) -> None:

    def post(path: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {shared.host}\r\nAuthorization: Token {shared.key}\r\n"
        head += "Connection: close\r\n\r\n"
        with socket.create_connection((shared.host, shared.port), timeout=20) as client:
            client.sendall(head.encode())
            return client.makefile("rb").read()

    assert post("/conversations").startswith(b"HTTP/1.1 201")
    assert b'"error":"invalid_request"' in post("/chat")


@pytest.mark.parametrize("length", ["9" * 20, "9" * 400])
def test_an_absurd_length_is_too_large(shared: Any, length: str) -> None:
    head = f"POST /chat HTTP/1.1\r\nHost: {shared.host}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {length}\r\n\r\n"
    with socket.create_connection((shared.host, shared.port), timeout=20) as client:
        client.sendall(head.encode())
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_read(shared: Any) -> None:
    headers = {"Authorization": f"Token {shared.key}"}
    headers["Content-Type"] = "application/json"
    body = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}]}'
    assert requests.post(f"{shared.url}/chat", data=iter([body[:20], body[20:]]), headers=headers, timeout=20).ok
    refused = requests.post(f"{shared.url}/chat", data=(b"x" * 100_000 for _ in range(30)), headers=headers, timeout=20)
    assert refused.json()["error"] == "request_too_large"


def test_a_content_type_that_cannot_be_read_is_answered_as_any_other(shared: Any) -> None:
    answer = requests.get(f"{shared.url}/models", headers={"Content-Type": "application/json; x*=bogus''a"}, timeout=20)
    assert (answer.status_code, "X-Request-ID" in answer.headers) == (200, True)


@pytest.mark.parametrize(
    "rest",
    [b'5\r\n{"mod', b"zz\r\nrubbish\r\n", b"1\r\n \r\n" * 201_000 + b"0\r\n\r\n"],
    ids=["cut short", "malformed", "crumbs"],
)
def test_a_broken_chunked_body_gets_the_contracts_answer(shared: Any, rest: bytes) -> None:
    head = f"POST /chat HTTP/1.1\r\nHost: {shared.host}\r\nAuthorization: Token {shared.key}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((shared.host, shared.port), timeout=20) as client:
        client.sendall(head.encode() + rest)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 400")
    assert '"error":"bad_request"' in answer


HEAD = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("changed", "sent", "ahead", "keeps"),
    [
        ({}, HEAD, b"", True),
        ({}, b"", HEAD, True),
        ({}, HEAD[9:], HEAD[:9], True),
        ({}, HEAD[:9], b"", False),
        ({}, b"", b"", False),
        ({"nr_conns": 33}, HEAD, b"", False),
        ({"nr_conns": 34, "waiting": {1: 1}, "leaving": {2: 2}}, HEAD, b"", True),
        ({"alive": False}, HEAD, b"", False),
        ({"ppid": -1}, HEAD, b"", False),
    ],
    ids=["free", "read ahead", "in parts", "half", "silent", "needed", "waiting holds none", "told to end", "orphan"],
)
def test_a_connection_keeps_its_thread_for_a_request_that_follows_while_nothing_else_wants_it(
    changed: Any, sent: bytes, ahead: bytes, keeps: bool
) -> None:
    facts = {"nr_conns": 32, "alive": True, "ppid": os.getppid(), "cfg": SimpleNamespace(threads=32)}
    facts |= {"waiting": {}, "leaving": {}}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(sent)
        connection = SimpleNamespace(sock=ours, parser=SimpleNamespace(unreader=SimpleNamespace(buf=BytesIO(ahead))))
        assert Worker.next_follows(SimpleNamespace(**facts | changed), connection) is keeps  # type: ignore[arg-type]


def test_requests_sent_at_once_on_one_connection_are_answered_in_turn(shared: Any) -> None:
    ids = ["first", "second", "third"]
    heads = [f"GET /health HTTP/1.1\r\nHost: {shared.host}\r\nX-Request-ID: {name}\r\n" for name in ids]
    with socket.create_connection((shared.host, shared.port), timeout=20) as client:
        client.sendall(("\r\n".join(heads) + "Connection: close\r\n\r\n").encode())
        answers = client.makefile("rb").read().decode()
    assert re.findall("(?m)^X-Request-ID: (.*)\r$", answers) == ids


def test_a_server_that_starts_tries_a_refused_key_again_and_a_worker_that_is_replaced_does_not(
    fleet_over: Any, redis_url: str, tmp_path: Path
) -> None:
    fleet = fleet_over(f"sqlite:///{tmp_path}/db.sqlite3", redis_url)
    fleet.environment["WEB_CONCURRENCY"] = "1"
    fleet.provider.always = Fault("bad_key")
    key, url = fleet.new_user("ada"), fleet.serve()
    assert fleet.chat(url, key).status == 503
    (worker,) = children(fleet.servers[0].pid)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: children(fleet.servers[0].pid) not in ([], [worker]), 20)
    assert fleet.chat(url, key).status == 503
    assert len(fleet.provider.requests) == 1
    fleet.provider.always = Fault("ok")
    assert fleet.chat(fleet.serve(), key).status == 200


def test_clients_that_do_not_close_their_side_keep_nobody_out(shared: Any) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(socket.create_connection((shared.host, shared.port), timeout=20))
            client.sendall(request)
        # One after the other they would be waited for, for two seconds each.
        assert requests.get(f"{shared.url}/health", timeout=15).ok


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says where a process may run")
@pytest.mark.parametrize(("workers", "alone"), [(2, True), (1, False)])
def test_as_many_workers_as_processors_get_one_each(
    fleet_over: Any, redis_url: str, tmp_path: Path, workers: int, alone: bool
) -> None:
    processors = os.sched_getaffinity(0)
    if len(processors) < 2:
        pytest.skip("there is one processor")
    two = set(sorted(processors)[:2])
    os.sched_setaffinity(0, two)  # which the server inherits
    try:
        fleet = fleet_over(f"sqlite:///{tmp_path}/db.sqlite3", redis_url)
        fleet.environment["WEB_CONCURRENCY"] = str(workers)
        fleet.serve()
    finally:
        os.sched_setaffinity(0, processors)
    master = fleet.servers[0].pid

    def places() -> dict[int, set[int]]:
        found = {}
        for pid in children(master):
            with suppress(ProcessLookupError):  # it may end between the two looks
                found[pid] = os.sched_getaffinity(pid)
        return found

    def settled(but: int = 0) -> bool:
        found = places()
        return but not in found and sorted(found.values(), key=min) == each

    each = [{processor} for processor in sorted(two)] if alone else [two]
    eventually(settled, 20)
    killed = min(places())
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: settled(but=killed), 20)  # the one that takes its place takes its processor
