"""`manage.py check_providers`"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from chat.billing import prices
from chat.exceptions import ProviderError
from chat.management import counted, progress
from chat.routing import attempts, catalogue
from chat.types import EMBEDDINGS, ChatRequest, Message, Raw, Route

SMALLEST = ChatRequest((Message.of("user", "Hi"),), 16, request_id="check_providers")
"""The least that every provider takes: OpenAI's models that think refuse a limit below 16."""
EMBEDDING = replace(SMALLEST, raw=Raw(EMBEDDINGS, {"input": "Hi"}))

ADVICE = {
    "key": "Check the provider's API key, and what it may be used for.",
    "credit": "Pay the provider's bill, or raise the spend limit there.",
    "model": "Name another model in models.toml; --list shows what there is.",
    "other": "Read the provider's words; a `limit_field`, `effort` or `drop` in models.toml may mend it.",
    "call": "Read the provider's words, and try again.",
    "ProviderRateLimitError": "Wait, or ask the provider for a higher rate.",
    "ProviderTimeoutError": "Look at the provider's status page; raise `timeout` if its model is slow.",
    "ProviderUnavailableError": "Check base_url, and look at the provider's status page.",
    "InvalidProviderResponseError": "Check that base_url leads to this protocol's API.",
    "ProviderRequestRejectedError": "Read the provider's words; `drop` or `effort` in models.toml may mend it.",
}
STATES = {
    "key": "key refused",
    "credit": "no credit",
    "model": "not offered",
    "other": "objects",
    "call": "refused",
    "ProviderRateLimitError": "rate limited",
    "ProviderTimeoutError": "timeout",
    "ProviderUnavailableError": "unavailable",
    "InvalidProviderResponseError": "no answer",
    "ProviderRequestRejectedError": "rejected",
}


@dataclass(frozen=True)
class Row:
    """The state of one route."""

    route: Route
    state: str
    milliseconds: str = ""
    wrong: str = ""
    advice: str = ""

    @property
    def works(self) -> bool:
        return self.state in ("ok", "listed")


class Command(BaseCommand):
    help = (
        "Ask each live route once, all side by side, with the smallest real chat (a few tokens of your bill), and "
        "show what is wrong and what to do. With --list only the providers' lists of models are read, for free. "
        "Ends with 1 where a model has no working route."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--list", action="store_true", help="only read each provider's list of models, for free")

    def handle(self, *, list: bool, **options: Any) -> None:
        current = catalogue.current()
        models = [model for model in current.all_models if not model.simulated]
        if not models:
            missing = dict.fromkeys(entry.missing for entry in current.providers.values() if entry.missing)
            raise CommandError(f"There is no live route: {'; '.join(missing)}.")
        routes = {route.label: route for model in models for route in model.routes}
        rows = {}
        with ThreadPoolExecutor(len(routes)) as pool, progress(len(routes), "routes") as bar:
            for name, row in zip(routes, pool.map(listed if list else asked, routes.values()), strict=True):
                rows[name] = row
                bar.update()
        self.stdout.write(table(rows.values()))
        for model in models:
            self.stdout.write(f"{model.name}: {', then '.join(route.label for route in model.routes)}")
        for name, reason in current.unavailable.items():
            self.stdout.write(f"{name}: not on offer, {reason}")
        dead = [model.name for model in models if not any(rows[route.label].works for route in model.routes)]
        if dead:
            raise CommandError(f"No working route: {', '.join(dead)}.")


def asked(route: Route) -> Row:
    """Ask the route's model, and return how that went."""
    began = time.monotonic()
    try:
        smallest = EMBEDDING if route.protocol == EMBEDDINGS else SMALLEST
        attempts.provider(route).complete(smallest, upstream=route.upstream, timeout=route.provider.timeout)
    except ProviderError as exc:
        return failed(route, exc, began)
    return Row(route, "ok", since(began))


def listed(route: Route) -> Row:
    """Return whether the provider lists the route's model."""
    began = time.monotonic()
    try:
        names = attempts.provider(route).models(route.provider.timeout)
    except ProviderError as exc:
        return failed(route, exc, began)
    if any(is_named(route.upstream.model, name) for name in names):
        return Row(route, "listed", since(began))
    close = get_close_matches(route.upstream.model, names, 3, 0.4)
    such = f", such as {', '.join(close)}" if close else ""
    wrong = f"not among the {counted(len(names), 'model')} that it lists{such}"
    return Row(route, "not listed", since(began), wrong, ADVICE["model"])


def failed(route: Route, exc: ProviderError, began: float) -> Row:
    """Return the row of a route that failed."""
    kind = exc.details.get("kind") or type(exc).__name__
    text = exc.details.get("text", "")
    return Row(route, STATES[kind], since(began), f"{exc.message}{text and f': {text[:200]}'}", ADVICE[kind])


def is_named(model: str, listed: str) -> bool:
    """Return whether a list's entry is this model: itself, its latest or dated version, or Google's longer name."""
    name = listed.removeprefix("models/")
    return name == model or re.fullmatch(rf"{re.escape(model)}(:latest|-latest|-20[\d-]{{6,8}})", name) is not None


def since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f}"


def table(rows: Iterable[Row]) -> str:
    """Return the rows in columns, with what is wrong and what to do below each that does not work."""
    lines = [("ROUTE", "STATE", "MS", "$/M IN", "OUT")]
    rows = list(rows)
    lines += [(row.route.label, row.state, row.milliseconds, *priced(row.route)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    told = [f"\n{row.route.label}\n  wrong: {row.wrong}\n  to do: {row.advice}" for row in rows if not row.works]
    return "\n".join([*text, *told, ""])


def priced(route: Route) -> tuple[str, str]:
    """Return the dollars per million tokens, in and out, of a short prompt, where there is a price."""
    price = prices.price_of(route, timezone.now())
    return (per_million(price.rates.input), per_million(price.rates.output)) if price else ("", "")


def per_million(pico: int) -> str:
    return f"{Decimal(pico).scaleb(-6).normalize():f}"
