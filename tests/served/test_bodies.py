"""Large bodies on the production server: what a worker's memory grows by, whoever made them and to whatever end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.machine import children
from tests.support.production import manage, started
from tests.support.rig import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of another process")
MB = 1 << 20
SIZE = 16 * MB

HOSTILE = {
    "objects in objects": b'{"a":' * (SIZE // 5),
    "lists in lists": b"[" * SIZE,
    "empty lists": b"[" + b"[]," * (SIZE // 3),
    "nulls": b"[" + b"null," * (SIZE // 5),
    "short strings": b"[" + b'",[{\\\\",' * (SIZE // 8),
    "quotation marks": b"," * 200_000 + b'"' * SIZE,
    "backslashes": b"," * 200_000 + b'"' + b"\\" * SIZE,
    "a string without an end": b'["' + b',[{\\"' * (SIZE // 5),
}


def memory(pid: int, name: str) -> int:
    """Return a figure of a process' memory, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def in_chunks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 65536] for start in range(0, len(body), 65536))


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_takes_a_small_multiple_of_its_size(shared: Any, name: str, chunked: bool) -> None:
    (worker,) = children(shared.process.pid)
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(worker, "VmRSS")
    headers = {"Authorization": f"Token {shared.key}", "Content-Type": "application/json"}
    body: Any = in_chunks(HOSTILE[name]) if chunked else HOSTILE[name]
    answer = requests.post(f"{shared.url}/v1/chat/completions", data=body, headers=headers, timeout=20)
    assert answer.status_code in (400, 413), answer.text
    assert memory(worker, "VmHWM") - before < 6 * SIZE
    assert children(shared.process.pid) == [worker]


def test_what_large_chats_took_is_given_back(environment: Any) -> None:
    environment |= {"CHAT_RATE_LIMIT": "1000/m", "TOKEN_BUDGET_DEFAULT": "100000000"}
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "a" * 8 * MB}], "max_tokens": 20}
    with started(environment) as (process, url):
        headers = {"Authorization": f"Token {manage(environment, 'issue_key', 'ada', '--create').strip()}"}

        def chat(number: int) -> int:
            asked = body | {"stream": number % 2 == 0}
            return requests.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=30).status_code

        (worker,) = children(process.pid)
        before = memory(worker, "RssAnon")
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(chat, range(16))) == {200}
        eventually(lambda: memory(worker, "RssAnon") - before < 4 * 8 * MB)
