"""The price of a chat: the operator's in models.toml, else that of genai-prices' list for the upstream model at its
provider's own address, else none. Whole numbers only; the list is a file of the package, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple

from django.core import checks
from django.db import Error

from chat.models import NO_LIMIT, TokenBudget
from chat.types import SIMULATOR, Catalogue, Price, Rates, Route, Usage
from chat.types.money import PICO_IN_NANO

LIST = ("0.2.3", "November 2026")
"""The version of genai-prices that this project is pinned to, and when its prices were looked up."""
RATES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
"""The list's names for what `Rates` has."""
BEYOND_TOKENS = {"requests_kcount", "output_reasoning_mtok", "output_citation_mtok"}
"""What some models cost beside their tokens: their price here would be too low."""
VENDORS = ("anthropic", "openai")
"""Whose models the simulator plays."""


def source() -> str:
    """Return the name and the date of the price list, for people."""
    installed = version("genai-prices")
    return f"genai-prices {installed}" + (f", prices of {LIST[1]}" if installed == LIST[0] else "")


def price_of(route: Route, at: datetime) -> Price | None:
    """Return what the route's tokens cost at that moment, if anybody knows."""
    if route.upstream.price:
        return route.upstream.price
    # A provider may be cheaper by night, so what is known holds until the next full hour.
    return _listed(route.provider.base_url, route.provider.protocol, route.upstream_model, int(at.timestamp()) // 3600)


@lru_cache(maxsize=1024)
def _listed(base_url: str, protocol: str, model: str, hour: int) -> Price | None:
    # Read when it is needed: half a second, and 20 MB.
    from genai_prices.data_snapshot import get_snapshot

    at = datetime.fromtimestamp(hour * 3600, UTC)
    for vendor in VENDORS if protocol == SIMULATOR else (None,):
        try:
            _, found = get_snapshot().find_provider_model(model, None, vendor, None if vendor else base_url)
        except LookupError:
            continue
        return _read(vars(found.get_prices(at)))
    return None


def _read(prices: dict[str, Any]) -> Price | None:
    """Return a price of the list as ours. One rate for a part of the input that is not listed is that of all input."""
    known = {name: price for name, price in prices.items() if price is not None}
    if "input_mtok" not in known or BEYOND_TOKENS & known.keys():
        return None
    known.setdefault("output_mtok", Decimal(0))  # an embedding has none
    known.setdefault("cache_read_mtok", known["input_mtok"])
    known.setdefault("cache_write_mtok", known["input_mtok"])
    known.setdefault("cache_write_1h_mtok", known["cache_write_mtok"])
    columns = [known[name] for name in RATES]
    starts = {tier.start for price in columns for tier in getattr(price, "tiers", ())}
    tiers = tuple((start, _rates(columns, start)) for start in sorted(starts, reverse=True))
    return Price(_rates(columns, 0), tiers)


def _rates(columns: Sequence[Any], start: int) -> Rates:
    """Return the rates from the tier that begins at `start`; 0: the lowest."""
    costs = []
    for price in columns:
        reached = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= start]
        costs.append(reached[-1] if reached else getattr(price, "base", price))
    return Rates(*(round(cost * 10**6) for cost in costs))


def unpriced(catalogue: Catalogue) -> list[checks.CheckMessage]:
    """Return a warning for each model with a route whose price nobody knows (W014), where a budget is in money."""
    now = datetime.now(UTC)
    found = {
        name: [str(route) for route in model.routes if not price_of(route, now)]
        for name, model in catalogue.models.items()
    }
    try:
        if not any(found.values()) or not TokenBudget.objects.filter(cost_limit__isnull=False).exists():
            return []
    except Error:  # there are no tables yet, or no database
        return []
    return [
        checks.Warning(
            f"The model {name} has the route {', '.join(routes)}, whose price is not known: a budget in money does not "
            "pay for it.",
            hint="Give the route a `price` in models.toml; one's own server may cost 0.",
            id="chat.W014",
        )
        for name, routes in found.items()
        if routes
    ]


def cost(route: Route | None, usage: Usage, at: datetime) -> int | None:
    """Return the nano-dollars of a chat, of which a part counts as a whole; None where the price is not known."""
    price = price_of(route, at) if route else None
    if price is None:
        return None
    rates, prompt = price.at(usage.prompt_tokens), usage.prompt_tokens
    written = min(usage.cache_write_tokens, prompt)
    kept = min(usage.long_write_tokens, written)
    cached = min(usage.cached_tokens, prompt - written)
    pico = (prompt - written - cached) * rates.input + cached * rates.cached
    pico += (written - kept) * rates.written + kept * rates.written_long
    return _whole_nano(pico + usage.completion_tokens * rates.output)


def _whole_nano(pico: int) -> int:
    return -(-pico // PICO_IN_NANO)


class Ceiling(NamedTuple):
    """The most that a chat may cost, whichever route answers: for each, the pico-dollars of the prompt at the dearest
    rate of any input, and those of one token of the answer."""

    lines: tuple[tuple[int, int], ...] = ()

    def cost(self, output_tokens: int) -> int:
        """Return the nano-dollars of an answer of so many tokens, with its prompt."""
        return max((_whole_nano(prompt + output_tokens * rate) for prompt, rate in self.lines), default=0)

    def output(self, nano: int) -> int:
        """Return the tokens of the longest answer for that money; below 0 where it does not pay for the prompt."""
        left = [(nano * PICO_IN_NANO - prompt, rate) for prompt, rate in self.lines]
        return min((pico // rate if rate else NO_LIMIT if pico >= 0 else -1 for pico, rate in left), default=NO_LIMIT)


def ceiling(routes: Sequence[Route], prompt_tokens: int, at: datetime) -> Ceiling:
    """Return the ceiling of a chat over the routes that have a price. The prompt may be shorter than it is taken for,
    and cost the rates of a lower tier."""
    prices = filter(None, (price_of(route, at) for route in routes))
    rates = [each for price in prices for each in price.reached(prompt_tokens)]
    return Ceiling(tuple((prompt_tokens * each.dearest_input, each.output) for each in rates))
