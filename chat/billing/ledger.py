"""The books: whether the budget rows agree with the records behind them, and what of both is old enough to go.

Reading and pruning only; what chats write is written by budgets.py. Counts are tokens, costs nano-dollars, times UTC.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, Period, UsageRecord

WAITING_AFTER = timedelta(minutes=1)
"""The time after which a chat that must be over, and has no bill, is one too many."""
BATCH = 2_000
"""Rows that one transaction deletes: 0.2 s or less, since on SQLite no chat can write meanwhile."""

# One statement, so that it sees one moment of a database that is being written to. A record is open or final, whatever
# final states there are.
AUDIT = """
WITH entries AS (
    SELECT user_id, period, period_start AS start, tokens_used AS used_recorded, 0 AS used_stored,
           CASE WHEN state = %(open)s THEN reserved ELSE 0 END AS reserved_recorded, 0 AS reserved_stored,
           COALESCE(cost, 0) AS cost_recorded, 0 AS cost_stored,
           CASE WHEN state = %(open)s THEN cost_reserved ELSE 0 END AS held_recorded, 0 AS held_stored,
           1 AS records, 0 AS stored,
           CASE WHEN (state = %(open)s) <> (finished_at IS NULL)
                     OR (state = %(open)s AND (tokens_used <> 0 OR cost IS NOT NULL))
                THEN id END AS odd
    FROM {records} WHERE user_id IS NOT NULL  -- of a deleted user the records alone are left
        AND state <> %(refused)s
    UNION ALL
    SELECT user_id, period, start, 0, used, 0, reserved, 0, cost_used, 0, cost_reserved, 0, 1, NULL FROM {periods}
), sums AS (
    SELECT user_id, period, start, SUM(used_recorded) AS used_recorded, SUM(used_stored) AS used_stored,
           SUM(reserved_recorded) AS reserved_recorded, SUM(reserved_stored) AS reserved_stored,
           SUM(cost_recorded) AS cost_recorded, SUM(cost_stored) AS cost_stored,
           SUM(held_recorded) AS held_recorded, SUM(held_stored) AS held_stored,
           SUM(records) AS records, SUM(stored) AS stored, COUNT(odd) AS odd, MIN(odd) AS first_odd
    FROM entries GROUP BY user_id, period, start
), totals AS (
    SELECT COUNT(*) AS periods, COALESCE(SUM(records), 0) AS records FROM sums
)
SELECT totals.periods, totals.records, {users}.{username}, differing.period, differing.start,
       used_recorded, used_stored, reserved_recorded, reserved_stored,
       cost_recorded, cost_stored, held_recorded, held_stored, stored, odd, first_odd
