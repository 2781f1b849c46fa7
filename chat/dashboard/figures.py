"""What an operator sees at a glance, by the books: sums by the database of the requests since a moment, in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import F

from chat.billing import rollup
from chat.billing.allowance import passed, period_start, use_of
from chat.billing.prices import price_of
from chat.models import KeyDetail, Period, UsageRecord
from chat.problems.table import BUG, CODES
from chat.routing import catalogue
from chat.routing.states import provider_states
from chat.types import ALL_PROVIDERS

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
MOST = 20
"""Rows of a ranking."""
NEARLY_SPENT = 80
ORDERS = {"tokens": "tokens", "money": "cost", "chats": "chats", "errors": "errors"}
NOTHING = [0] * (1 + len(rollup.BOUNDS))


@dataclass(frozen=True)
class Span:
    """A time that the page shows, in `steps` of an hour or a day each, the last of which is the running one."""

    name: str
    step: str
    steps: int

    def places(self, now: datetime) -> list[datetime]:
        """Return the beginnings of the steps."""
        today = period_start("day", now)
        if self.step == "hour":
            return [today + timedelta(hours=number) for number in range(self.steps)]
        return [today - timedelta(days=ago) for ago in reversed(range(self.steps))]


SPANS = {"today": Span("today", "hour", 24), "7": Span("7 days", "day", 7), "30": Span("30 days", "day", 30)}


def overview(span: Span, order: str, page: int, now: datetime) -> dict[str, Any]:
    """Return all figures of the page, as JSON has them."""
    places = span.places(now)
    found = rollup.sources(places[0], span.step)
    groups, latencies = grouped(found), found.latencies()
    of_users, of_keys = rankings(found, order, page)
    return {
        "at": now.isoformat(),
        "totals": totals(groups) | percentiles(latencies),
        "places": [place.isoformat() for place in places],
        "models": models(groups, now),
        "tokens": series(groups, places, "model", "tokens"),
        "money": series(groups, places, "", "cost"),
        "outcomes": series(groups, places, "outcome", "chats"),
        "providers": providers(groups, latencies, found.calls()),
        "users": of_users[:MOST],
        "keys": of_keys[:MOST],
        "page": page,
        "more": max(len(of_users), len(of_keys)) > MOST,
        "budgets": nearly_spent(now),
        "failures": failures(places[0]),
    }


def glance(now: datetime) -> dict[str, dict[str, Any]]:
    """Return the totals of each time."""
    longest, totals_of = SPANS["30"], {}
    found = rollup.sources(longest.places(now)[0], longest.step)
    groups, latencies = grouped(found), found.latencies()
    for name, span in SPANS.items():
        first = span.places(now)[0]
        those, times = ([row for row in rows if row["place"] >= first] for rows in (groups, latencies))
        totals_of[name] = totals(those) | percentiles(times)
    return totals_of


def grouped(found: rollup.Sources) -> list[dict[str, Any]]:
    """Return the sums by step, model, provider and outcome, from which most of the page is added up."""
    groups = []
    for row in found.outcomes():
        row["outcome"] = "cached" if row["cached"] else row["state"]
        row["failed"] = failed(row)
        groups.append(row)
    return groups


def failed(row: Mapping[str, Any]) -> bool:
    """Return whether its users got no whole answer, for a reason that was not theirs to leave."""
    return row["state"] in rollup.UNANSWERED and not row["cached"] and row["error"] not in rollup.NO_ERRORS


def totals(groups: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums over everything. A refused request is no chat."""
    sums = dict.fromkeys(("chats", "refused", "errors", "tokens", "cost", "uncharged"), 0)
    for group in groups:
        sums["refused" if group["state"] == "refused" else "chats"] += group["chats"]
        sums["errors"] += group["chats"] * group["failed"]
        for name in ("tokens", "cost", "uncharged"):
            sums[name] += group[name]
    return sums


