"""What an operator sees at a glance, by the books: sums by the database of the requests since a moment, in UTC."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour

from chat.billing.allowance import CHARGED, passed, period_start, use_of
from chat.models import KeyDetail, Period, UsageRecord
from chat.problems.table import BY_CLASS
from chat.routing import catalogue
from chat.routing.states import provider_states

CODES = {cls.__name__: problem.code for cls, problem in BY_CLASS.items()}
OUTCOMES = {
    "settled": "answered",
    "cached": "answered by an earlier one",
    "truncated": "broken off",
    "released": "failed",
    "reclaimed": "lost",
    "refused": "refused",
    "reserved": "running",
}
"""The outcomes in words; `cached` is a `released` one in whose place an earlier answer stood."""
UNANSWERED = ("truncated", "released", "reclaimed")
NO_ERRORS = ("ClientLeft", "AnsweredAgain")
"""What ends a chat and is no failure."""
BOUNDS = (100, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000)
"""Milliseconds. Between two of them a percentile is interpolated."""
MOST = 20
"""Rows of a ranking."""
NEARLY_SPENT = 80
ORDERS = {"tokens": "-tokens", "money": "-cost", "chats": "-chats", "errors": "-errors"}


@dataclass(frozen=True)
class Span:
    """A time that the page shows, in `steps` of an hour or a day, the last of which is the running one."""

    name: str
    step: timedelta
    steps: int

    def places(self, now: datetime) -> list[datetime]:
        """Return the beginnings of the steps."""
        first = period_start("hour" if self.step < timedelta(days=1) else "day", now)
        if self.name == "today":
            return [period_start("day", now) + number * self.step for number in range(self.steps)]
        return [first - number * self.step for number in reversed(range(self.steps))]


SPANS = {
    "today": Span("today", timedelta(hours=1), 24),
    "7": Span("7 days", timedelta(days=1), 7),
    "30": Span("30 days", timedelta(days=1), 30),
}


def overview(span: Span, order: str, now: datetime) -> dict[str, Any]:
    """Return all figures of the page, as JSON has them."""
    places = span.places(now)
    records = UsageRecord.objects.filter(created_at__gte=places[0])
    groups = grouped(records, span)
    return {
        "at": now.isoformat(),
        "totals": totals(groups) | percentiles(records),
        "places": [place.isoformat() for place in places],
        "models": [*ranked(groups, "model")],
        "tokens": series(groups, places, lambda group: {group["model"]: group["tokens"]}),
        "money": series(groups, places, lambda group: {"cost": group["cost"]}),
        "outcomes": series(groups, places, lambda group: {group["outcome"]: group["chats"]}),
        "providers": providers(groups, latency_by_provider(records)),
        "users": users(records, order),
        "keys": keys(records, order),
        "budgets": nearly_spent(now),
        "failures": failures(records),
    }


def grouped(records: QuerySet[UsageRecord], span: Span) -> list[dict[str, Any]]:
    """Return the sums by step, model, provider and outcome, from which most of the page is added up."""
    step = (TruncHour if span.step < timedelta(days=1) else TruncDay)("created_at")
    names = ("place", "model", "provider", "state", "cached", "error")
    rows = records.order_by().annotate(place=step).values(*names)
    sums = rows.annotate(
        chats=Count("pk") + Sum("repeats"),
        tokens=Sum("tokens_used"),
        cost=Sum("cost"),
        uncharged=Sum("uncharged_tokens"),
        last=Max("finished_at"),
    )
    return [
        {**row, "cost": row["cost"] or 0, "outcome": "cached" if row["cached"] else row["state"], "failed": failed(row)}
        for row in sums
    ]


def failed(row: Mapping[str, Any]) -> bool:
    """Return whether its users got no whole answer, for a reason that was not theirs to leave."""
    return row["state"] in UNANSWERED and not row["cached"] and row["error"] not in NO_ERRORS


def totals(groups: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums over everything. A refused request is no chat."""
    sums = Counter[str]()
    for group in groups:
        kind = "refused" if group["state"] == "refused" else "chats"
        sums[kind] += group["chats"]
        sums["errors"] += group["chats"] * group["failed"]
        sums += Counter({name: group[name] for name in ("tokens", "cost", "uncharged")})
    names = ("chats", "refused", "errors", "tokens", "cost", "uncharged")
    return {name: sums[name] for name in names}