FROM totals
LEFT JOIN (
    SELECT * FROM sums
    WHERE used_recorded <> used_stored OR reserved_recorded <> reserved_stored OR cost_recorded <> cost_stored
        OR held_recorded <> held_stored OR stored = 0 OR odd > 0
) AS differing ON 1 = 1
LEFT JOIN {users} ON {users}.{user_key} = differing.user_id
"""
CHARGE_BACK = """
UPDATE {periods} SET used = {periods}.used - gone.used, cost_used = {periods}.cost_used - gone.cost
FROM ({gone}) AS gone
WHERE {periods}.user_id = gone.user_id AND {periods}.period = gone.period AND {periods}.start = gone.period_start
"""


class Difference(NamedTuple):
    """A budget period that does not agree with its records. `cost` and `held` are the money used and reserved, in
    nano-dollars. `stored` is 0 where the row is missing; `odd` of the records, from id `first_odd`, have an end that
    does not fit their state."""

    username: str
    period: str
    start: datetime | str
    used_recorded: int
    used_stored: int
    reserved_recorded: int
    reserved_stored: int
    cost_recorded: int
    cost_stored: int
    held_recorded: int
    held_stored: int
    stored: int
    odd: int
    first_odd: int | None


@contextmanager
def audit() -> Iterator[tuple[int, int, Iterator[Difference]]]:
    """Return the numbers of periods and of records, and the differences between them, all of the same moment."""
    whole = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")  # which is for poolers, see `check_pooler`
    with connection.cursor() if whole else connection.chunked_cursor() as cursor:
        states = {"open": UsageRecord.State.RESERVED, "refused": UsageRecord.State.REFUSED}
        cursor.execute(_named(AUDIT), states)
        rows = chain.from_iterable(iter(lambda: cursor.fetchmany(1000), []))
        first = next(rows)
        # PostgreSQL's sums are decimals.
        found = (Difference._make([*row[2:5], *map(int, row[5:-1]), row[-1]]) for row in chain([first], rows) if row[3])
        yield first[0], int(first[1]), found


def prunable_records(before: datetime) -> QuerySet[UsageRecord]:
    """Records of periods that had ended by `before`, the oldest first; open reservations are not among them."""
    old = UsageRecord.objects.filter(_ended("period_start", before), created_at__lt=before)
    return old.exclude(state=UsageRecord.State.RESERVED).order_by("created_at")


def prune_records(before: datetime) -> Iterator[int]:
    """Delete them, batch by batch; yields how many each batch had.

    What they were charged is taken off their period in the same transaction, so that an audit agrees at any moment,
    and a period that did not agree still does not. Raises `IntegrityError` where a period holds less than its records.
    """
    reached = datetime.min.replace(tzinfo=UTC)
    while True:
        began = time.monotonic()
        with transaction.atomic():
            # Another run that overlaps takes others. From where the last batch ended, or each would pass over the
            # remains of all before it.
            rows = prunable_records(before).filter(created_at__gte=reached).select_for_update(skip_locked=True)
            batch = list(rows.values_list("pk", "created_at")[:BATCH])
            if not batch:
                return
            records = UsageRecord.objects.filter(pk__in=[pk for pk, _ in batch])
            if connection.features.has_select_for_update:
                _lock_periods(records)
            _charge_back(records)
            records.delete()
        reached = batch[-1][1]
        yield len(batch)
        time.sleep(time.monotonic() - began)  # half of the time is the chats'


def prune_periods(before: datetime) -> int:
    """Delete the periods that had ended by `before` and of which no record is left; returns how many."""
    total = 0
    nothing = dict.fromkeys(("used", "reserved", "cost_used", "cost_reserved"), 0)
    empty = BudgetPeriod.objects.filter(_ended("start", before), **nothing).order_by("start")
    while batch := list(empty.values_list("pk", flat=True)[:BATCH]):
        total += BudgetPeriod.objects.filter(pk__in=batch).delete()[0]
    return total


def _lock_periods(records: QuerySet[UsageRecord]) -> None:
    """Lock the periods in one order, or two runs that share some of the periods could each wait for the other."""
    theirs = records.order_by().filter(user=OuterRef("user"), period=OuterRef("period"), period_start=OuterRef("start"))
    list(BudgetPeriod.objects.filter(Exists(theirs)).order_by("pk").select_for_update().values_list("pk"))


def _charge_back(records: QuerySet[UsageRecord]) -> None:
    periods = records.order_by().values("user_id", "period", "period_start")
    sums = periods.annotate(used=Sum("tokens_used"), cost=Sum("cost", default=0))
    gone, params = sums.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(_named(CHARGE_BACK, gone=gone), params)


def _ended(field: str, before: datetime) -> Q:
    """Periods that lie wholly before `before`."""
    ended = Q()
    for period in Period.values:
        ended |= Q(("period", period), (f"{field}__lt", period_start(period, before)))
    return ended


def _named(statement: str, **parts: str) -> str:
    """Return the statement with the names of our tables."""
    users: Any = get_user_model()._meta
    return statement.format(
        records=UsageRecord._meta.db_table,
        periods=BudgetPeriod._meta.db_table,
        users=users.db_table,
        user_key=users.pk.column,
        username=users.get_field(users.model.USERNAME_FIELD).column,
        **parts,
    )


# --- open -------------------------------------------------------------------------------------------------------------
def in_flight(now: datetime) -> QuerySet[UsageRecord]:
    """Return the records of the chats that run, of all workers."""
    return UsageRecord.objects.filter(state=UsageRecord.State.RESERVED, expires_at__gte=now)


def overdue(now: datetime) -> QuerySet[UsageRecord]:
    """Return the records of the chats that must be over and have no bill, the oldest first. Their worker has it and
    cannot write it, or was killed."""
    late = UsageRecord.objects.filter(state=UsageRecord.State.RESERVED, expires_at__lt=now - WAITING_AFTER)
    return late.order_by("expires_at")
