"""Servers as in production (gunicorn, several processes each) over one PostgreSQL and one Redis, with a provider on
loopback: what the tests of crashes and outages have in common.

    fleet = fleet_over(postgres.url, redis.url)
    key = fleet.new_user("ada", limit=1000)
    url = fleet.serve()
    with fleet.load(url, key, clients=12) as answers:
        ...                                             # answers that came meanwhile
    fleet.assert_sums_agree()
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import Sum
from django.utils import timezone
from knox.models import get_token_model

from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.support.databases import ALIAS, Originals, connected
from tests.support.loopback import LoopbackProvider
from tests.support.machine import children, free_port
from tests.support.rig import eventually

ROOT = Path(__file__).parents[2]
CHARGED = (UsageRecord.State.SETTLED, UsageRecord.State.TRUNCATED)
OK, DOWN = (200, None), (503, "service_temporarily_unavailable")


def outcomes(answers: list[Answer]) -> Counter[tuple[int, str | None]]:
    return Counter(answer.outcome for answer in answers)


@dataclass(frozen=True)
class Answer:
    """What a client got; `status` is 0 where the connection broke instead."""

    request_id: str
    status: int
    body: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def outcome(self) -> tuple[int, str | None]:
        return self.status, self.body.get("error")


class Fleet:
    """Its servers, its users and its database, which the models reach by `records()` and `periods()`."""

    def __init__(self, directory: Path, database_url: str, redis_url: str, stack: ExitStack) -> None:
        self.stack = stack
        self.log = directory / "log"
        self.provider = stack.enter_context(LoopbackProvider())
        self.servers: list[subprocess.Popen[bytes]] = []
        self.numbers = itertools.count()
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "genai_site.settings.production",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "SECURE_SSL_REDIRECT": "false",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STATIC_ROOT": str(directory),
            "OPENAI_API_KEY": "sk-loopback",
            "OPENAI_BASE_URL": self.provider.openai_url,
            "CHAT_RATE_LIMIT": "1000000/m",
            "WEB_CONCURRENCY": "2",
        }
        if redis_url:
            redis.Redis.from_url(redis_url).flushdb()  # other tests' cooldowns and counters
        stack.enter_context(connected(database_url))

    def serve(self, application: str = "genai_site.wsgi") -> str:
        """Start one more server; its URL."""
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "gunicorn", "-c", "python:genai_site.gunicorn", application]
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                command, cwd=ROOT, env=self.environment | {"BIND": address}, stdout=log, stderr=log
            )
        self.stack.callback(end, server)
        self.servers.append(server)
        eventually(lambda: server.poll() is not None or accepts(address), 30)
        assert server.poll() is None, self.log.read_text()[-3000:]
        assert requests.get(f"http://{address}/health", timeout=30).ok
        return f"http://{address}"

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    # --- clients ---

    def new_user(self, name: str, limit: int | None = 10**9, **budget: Any) -> str:
        """The key of a user who never chatted; without a `limit`, of one with the default budget."""
        user = User.objects.using(ALIAS).create(username=f"{name}-{secrets.token_hex(4)}")
        if limit is not None:
            TokenBudget.objects.using(ALIAS).create(user=user, limit=limit, **budget)
        return str(get_token_model().objects.db_manager(ALIAS).create(user=user)[1])

    def chat(self, url: str, key: str, request_id: str = "", idempotency_key: str = "", **options: Any) -> Answer:
        request_id = request_id or f"chat-{next(self.numbers)}"
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30, **options}
        headers = {"Authorization": f"Token {key}", "X-Request-ID": request_id}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        began = time.monotonic()
        try:
            response = requests.post(f"{url}/chat", json=body, headers=headers, timeout=30)
            return Answer(request_id, response.status_code, response.json(), time.monotonic() - began)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return Answer(request_id, 0, {}, time.monotonic() - began)

    def at_once(self, urls: list[str], key: str, clients: int, chats: int = 1) -> list[Answer]:
        """`clients` begin together and send `chats` each, spread over the servers."""
        barrier = threading.Barrier(clients)

        def client(number: int) -> list[Answer]:
            barrier.wait(30)
            return [self.chat(urls[(number + turn) % len(urls)], key) for turn in range(chats)]

        with ThreadPoolExecutor(clients) as pool:
            return [answer for answers in pool.map(client, range(clients)) for answer in answers]

    @contextmanager
    def load(self, url: str, key: str, clients: int) -> Iterator[list[Answer]]:
        """`clients` chat without a pause until the block ends; what they got so far."""
        answers: list[Answer] = []
        over = threading.Event()

        def client() -> None:
            while not over.is_set():
                answers.append(self.chat(url, key))

        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(client) for _ in range(clients)]
            try:
                yield answers
            finally:
                over.set()
        for one in running:
            one.result()

    # --- the database ---

    def records(self) -> Any:
        connections[ALIAS].close()  # which an outage may have ended
        return UsageRecord.objects.using(ALIAS)

    def periods(self) -> Any:
        connections[ALIAS].close()
        return BudgetPeriod.objects.using(ALIAS)

    def reclaim(self) -> None:
        """Give back, as an operator does, what is still reserved, as if its time were over."""
        open_ones = self.records().filter(state=UsageRecord.State.RESERVED)
        count = open_ones.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert self.manage("reclaim_reservations").strip().endswith(f": {count}")
        assert not open_ones.exists()

    def assert_metered(self, answers: list[Answer]) -> None:
        """Each answer that a client got is in the books once, at the price that the client was told."""
        told = {answer.request_id: answer.body["tokens_used"] for answer in answers if answer.outcome == OK}
        settled = self.records().filter(state=UsageRecord.State.SETTLED).values_list("request_id", "tokens_used")
        assert Counter(told.items()) == Counter(pair for pair in settled if pair[0] in told)

    def assert_sums_agree(self) -> None:
        """What the periods say is what the records say."""
        for row in self.periods():
            of_period = self.records().filter(user=row.user_id, period=row.period, period_start=row.start)
            open_ones = of_period.filter(state=UsageRecord.State.RESERVED)
            assert (row.used, row.reserved) == (total(of_period, "tokens_used"), total(open_ones, "reserved"))
            assert not of_period.exclude(state__in=CHARGED).exclude(tokens_used=0).exists()


def total(records: Any, field_name: str) -> int:
    return records.aggregate(sum=Sum(field_name))["sum"] or 0


def accepts(address: str) -> bool:
    host, port = address.split(":")
    with suppress(OSError):
        socket.create_connection((host, int(port)), timeout=5).close()
        return True
    return False


def end(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and its workers at once."""
    for pid in (server.pid, *children(server.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.wait()


@pytest.fixture
def fleet_over(
    tmp_path: Path, django_db_blocker: Any, private_server: Any, originals: Originals
) -> Iterator[Callable[[str, str], Fleet]]:
    """`fleet_over(database_url, redis_url)`, with a database of its own on that PostgreSQL; ends before the servers of
    `private_server` do."""
    with django_db_blocker.unblock(), ExitStack() as stack:

        def fleet(database_url: str, redis_url: str) -> Fleet:
            return Fleet(tmp_path, stack.enter_context(originals.copied(database_url)), redis_url, stack)

        yield fleet
