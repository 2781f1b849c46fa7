"""What operators are told without asking: budgets that are nearly spent, providers that only an operator can mend, and
chats whose bill waits. Found in the books and the cache, so never in a chat's way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chat.billing import ledger
from chat.billing.allowance import passed, period_end, period_start, use_of
from chat.conf import conf
from chat.management import counted
from chat.models import BudgetPeriod, Period
from chat.routing import catalogue
from chat.routing.cooldown import FAULTS
from chat.routing.states import provider_states
from chat.types import ProviderEntry
from chat.types.money import shown

KEY_REFUSED = FAULTS["key"]

# What to do next, for whoever is woken by it.
REFUSED = "Their chats are refused until the next {period} begins, at {ends:%Y-%m-%d %H:%M} UTC."
NEARLY_REFUSED = "When all of it is used, their chats are refused until {ends:%Y-%m-%d %H:%M} UTC."
RAISE = """
To let them go on, raise the limit in the admin under Token budgets, or with manage.py set_budget. It counts at once.
Their chats are in the admin under Usage records."""

MEANWHILE = """Until this is mended, chats go to the other routes of their models. Where there are none, they fail.
"""
NEW_KEY = """Make a new key at the provider, put it into {variable} on each host, and restart the servers.
manage.py check_providers says whether it is taken."""
NEW_CREDIT = """Pay the provider's bill for the account of {variable}, or raise its spend limit there.
The provider is asked again within five minutes. manage.py check_providers says at once whether it answers."""

WRITE_BILLS = """See that the database takes writes.
Call /health/ready on each host a few times: a worker that has a bill writes it then.
In the log, budget_settlement_failed names each such chat, and budget_settlement_recovered each one that is mended.
Chats that then still are reserved in the admin under Usage records lost their worker: manage.py reclaim_reservations
gives back what they hold. A bill that comes later is charged all the same."""


@dataclass(frozen=True)
class Finding:
    """One thing to tell. `name` is the same for what is told only once, `todo` says what to do next."""

    name: str
    kind: str
    title: str
    todo: str
    facts: dict[str, Any]


def findings(now: datetime) -> Iterator[Finding]:
    """Yield all that an operator should know at this moment."""
    yield from spent_providers(now)
    yield from waiting_settlements(now)
    for period in Period.values:
        yield from spent_budgets(period, now)


def spent_budgets(period: str, now: datetime) -> Iterator[Finding]:
    """Yield the budgets of a period that have passed a threshold, each with the highest that it has passed."""
    thresholds = sorted(map(int, conf.CHAT_ALERT_BUDGET_PERCENTS), reverse=True)
    if not thresholds:
        return
    rows = passed(period, period_start(period, now), thresholds[-1]).select_related("user", "user__token_budget")
    for row in rows.iterator():
        used, limit, _ = use_of(row)
        percent = next((one for one in thresholds if used * 100 >= limit * one), None)
        if percent is not None:
            yield spent_budget(row, percent)


def spent_budget(row: BudgetPeriod, percent: int) -> Finding:
    """Return what is told of a budget that has passed a threshold."""
    used, limit, in_money = use_of(row)
    amounts = (shown(used), shown(limit)) if in_money else (f"{used:,} tokens", f"{limit:,} tokens")
    name = " ".join(row.user.get_username().split())
    ends = period_end(row.period, row.start)
    fate = (REFUSED if used >= limit else NEARLY_REFUSED).format(period=row.period, ends=ends)
    facts = {
        "user_id": row.user_id,
        "username": name,
        "period": row.period,
        "used": amounts[0],
        "limit": amounts[1],
        "percent": percent,
        "resets_at": ends.isoformat(),
    }
    return Finding(
        f"budget:{row.user_id}:{row.period}:{row.start:%Y-%m-%dT%H}:{limit}:{percent}",
        "budget",
        f"{name[:100]} has used {percent} % of a budget of {amounts[1]} a {row.period}",
        fate + RAISE,
        facts,
    )


def spent_providers(now: datetime) -> Iterator[Finding]:
    """Yield the providers that rest for a fault of their key or credit; once a day while it lasts."""
    providers = catalogue.current().providers
    for key, state in provider_states().items():
        why = str(state.get("why", ""))
        if state["state"] == "resting" and why in FAULTS.values():
            yield spent_provider(providers[key], why, now)


def spent_provider(provider: ProviderEntry, why: str, now: datetime) -> Finding:
    """Return what is told of a provider that rests for this fault."""
    variable = provider.api_key_env or f"the provider {provider.key} of models.toml"
    todo = (NEW_KEY if why == KEY_REFUSED else NEW_CREDIT).format(variable=variable)
    facts = {"provider": provider.key, "why": why}
    if provider.status_page:
        facts["status_page"] = provider.status_page
    name = f"provider:{provider.key}:{why[:100]}:{now:%Y-%m-%d}"
    return Finding(name, "provider", f"{provider.key} refuses our chats: {why}", MEANWHILE + todo, facts)


def waiting_settlements(now: datetime) -> Iterator[Finding]:
    """Yield whether chats that must be over have no bill; once a day. Their worker has it and cannot write it, or was
    killed."""
    waiting = ledger.overdue(now)
    oldest = waiting.values_list("expires_at", flat=True).first()
    if oldest:
        count = waiting.count()
        facts = {"chats": count, "oldest": oldest.isoformat()}
        title = f"{counted(count, 'chat')} ended without a bill: it waits, or the worker died"
        yield Finding(f"settlements:{now:%Y-%m-%d}", "settlements", title, WRITE_BILLS, facts)
