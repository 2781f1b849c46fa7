"""Sums of the usage records by hour and by day, so that a page need not read millions of records.

A time is summed once all of its records are final. The few that change after that (a reservation taken for dead whose
chat ends all the same, a call that was abandoned long ago) have the sums of their time forgotten and made anew. A
reader adds up from the records whatever is not summed: `sources` says where the sums hold. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum, When
from django.db.models.functions import Coalesce, Trunc
from django.utils import timezone

from chat.billing.allowance import CHARGED, period_start
from chat.models import CallSum, LatencySum, OutcomeSum, Rollup, UsageRecord, UserSum
from chat.types import ABANDONED

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAYS = 31
"""Days for which there are sums: what the pages show, and one more. Records are kept for longer than that."""
SETTLES = timedelta(minutes=10)
"""The time after which the end of an hour is seen by every process: a chat's record is written a moment after the
moment that stands in it, or 20 seconds in a rush."""
BATCH = 2_000
"""Rows that one statement writes."""
BOUNDS = (100, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000)
"""Milliseconds. Between two of them a percentile is interpolated."""
UNANSWERED = ("truncated", "released", "reclaimed")
NO_ERRORS = ("ClientLeft", "AnsweredAgain")
"""What ends a chat and is no failure."""
FAILED = Q(state__in=UNANSWERED, cached=False) & ~Q(error__in=NO_ERRORS)
"""Chats whose users got no whole answer, for a reason that was not theirs to leave."""
OUTCOME = ("model", "provider", "state", "cached", "error")
FACTS = ("chats", "tokens", "cost", "uncharged")
TIMES = ("last", "durations", "first_tokens")
COUNTS = ("chats", "tokens", "cost", "errors")
CALLS = ("provider", "calls", "failed")
PAIR = ("user_id", "api_key", *COUNTS)
SUMS = ", ".join(f"CAST(SUM({name}) AS bigint) AS {name}" for name in COUNTS)
NOT_ITS_DOING = (ABANDONED, "ClientLeft", "ProviderRequestRejectedError")
"""Why a call has no answer, where the provider could have given one."""
ATTEMPTS = {
    "postgresql": ("jsonb_array_elements(attempts) AS attempt", "attempt ->> '{}'"),
    "sqlite": ("json_each(attempts) AS attempt", "json_extract(attempt.value, '$.{}')"),
}
"""By database: the attempts of a record as rows, and a fact of one."""


# --- sums of records --------------------------------------------------------------------------------------------------
def by_outcome(records: QuerySet[UsageRecord], *names: str) -> Iterator[dict[str, Any]]:
    """Yield the sums of records by `names` and by model, provider and outcome, each with the fields of `OutcomeSum`."""
    rows: Any = records.order_by().values(*names, *OUTCOME)
    sums = rows.annotate(
        chats=Count("pk") + Sum("repeats"),
        tokens=Sum("tokens_used"),
        paid=Sum("cost", default=0),
        uncharged=Sum("uncharged_tokens"),
    )
    for row in sums:
        yield row | {"cost": row.pop("paid")}


def by_provider(records: QuerySet[UsageRecord], *names: str) -> Iterator[dict[str, Any]]:
    """Yield how long the charged chats took, by `names` and by provider, each with the fields of `LatencySum`."""
    rows: Any = records.filter(state__in=CHARGED).order_by().values(*names, "provider")
    for row in rows.annotate(last=Max("finished_at"), **within("duration_ms"), **within("first_token_ms")):
        row["durations"], row["first_tokens"] = popped(row, "duration_ms"), popped(row, "first_token_ms")
        yield row


def within(column: str) -> dict[str, Any]:
    """Return how many values there are, and within each bound."""
    counts = {f"{column}_{bound}": Count("pk", filter=Q(**{f"{column}__lte": bound})) for bound in BOUNDS}
    return {f"{column}_all": Count(column)} | counts


def popped(row: dict[str, Any], column: str) -> list[int]:
    return [row.pop(f"{column}_{bound}") for bound in ("all", *BOUNDS)]


def by_call(records: QuerySet[UsageRecord]) -> list[tuple[Any, ...]]:
    """Return the calls to each provider and how many of them failed, as the fields CALLS of `CallSum`. A failure that
    another provider made good is one."""
    found, params = records.filter(attempts__isnull=False).order_by().values_list("attempts").query.sql_with_params()
    rows, fact = ATTEMPTS[connection.vendor]
    provider, number, reason = map(fact.format, ("provider", "number", "reason"))
    others = ", ".join(["%s"] * len(NOT_ITS_DOING))
    failed = f"SUM(CASE WHEN {reason} NOT IN ({others}) THEN 1 ELSE 0 END)"  # one that answered has no reason
    sums = f"SELECT {provider}, COUNT(*), {failed} FROM found, {rows} WHERE {number} IS NOT NULL GROUP BY 1 ORDER BY 1"
    with connection.cursor() as cursor:
        cursor.execute(f"WITH found (attempts) AS ({found}) {sums}", [*params, *NOT_ITS_DOING])
        return list(cursor.fetchall())


def by_user(records: QuerySet[UsageRecord]) -> QuerySet[Any, Any]:
    """Return what each record adds to the sums of its user and its key. A refused request is no chat."""
    rows: Any = records.order_by().annotate(
        chats=Case(When(state="refused", then=0), default=1),
        tokens=F("tokens_used"),
        paid=Coalesce("cost", 0),
        errors=Case(When(FAILED, then=1), default=0),
    )
    return rows.values_list("user_id", "api_key", "chats", "tokens", "paid", "errors")  # type: ignore[no-any-return]


def added_up(rows: QuerySet[Any, Any], sums: str) -> list[tuple[Any, ...]]:
    """Return the rows of `sums`, a query of `pairs`: the sums by `user_id, api_key` of rows as `by_user` has them."""
    found, params = rows.query.sql_with_params()
    pairs = f"SELECT user_id, api_key, {SUMS} FROM found GROUP BY user_id, api_key"
    with connection.cursor() as cursor:
        cursor.execute(f"WITH found ({', '.join(PAIR)}) AS ({found}), pairs AS ({pairs}) {sums}", params)
        return list(cursor.fetchall())


# --- where sums hold --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sources:
    """Of a time until now: the rollups that hold for parts of it, and the records of all the rest. Both have a `place`:
    the beginning of the step that they are in."""

    places: dict[int, datetime]
    records: QuerySet[UsageRecord]

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """Yield the sums by outcome, each with the `place` of its hour or day."""
        rows = OutcomeSum.objects.filter(rollup__in=list(self.places)).values("rollup_id", *OUTCOME, *FACTS)
        for row in rows:
            yield row | {"place": self.places[row["rollup_id"]]}
        yield from by_outcome(self.records, "place")

    def latencies(self) -> list[dict[str, Any]]:
        """Return how long chats took by provider, each with the `place` of its hour or day."""
        rows = LatencySum.objects.filter(rollup__in=list(self.places)).values("rollup_id", "provider", *TIMES)
        found = [row | {"place": self.places[row["rollup_id"]]} for row in rows]
        return [*found, *by_provider(self.records, "place")]

    def calls(self) -> list[tuple[Any, ...]]:
        """Return the calls to providers, as `by_call` has them; a provider may stand there more than once."""
        sums = CallSum.objects.filter(rollup__in=list(self.places)).values_list(*CALLS)
        return [*sums, *by_call(self.records)]

    def pairs(self) -> QuerySet[Any, Any]:
        """Return the rows by user and key, for `added_up`."""
        sums = UserSum.objects.filter(rollup__in=list(self.places)).values_list(*PAIR)
        return sums.union(by_user(self.records), all=True)


def sources(since: datetime, step: str) -> Sources:
    """Return from where the time since `since` is added up, in steps of an hour or a day. Days are taken before hours,
    and each moment once."""
    places, rest, reached = {}, Q(), since
    for rollup in Rollup.objects.filter(ready=True, start__gte=since).order_by("start", "-end"):
        if rollup.start < reached:
            continue  # an hour of a day that is summed
        if rollup.start > reached:
            rest |= Q(created_at__gte=reached, created_at__lt=rollup.start)
        places[rollup.pk], reached = period_start(step, rollup.start), rollup.end
    records = UsageRecord.objects.filter(rest | Q(created_at__gte=reached))
    return Sources(places, records.annotate(place=Trunc("created_at", step)))


# --- summing up -------------------------------------------------------------------------------------------------------
def missing(now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the days, and the hours of days that are not summed yet, that have ended and have no sums."""
    today = period_start("day", now)
    yield from _absent(now, (today - ago * DAY for ago in range(DAYS, 0, -1)), DAY)
    fresh = today if Rollup.objects.filter(ready=True, start=today - DAY, end=today).exists() else today - DAY
    yield from _absent(now, (fresh + number * HOUR for number in range(48)), HOUR)


