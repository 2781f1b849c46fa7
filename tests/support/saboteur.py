"""The production application for tests of crashes: `gunicorn -c python:genai_site.gunicorn tests.saboteur`.

A chat with the X-Request-ID `die-STEP` kills its own worker process when it comes to that step, as `kill -9` or the
kernel's out-of-memory killer would. The steps are `before-`, `in-` (after the SQL statement) and `after-` each of
`reserve` and `settle`, and `in-call`, when the provider has begun to answer. The file that CLOCK_FILE names holds the
days by which Django's clock is ahead; LONGEST_ANSWER is the seconds for which PostgreSQL is waited for. Where psycopg's
pool backs off, it does so for longer than a test runs: an outage of seconds shows what one of hours would do.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from genai_site.wsgi import application  # first of all, since it sets Django up

# isort: split
import structlog
from django.utils import timezone
from psycopg_pool.base import AttemptWithBackoff

from chat.backends import database
from chat.billing import budgets, reservations
from chat.providers.transport.incoming import Incoming

__all__ = ["application"]


def die_at(step: str) -> None:
    if structlog.contextvars.get_contextvars().get("request_id") == f"die-{step}":
        os.kill(os.getpid(), signal.SIGKILL)


def mined(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, with a place to die before and after it."""

    def step(*args: Any, **kwargs: Any) -> Any:
        die_at(f"before-{name}")
        result = real(*args, **kwargs)
        die_at(f"after-{name}")
        return result

    return step


def dying_fetch(sql: str, values: Any, real: Callable[..., Any] = database.fetch) -> Any:
    rows = real(sql, values)
    die_at("in-reserve" if sql == reservations.TAKE else "in-settle")
    return rows


def dying_read(*args: Any, real: Callable[..., Any] = Incoming.whole) -> Any:
    die_at("in-call")
    return real(*args)


def moved_now(real: Callable[[], Any] = timezone.now) -> Any:
    clock = Path(os.environ.get("CLOCK_FILE", os.devnull))
    return real() + timedelta(days=int(clock.read_text() or 0) if clock.exists() else 0)


budgets.reserve = mined("reserve", budgets.reserve)
budgets.settle = mined("settle", budgets.settle)
setattr(reservations, "fetch", dying_fetch)  # noqa: B010 - for the type checker
setattr(Incoming, "whole", dying_read)  # noqa: B010 - for the type checker
timezone.now = moved_now
database.LONGEST_ANSWER = float(os.environ.get("LONGEST_ANSWER", database.LONGEST_ANSWER))
AttemptWithBackoff.DELAY_BACKOFF = 200.0
