"""`manage.py chaos`: what a user would see of providers that fail in every way we know. For development only."""

from __future__ import annotations

import gzip
import logging
import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, CommandParser, call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Sum
from django.test.utils import override_settings
from knox.models import get_token_model
from rest_framework.test import APIClient

from chat.completion import reply_cache
from chat.models import BudgetPeriod, UsageRecord
from chat.routing import cooldown

FAULTS = re.findall(
    r"\w+",
    """
    ok slow usage_missing refusal hang hang_after_headers drip_headers drip_body endless_header endless_headers
    endless_continue reset close close_half_way chunk_half_way bad_status_line redirect huge gzip_bomb bad_gzip html
    broken_json empty_body error_in_200 no_choices empty_content rate_limit terminal_429 bad_key unavailable overloaded
    """,
)
DEADLINE, TIMEOUT = 3.0, 1.0
"""Seconds for a chat in all, and for one attempt."""
PAIRED = "-then-healthy"


class Chat(NamedTuple):
    """One chat's outcome; `answer` is its status, with the error's code."""

    model: str
    answer: str
    milliseconds: float


class Command(BaseCommand):
    help = (
        "Run chats against a provider on loopback that fails in every way we know, alone and before a healthy one, "
        "and print what came of them. Uses a database, a cache and a user of its own, gone afterwards."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--chats", type=int, default=248, help="in all (default 248: eight for each fault)")
        parser.add_argument("--concurrency", type=int, default=8, help="at once (default 8)")
        parser.add_argument("--protocol", choices=("openai", "anthropic"), default="openai", help="default openai")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("chaos is for development: it runs with DEBUG on only.")
        if not (1 <= options["chats"] <= 5000 and 1 <= options["concurrency"] <= 64):
            raise CommandError("Choose 1 to 5000 chats, and 1 to 64 at once.")
        try:
            from tests.loopback import LoopbackProvider, status
        except ImportError as exc:
            raise CommandError("chaos needs the tests/ directory of the repository, for its faulty provider.") from exc
        # The loopback provider packs a bomb of its own for each request, which takes longer than unpacking it.
        bomb = status(200, {"content-encoding": "gzip"}, gzip.compress(b" " * 2**20) * 200)
        behaviours: dict[str, Any] = {"healthy": "ok", "gzip_bomb": bomb}
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
            server = stack.enter_context(
                LoopbackProvider(lambda request: behaviours.get(name := fault_of(request), name))
            )
            models = directory / "models.toml"
            models.write_text(models_file(server.url, options["protocol"]))
            stack.enter_context(own_settings(models))
            stack.enter_context(own_database(directory / "chaos.sqlite3"))
            stack.enter_context(silence())
            started = time.monotonic()
            chats = run(options["chats"], options["concurrency"])
            seconds = time.monotonic() - started
            reply_cache.flush()  # while the cache is still our own
            calls = Counter(map(fault_of, server.requests))
            self.stdout.write(table(chats, calls))
            left = BudgetPeriod.objects.aggregate(Sum("reserved"))["reserved__sum"]
        slowest = max(chat.milliseconds for chat in chats)
        self.stdout.write(
            f"\n{len(chats)} chats in {seconds:.1f} s, {options['concurrency']} at once; the slowest took "
            f"{slowest:.0f} ms with a deadline of {DEADLINE * 1000:.0f}. Tokens still reserved: {left}."
        )


def models_file(url: str, protocol: str) -> str:
    """A provider for each fault, so that one's rest is not another's; each alone, and before a healthy one."""
    suffix = "/v1" if protocol == "openai" else ""
    limits = "max_output_tokens = 256\ndefault_output_tokens = 64\n"
    sections = []
    for fault in [*FAULTS, "healthy"]:
        base_url = f"{url}/{fault}{suffix}"
        sections.append(f'[providers.{fault}]\nprotocol = "{protocol}"\nbase_url = "{base_url}"\ntimeout = {TIMEOUT}\n')
    for fault in FAULTS:
        sections.append(f'[models.{fault}]\nroutes = ["{fault}:m"]\n{limits}')
        sections.append(f'[models.{fault}{PAIRED}]\nroutes = ["{fault}:m", "healthy:m"]\n{limits}')
    return "\n".join(sections)


def fault_of(request: Any) -> str:
    """The provider that a request was meant for, which is the fault that it shows."""
    return str(request.path.split("/")[1])


def own_settings(models: Path) -> Any:
    own = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": str(models)}
    memory = dict.fromkeys(settings.CACHES, own)  # all of them: one may hand on to another
    return override_settings(
        ALLOWED_HOSTS=["testserver"],
        CACHES=memory,
        CHAT_MODELS_FILE=str(models),
        CHAT_DEADLINE=DEADLINE,
        CHAT_HEDGE_AFTER=None,
        CHAT_RATE_LIMIT="1000000/s",
        TOKEN_BUDGET_DEFAULT=10**9,
    )


@contextmanager
def own_database(path: Path) -> Iterator[None]:
    """Send every connection of this process to a new SQLite database meanwhile."""
    configured, mine = connections.settings[DEFAULT_DB_ALIAS], connections[DEFAULT_DB_ALIAS]
    options = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}
    own = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    connections.settings[DEFAULT_DB_ALIAS] = configured | own
    del connections[DEFAULT_DB_ALIAS]
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connection.close()
        connections.settings[DEFAULT_DB_ALIAS] = configured
        connections[DEFAULT_DB_ALIAS] = mine
        cooldown._seen.clear()


@contextmanager
def silence() -> Iterator[None]:
    """No log: the table is what a person wants to see of some thousand lines."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def run(number: int, concurrency: int) -> list[Chat]:
    """`number` chats, dealt evenly to all models, in random order."""
    user = get_user_model().objects.create_user("chaos")
    key = get_token_model().objects.create(user=user)[1]
    models = [fault + kind for kind in ("", PAIRED) for fault in FAULTS]
    dealt = [models[index % len(models)] for index in range(number)]
    random.shuffle(dealt)

    def chat(index: int) -> Chat:
        client, model = APIClient(raise_request_exception=False), dealt[index]
        body = {"model": model, "messages": [{"role": "user", "content": f"This is chat {index}."}]}
        started = time.monotonic()
        try:
            response: Any = client.post("/chat", body, format="json", headers={"Authorization": f"Token {key}"})
        finally:
            connection.close()
        answer = str(response.status_code)
        if response.status_code != 200:
            answer += f" {response.json()['error']}"
        return Chat(model, answer, (time.monotonic() - started) * 1000)

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(chat, range(number)))


def table(chats: list[Chat], calls: Counter[str]) -> str:
    """One line a fault, as Markdown."""
    charged = dict(UsageRecord.objects.values_list("model").annotate(Sum("tokens_used")))
    rows: list[tuple[str, ...]] = [
        ("fault", "alone", "with a healthy second", "calls", "p50 ms", "p99 ms", "tokens charged")
    ]
    for fault in FAULTS:
        names = (fault, fault + PAIRED)
        took = sorted(chat.milliseconds for chat in chats if chat.model in names)
        answers = [Counter(chat.answer for chat in chats if chat.model == name) for name in names]
        if took:
            told = [", ".join(f"{n} x {answer}" for answer, n in counts.most_common()) or "-" for counts in answers]
            p50, p99 = (f"{took[math.ceil(len(took) * share) - 1]:.0f}" for share in (0.5, 0.99))
            tokens = sum(charged.get(name, 0) for name in names)
            rows.append((fault, *told, str(calls[fault]), p50, p99, str(tokens)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
