"""`python -m tests.chaos`: what a user would see of providers that fail in every way we know.

The chats run in this process, on a database, a cache and a user of their own, which are gone afterwards.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django

from tests.support.loopback import LoopbackProvider, status


def within(least: int, most: int) -> Any:
    """Return a reader of whole numbers from `least` to `most`, for argparse."""

    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"choose {least} to {most}")
        return int(text)

    return number


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--chats", type=within(1, 5000), default=248, help="in all (default 248: eight for each fault)")
    parser.add_argument("--concurrency", type=within(1, 64), default=8, help="at once (default 8)")
    parser.add_argument("--protocol", choices=("openai", "anthropic"), default="openai", help="default openai")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "genai_site.settings.development",
            "DATABASE_URL": f"sqlite:///{directory}/chaos.sqlite3",
            "REDIS_URL": "",
            "CHAT_MODELS_FILE": f"{directory}/models.toml",
            "CHAT_DEADLINE": "3",
            "CHAT_RATE_LIMIT": "1000000/s",
            "TOKEN_BUDGET_DEFAULT": "1000000000",
            "LOG_LEVEL": "CRITICAL",
        }
        print_table(options.chats, options.concurrency, options.protocol)


def print_table(number: int, concurrency: int, protocol: str) -> None:
    """Run the chats against a faulty provider, and print what came of them."""
    django.setup()
    import logging

    from django.conf import settings
    from django.core.management import call_command
    from django.db.models import Sum

    from chat.completion import reply_cache
    from chat.conf import conf
    from chat.models import BudgetPeriod
    from tests.chaos import chats

    logging.disable(logging.CRITICAL)  # the table is what a person wants to see of some thousand lines
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    # The loopback provider packs a bomb of its own for each request, which takes longer than unpacking it.
    bomb = status(200, {"content-encoding": "gzip"}, gzip.compress(b" " * 2**20) * 200)
    behaviours: dict[str, Any] = {"healthy": "ok", "gzip_bomb": bomb}
    with LoopbackProvider(lambda request: behaviours.get(name := chats.fault_of(request), name)) as server:
        Path(conf.CHAT_MODELS_FILE).write_text(chats.models_file(server.url, protocol))
        started = time.monotonic()
        made = chats.run(number, concurrency)
        seconds = time.monotonic() - started
        reply_cache.flush()
        print(chats.table(made, Counter(map(chats.fault_of, server.requests))))
    left = BudgetPeriod.objects.aggregate(Sum("reserved"))["reserved__sum"]
    slowest = max(chat.milliseconds for chat in made)
    print(
        f"\n{number} chats in {seconds:.1f} s, {concurrency} at once; the slowest took {slowest:.0f} ms with a "
        f"deadline of {conf.CHAT_DEADLINE * 1000:.0f}. Tokens still reserved: {left}."
    )


if __name__ == "__main__":
    main()