def ranked(groups: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the sums by `name`, the most tokens first."""
    sums = defaultdict[str, Counter[str]](Counter)
    last: dict[str, datetime] = {}
    for group in groups:
        if group["state"] == "refused":
            continue
        key = group[name] or "none"
        sums[key] += Counter({each: group[each] for each in ("chats", "tokens", "cost")})
        sums[key]["errors"] += group["chats"] * group["failed"]
        if group["state"] in CHARGED and group["last"]:
            last[key] = max(last.get(key, group["last"]), group["last"])
    rows = [
        {"name": key, "last": last[key].isoformat() if key in last else None}
        | {each: found[each] for each in ("chats", "tokens", "cost", "errors")}
        for key, found in sums.items()
    ]
    return sorted(rows, key=lambda row: (-row["tokens"], row["name"]))


def series(groups: Iterable[Mapping[str, Any]], places: list[datetime], of: Any) -> list[dict[str, int]]:
    """Return for each step the sums by the names that `of` gives a group."""
    found: dict[datetime, Counter[str]] = {place: Counter() for place in places}
    for group in groups:
        if group["place"] in found:  # else a chat of the step that has just begun
            found[group["place"]] += Counter(of(group))
    return [dict(counter) for counter in found.values()]


# --- latency ----------------------------------------------------------------------------------------------------------
def percentiles(records: QuerySet[UsageRecord]) -> dict[str, float | None]:
    """Return p50 and p95 in seconds of whole chats, and of streams to their first piece."""
    found = records.filter(state__in=CHARGED).aggregate(
        **below("duration_ms"), **below("first_token_ms"), whole=Count("duration_ms"), first=Count("first_token_ms")
    )
    return {
        **points("", found, "duration_ms", found["whole"]),
        **points("first_", found, "first_token_ms", found["first"]),
    }


def latency_by_provider(records: QuerySet[UsageRecord]) -> dict[str, dict[str, float | None]]:
    rows = records.filter(state__in=CHARGED).order_by().values("provider")
    sums: Any = rows.annotate(**below("duration_ms"), whole=Count("duration_ms"))
    return {row["provider"]: points("", row, "duration_ms", row["whole"]) for row in sums}


def below(column: str) -> dict[str, Any]:
    return {f"{column}_{bound}": Count("pk", filter=Q(**{f"{column}__lte": bound})) for bound in BOUNDS}


def points(prefix: str, found: Mapping[str, int], column: str, count: int) -> dict[str, float | None]:
    """Return both percentiles of `count` values, of which `found` says how many are within each bound."""
    within = [found[f"{column}_{bound}"] for bound in BOUNDS]
    return {f"{prefix}p{part}": percentile(within, count, part / 100) for part in (50, 95)}


def percentile(within: list[int], count: int, part: float) -> float | None:
    """Return the seconds below which a part of the values lies: interpolated, and at most the last bound."""
    if not count:
        return None
    wanted, lower, before = part * count, 0, 0
    for bound, reached in zip(BOUNDS, within, strict=True):
        if reached >= wanted:
            return round((lower + (bound - lower) * (wanted - before) / (reached - before)) / 1000, 3)
        lower, before = bound, reached
    return BOUNDS[-1] / 1000


# --- who and what -----------------------------------------------------------------------------------------------------
def summed(rows: QuerySet[UsageRecord, Any], order: str) -> QuerySet[UsageRecord, Any]:
    """Return the sums by what the rows are grouped by, the largest of `order` first. A refused request is no chat."""
    wrong = Q(state__in=UNANSWERED, cached=False) & ~Q(error__in=NO_ERRORS)
    sums = rows.annotate(
        chats=Count("pk", filter=~Q(state="refused")),
        tokens=Sum("tokens_used"),
        cost=Sum("cost", default=0),
        errors=Count("pk", filter=wrong),
    )
    return sums.order_by(ORDERS[order], "-tokens")[:MOST]


def users(records: QuerySet[UsageRecord], order: str) -> list[dict[str, Any]]:
    """Return the users with the most of `order`; None is all that are deleted."""
    return [*summed(records.order_by().values("user_id", name=F("user__username")), order)]


def keys(records: QuerySet[UsageRecord], order: str) -> list[dict[str, Any]]:
    """Return the keys with the most of `order`, and whose they are. A browser's session has none."""
    rows = [*summed(records.exclude(api_key=None).order_by().values("api_key"), order)]
    details = KeyDetail.objects.select_related("key__user").in_bulk([row["api_key"] for row in rows])
    for row in rows:
        detail = details.get(row["api_key"])
        row |= {"api_key": str(row["api_key"]), "name": str(detail) if detail else "revoked"}
        row["of"] = detail.key.user.get_username() if detail else ""
    return rows


def nearly_spent(now: datetime) -> list[dict[str, Any]]:
    """Return the budgets that have used 80 % or more, the fullest first."""
    found: list[dict[str, Any]] = []
    for period in Period.values:
        rows = passed(period, period_start(period, now), NEARLY_SPENT).select_related("user", "user__token_budget")
        for row in rows[: 10 * MOST]:
            used, limit, in_money = use_of(row)
            share = used * 100 // limit
            facts = {"name": row.user.get_username(), "user_id": row.user_id, "period": period, "share": share}
            found.append(facts | {"used": used, "limit": limit, "in_money": in_money})
    return sorted((row for row in found if row["share"] >= NEARLY_SPENT), key=lambda row: -row["share"])[:MOST]


def failures(records: QuerySet[UsageRecord]) -> list[dict[str, Any]]:
    """Return the last chats without an answer, with the code that the client was told."""
    wrong = records.filter(state__in=UNANSWERED, cached=False).exclude(error__in=(*NO_ERRORS, ""))
    names = ("pk", "created_at", "request_id", "model", "provider", "error")
    rows = wrong.order_by("-created_at").values(*names, name=F("user__username"))[:10]
    return [
        {**row, "created_at": row["created_at"].isoformat(), "code": CODES.get(row["error"], "internal_error")}
        for row in rows
    ]


def providers(groups: list[dict[str, Any]], latency: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each provider of models.toml with its state now, and what came of it in the time."""
    counted = {row["name"]: row for row in ranked(groups, "provider")}
    entries, nothing = catalogue.current().providers, {"chats": 0, "errors": 0, "tokens": 0, "cost": 0, "last": None}
    rows = []
    for key, state in provider_states().items():
        routes = [{"model": model, **route} for model, route in state.pop("routes", {}).items()]
        rows.append(
            {"key": key, "name": entries[key].name, "routes": routes}
            | state
            | {name: counted.get(key, nothing)[name] for name in nothing}
            | dict(latency.get(key, {"p50": None, "p95": None}))
        )
    others = counted.keys() - entries.keys() - {"none", "all_providers"}  # the simulator, and providers of the past
    rows += [
        {"key": key, "routes": [], "state": "", **counted[key]} | dict(latency.get(key, {"p50": None, "p95": None}))
        for key in sorted(others)
    ]
    return rows