def ranked(groups: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the sums by `name`, the most tokens first."""
    sums: dict[str, dict[str, Any]] = {}
    for group in groups:
        if group["state"] == "refused":
            continue
        key = group[name] or "none"
        row = sums.setdefault(key, {"name": key, "chats": 0, "tokens": 0, "cost": 0, "errors": 0})
        for each in ("chats", "tokens", "cost"):
            row[each] += group[each]
        row["errors"] += group["chats"] * group["failed"]
    return sorted(sums.values(), key=lambda row: (-row["tokens"], row["name"]))


def models(groups: Iterable[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Return the sums by model. The cost of tokens that nobody has a price of is None, and not nothing."""
    offered = {model.name: model for model in catalogue.current().all_models}
    rows = ranked(groups, "model")
    for row in rows:
        routes = offered[row["name"]].routes if row["name"] in offered else ()
        if row["tokens"] and not row["cost"] and not any(price_of(route, now) for route in routes):
            row["cost"] = None
    return rows


def series(groups: Iterable[Mapping[str, Any]], places: list[datetime], name: str, count: str) -> list[dict[str, int]]:
    """Return for each step the sums of `count` by what the groups have as `name`, or of all."""
    found: dict[datetime, dict[str, int]] = {place: {} for place in places}
    for group in groups:
        if group["place"] in found:  # else a chat of the step that has just begun
            step, key = found[group["place"]], group[name] if name else count
            step[key] = step.get(key, 0) + group[count]
    return list(found.values())


# --- latency ----------------------------------------------------------------------------------------------------------
def percentiles(latencies: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return p50 and p95 in seconds of whole chats, and of streams to their first piece."""
    return points("", latencies, "durations") | points("first_", latencies, "first_tokens")


def points(prefix: str, latencies: Iterable[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    """Return both percentiles of all values, which are given as how many are within each bound."""
    count, *within = map(sum, zip(NOTHING, *(row[name] for row in latencies), strict=True))
    return {f"{prefix}p{part}": percentile(within, count, part / 100) for part in (50, 95)}


def percentile(within: list[int], count: int, part: float) -> float | None:
    """Return the seconds below which a part of the values lies: interpolated, and at most the last bound."""
    if not count:
        return None
    wanted, lower, before = part * count, 0, 0
    for bound, reached in zip(rollup.BOUNDS, within, strict=True):
        if reached >= wanted:
            return round((lower + (bound - lower) * (wanted - before) / (reached - before)) / 1000, 3)
        lower, before = bound, reached
    return rollup.BOUNDS[-1] / 1000


# --- who and what -----------------------------------------------------------------------------------------------------
def rankings(found: rollup.Sources, order: str, page: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a page of the users and of the keys with the most of `order`, each with the next row if there is one."""
    column, names = ORDERS[order], ", ".join(rollup.COUNTS)
    most = f"ORDER BY {column} DESC, tokens DESC, id LIMIT {MOST + 1} OFFSET {(page - 1) * MOST}"
    by_user = f"SELECT user_id AS id, {rollup.SUMS} FROM pairs GROUP BY user_id {most}"
    by_key = f"SELECT api_key AS id, {rollup.SUMS} FROM pairs WHERE api_key IS NOT NULL GROUP BY api_key {most}"
    pairs = rollup.added_up(
        found.pairs(),
        f"SELECT id AS user_id, NULL AS api_key, {names} FROM ({by_user}) AS users "
        f"UNION ALL SELECT NULL, id, {names} FROM ({by_key}) AS keys",
    )
    rows = [dict(zip(rollup.PAIR, pair, strict=True)) for pair in pairs]
    rows.sort(key=lambda row: (-row[column], -row["tokens"]))
    return users([row for row in rows if not row["api_key"]]), keys([row for row in rows if row["api_key"]])


def users(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sums with the users' names; None is all that are deleted."""
    there = get_user_model().objects.in_bulk([row["user_id"] for row in rows if row["user_id"]])
    names = {pk: user.get_username() for pk, user in there.items()}
    return [
        {name: row[name] for name in ("user_id", *rollup.COUNTS)} | {"name": names.get(row["user_id"])} for row in rows
    ]


def keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sums with the keys' names, and whose they are. A browser's session has none."""
    ids = [UUID(str(row["api_key"])) for row in rows]  # SQLite has no type for them
    details = KeyDetail.objects.select_related("key__user").in_bulk(ids)
    named = []
    for pk, row in zip(ids, rows, strict=True):
        detail = details.get(pk)
        facts = {"api_key": str(pk), "name": str(detail) if detail else "revoked"}
        facts["of"] = detail.key.user.get_username() if detail else ""
        named.append({name: row[name] for name in rollup.COUNTS} | facts)
    return named


def nearly_spent(now: datetime) -> list[dict[str, Any]]:
    """Return the budgets that have used 80 % or more, the fullest first."""
    found: list[dict[str, Any]] = []
    for period in Period.values:
        rows = passed(period, period_start(period, now), NEARLY_SPENT).select_related("user", "user__token_budget")
        for row in rows[:MOST]:
            used, limit, in_money = use_of(row)
            share = used * 100 // limit
            facts = {"name": row.user.get_username(), "user_id": row.user_id, "period": period, "share": share}
            found.append(facts | {"used": used, "limit": limit, "in_money": in_money})
    return sorted((row for row in found if row["share"] >= NEARLY_SPENT), key=lambda row: -row["share"])[:MOST]


def failures(since: datetime) -> list[dict[str, Any]]:
    """Return the last chats without an answer, with the code that the client was told."""
    wrong = UsageRecord.objects.filter(rollup.FAILED, created_at__gte=since).exclude(error="")
    names = ("pk", "created_at", "request_id", "model", "provider", "error")
    rows = wrong.order_by("-created_at").values(*names, name=F("user__username"))[:10]
    return [{**row, "created_at": row["created_at"].isoformat(), "code": CODES.get(row["error"], BUG)} for row in rows]


def providers(
    groups: list[dict[str, Any]], latencies: list[dict[str, Any]], calls: list[tuple[Any, ...]]
) -> list[dict[str, Any]]:
    """Return each provider of models.toml with its state now, and what came of it in the time: the chats that it ended,
    and its calls, of which another provider may have made the failed ones good."""
    counted, entries = {row.pop("name"): row for row in ranked(groups, "provider")}, catalogue.current().providers
    rows = []
    for key, state in provider_states().items():
        routes = [{"model": model, **route} for model, route in state.pop("routes", {}).items()]
        rows.append({"key": key, "name": entries[key].name, "routes": routes} | state)
    named = {*counted, *(key for key, _, _ in calls)}
    others = named - entries.keys() - {"none", ALL_PROVIDERS}  # the simulator, and providers of the past
    rows += [{"key": key, "name": key, "routes": [], "state": ""} for key in sorted(others)]
    nothing = {"chats": 0, "tokens": 0, "cost": 0, "errors": 0}
    for row in rows:
        times = [each for each in latencies if each["provider"] == row["key"]]
        last = max((each["last"] for each in times if each["last"]), default=None)
        row |= counted.get(row["key"], nothing) | points("", times, "durations")
        row["calls"] = sum(made for key, made, _ in calls if key == row["key"])
        row["failed_calls"] = sum(failed for key, _, failed in calls if key == row["key"])
        row["last"] = last.isoformat() if last else None
    return rows