def _absent(now: datetime, starts: Iterable[datetime], length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    there = set(Rollup.objects.filter(ready=True).values_list("start", "end"))
    times = ((start, start + length) for start in starts)
    yield from (time for time in times if time[1] + SETTLES <= now and time not in there)


def sum_up(start: datetime, end: datetime) -> bool:
    """Sum the records of a time up, and return whether that was done: not where one of them is not final yet.

    The rollup is written before its sums are: `forget` finds it, and waits until the sums are there to be forgotten.
    """
    rollup, _ = Rollup.objects.get_or_create(start=start, end=end)
    records = UsageRecord.objects.filter(created_at__gte=start, created_at__lt=end)
    with transaction.atomic():
        _see_one_moment()
        held = list(Rollup.objects.select_for_update().filter(pk=rollup.pk, ready=False))
        if not held or records.filter(state=UsageRecord.State.RESERVED).exists():
            return False
        for sums in (OutcomeSum, LatencySum, CallSum, UserSum):
            sums.objects.filter(rollup=rollup).delete()  # those that were forgotten
        _write(rollup, records)
        Rollup.objects.filter(pk=rollup.pk).update(ready=True)
    return True


def _see_one_moment() -> None:
    """Let all statements of the transaction that begins here see the same moment of the database."""
    if connection.vendor == "postgresql" and not connection.savepoint_ids:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _write(rollup: Rollup, records: QuerySet[UsageRecord]) -> None:
    OutcomeSum.objects.bulk_create([OutcomeSum(rollup=rollup, **row) for row in by_outcome(records)], BATCH)
    LatencySum.objects.bulk_create([LatencySum(rollup=rollup, **row) for row in by_provider(records)], BATCH)
    calls = [dict(zip(CALLS, row, strict=True)) for row in by_call(records)]
    CallSum.objects.bulk_create([CallSum(rollup=rollup, **row) for row in calls], BATCH)
    pairs = added_up(by_user(records), "SELECT * FROM pairs")
    UserSum.objects.bulk_create([UserSum(rollup=rollup, **dict(zip(PAIR, pair, strict=True))) for pair in pairs], BATCH)


def rebuild(now: datetime) -> Iterator[bool]:
    """Make all sums anew, the oldest first; yields of each whether it had been wrong."""
    kept = Rollup.objects.filter(ready=True, start__gte=period_start("day", now) - DAYS * DAY)
    for start, end in list(kept.values_list("start", "end")):
        before = contents(start, end)
        Rollup.objects.filter(start=start, end=end).update(ready=False)
        yield not sum_up(start, end) or contents(start, end) != before


def contents(start: datetime, end: datetime) -> tuple[Any, ...]:
    """Return all that the sums of a time say, to be compared."""
    rollup = Q(rollup__start=start, rollup__end=end)
    outcomes = OutcomeSum.objects.filter(rollup).order_by(*OUTCOME).values_list(*OUTCOME, *FACTS)
    latencies = LatencySum.objects.filter(rollup).order_by("provider").values_list("provider", *TIMES)
    calls = CallSum.objects.filter(rollup).order_by("provider").values_list(*CALLS)
    pairs = UserSum.objects.filter(rollup).order_by().values_list(*PAIR)
    users = added_up(pairs, "SELECT * FROM pairs ORDER BY user_id, api_key")
    return list(outcomes), list(latencies), list(calls), users


# --- forgetting -------------------------------------------------------------------------------------------------------
def forget_after_commit(at: datetime) -> None:
    """Forget the sums of a time in which a record has changed after all. A `sum_up` that did not see the change has the
    rollup locked until its sums are there. Raises nothing."""
    if at < period_start("hour", timezone.now() - SETTLES):
        transaction.on_commit(partial(forget, at), robust=True)


def forget(at: datetime) -> None:
    Rollup.objects.filter(start__lte=at, end__gt=at).update(ready=False)


def forget_old(now: datetime) -> None:
    """Forget the sums that no page asks for any more: of times long past, and of hours whose day has its own."""
    yesterday = period_start("day", now) - DAY
    whole = Rollup.objects.filter(ready=True, start__lte=OuterRef("start"), end__gte=OuterRef("end"))
    hours = Rollup.objects.filter(Exists(whole.exclude(pk=OuterRef("pk"))), end__lte=yesterday)
    # Once a page that took the hours is done with them.
    hours.delete()
    Rollup.objects.filter(end__lt=yesterday - DAYS * DAY).delete()
