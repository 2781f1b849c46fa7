"""Two providers on loopback behind the real `POST /chat`: what the resilience tests have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from chat.models import BudgetPeriod, UsageRecord
from chat.routing import failover
from chat.types import ProviderEntry, Route, Upstream
from tests.support.loopback import LoopbackProvider

KEYS = {"first": "sk-first-7Hq2mZ9xWc4T", "second": "sk-second-Lp3vK8nRb5Yd"}
ONE_ATTEMPT = {"x-stainless-retry-count": "2"}


class Rig:
    """Providers `first` and `second`; models `alone` (first), `pair` (first, then second) and `twice` (first, first).

    `slept` are the waits between tries, which are recorded and not waited.
    """

    def __init__(self, directory: Path, settings: Any, caplog: Any, token: str, stack: ExitStack) -> None:
        self.directory, self.settings, self.caplog, self.token = directory, settings, caplog, token
        self.first, self.second = (stack.enter_context(LoopbackProvider()) for _ in range(2))
        self.pool = stack.enter_context(ThreadPoolExecutor(8))
        self.slept: list[float] = []
        self.headers: dict[str, str] = {}
        self.configure()

    def configure(
        self, protocol: str = "openai", *, more: str = "", timeout: float = 5.0, urls: dict[str, str] | None = None
    ) -> Rig:
        """Write the models file afresh, with `more` lines for each provider."""
        sections = []
        for key in KEYS:
            url = (urls or {}).get(key) or getattr(self, key).url + ("/v1" if protocol == "openai" else "")
            sections.append(
                f'[providers.{key}]\nprotocol = "{protocol}"\nbase_url = "{url}"\napi_key_env = "{key.upper()}_API_KEY"'
                f'\n{more}\ntimeout = {timeout}\nconnect_timeout = {timeout}\nstatus_page = "https://status.example/{key}"'
            )
        models = {"alone": ["first:m"], "pair": ["first:m", "second:m"], "twice": ["first:m", "first:m"]}
        sections += [
            f"[models.{name}]\nroutes = {json.dumps(routes)}\nmax_output_tokens = 4096\ndefault_output_tokens = 64"
            for name, routes in models.items()
        ]
        return self.offer("\n".join(sections))

    def offer(self, text: str) -> Rig:
        """Write `text` as the models file."""
        path = self.directory / f"models-{time.monotonic_ns()}.toml"
        path.write_text(text)
        self.settings.CHAT_MODELS_FILE = str(path)
        return self

    def chat(self, model: str = "alone", content: str = "Hello!", **options: Any) -> Any:
        """One `POST /chat`; `options` are further fields, `headers` and `token`."""
        client = APIClient()
        client.raise_request_exception = False
        token, headers = options.pop("token", self.token), options.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": content}], **options}
        headers = {"Authorization": f"Token {token}", **self.headers, **headers}
        return client.post("/chat", body, format="json", headers=headers)

    def begin(self, *args: Any, **options: Any) -> Future:
        """A chat in a thread of its own, which needs a test with `django_db(transaction=True)`."""

        def run() -> Any:
            try:
                return self.chat(*args, **options)
            finally:
                connection.close()

        return self.pool.submit(run)

    @property
    def calls(self) -> tuple[int, int]:
        """The requests that reached the first and the second provider."""
        return len(self.first.requests), len(self.second.requests)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The log's events of these names, or of our own at warning and above."""
        lines = [record.msg for record in self.caplog.records if isinstance(record.msg, dict)]
        severe = ("warning", "error", "critical")
        return [line for line in lines if (line["event"] in names if names else line["level"] in severe)]

    def tokens(self) -> tuple[int, int]:
        """The tokens charged, and those still reserved."""
        rows = BudgetPeriod.objects.values_list("used", "reserved")
        return sum(used for used, _ in rows), sum(reserved for _, reserved in rows)

    def record(self) -> UsageRecord:
        return UsageRecord.objects.latest("pk")


@pytest.fixture
def rig(tmp_path: Path, settings: Any, caplog: Any, token: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    caplog.set_level("INFO")
    for key, value in KEYS.items():
        monkeypatch.setenv(f"{key.upper()}_API_KEY", value)
    settings.CHAT_RATE_LIMIT = "100000/m"
    settings.TOKEN_BUDGET_DEFAULT = 1_000_000
    settings.CHAT_DEADLINE = 10.0
    with ExitStack() as stack:
        rig = Rig(tmp_path, settings, caplog, token, stack)
        monkeypatch.setattr(failover, "sleep", rig.slept.append)
        yield rig


def route_of(provider: str, model: str = "m") -> Route:
    """A route, for the cooldown's own functions."""
    return Route(ProviderEntry(provider, "openai", provider), Upstream(model))


SLACK = 2.0
"""Seconds that a busy machine may add."""


def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait for what another thread is about to do."""
    ends = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
    return value
