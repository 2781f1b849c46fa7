"""Pruning: whatever is deleted, the books agree afterwards."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.billing import budgets, ledger
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Settlement, Usage
from tests.billing.books import NOW, audit, live, reserve
from tests.support.commands import run
from tests.support.rig import eventually

pytestmark = pytest.mark.django_db
State = UsageRecord.State


def prune(days: int = 60) -> str:
    with time_machine.travel(NOW):
        return run("prune_records", "--older-than", f"{days}d")


@pytest.mark.parametrize(
    ("period", "goes", "stays"),
    [
        ("hour", "2026-04-16 11:59 +0000", "2026-04-16 12:01 +0000"),
        ("day", "2026-04-15 23:50 +0000", "2026-04-16 00:01 +0000"),
        ("month", "2026-03-31 23:50 +0000", "2026-04-01 00:01 +0000"),
    ],
)
def test_only_periods_that_had_ended_by_then_go(user, period, goes, stays):
    TokenBudget.objects.create(user=user, limit=1000, period=period)
    for when in (goes, stays, NOW):
        live(user, when)

    assert prune() == "Deleted from before 2026-04-16 12:30 UTC: 4 records, 1 period.\n"

    left = UsageRecord.objects.values_list("created_at", flat=True)
    assert {when.date() for when in left} == {datetime.fromisoformat(when).date() for when in (stays, NOW)}
    assert UsageRecord.objects.count() == 8
    assert list(BudgetPeriod.objects.values_list("used", flat=True)) == [30, 30]
    assert audit() == []
    assert prune() == "Deleted from before 2026-04-16 12:30 UTC: 0 records, 0 periods.\n"


def test_an_open_reservation_is_never_deleted(user):
    live(user, "2025-01-10 10:00 +0000")
    with time_machine.travel("2025-01-10 11:00 +0000"):
        reserve(user)

    assert prune() == "Deleted from before 2026-04-16 12:30 UTC: 4 records, 0 periods.\n"

    assert UsageRecord.objects.get().state == State.RESERVED
    assert BudgetPeriod.objects.values_list("used", "reserved").get() == (0, 14)
    assert audit() == []
    budgets.reclaim()
    assert prune() == "Deleted from before 2026-04-16 12:30 UTC: 1 record, 1 period.\n"
    assert audit() == []


def test_the_books_agree_after_each_batch_and_it_may_be_stopped_at_any(user, admin_user, monkeypatch):
    monkeypatch.setattr(ledger, "BATCH", 3)
    for who, month in itertools.product((user, admin_user), (1, 2, 3)):
        live(who, f"2026-0{month}-10 10:00 +0000")
    before, sizes = datetime(2026, 4, 10, tzinfo=UTC), []

    for size in itertools.islice(ledger.prune_records(before), 3):
        sizes.append(size)
        assert audit() == []

    assert (sizes, UsageRecord.objects.count()) == ([3, 3, 3], 15)
    assert list(ledger.prune_records(before)) == [3, 3, 3, 3, 3]
    assert ledger.prune_periods(before) == 6


def test_more_records_of_one_moment_than_a_batch_holds(user, monkeypatch):
    monkeypatch.setattr(ledger, "BATCH", 2)
    with time_machine.travel("2026-01-10 10:00 +0000", tick=False):
        for _ in range(7):
            budgets.settle(Settlement(reserve(user), "settled", Usage(3, 4), "p"))

    assert prune().endswith(": 7 records, 1 period.\n")


def test_a_period_that_did_not_agree_is_not_swept_under_the_carpet(user):
    live(user, "2026-01-10 10:00 +0000")
    BudgetPeriod.objects.update(used=F("used") + 5)

    assert prune().endswith(": 4 records, 0 periods.\n")

    (found,) = audit()
    assert (found.used_recorded, found.used_stored) == (0, 5)


def test_a_period_that_holds_less_than_its_records_ends_it_with_what_to_do(user):
    live(user, "2026-01-10 10:00 +0000")
    BudgetPeriod.objects.update(used=29)

    with pytest.raises(CommandError, match=r"After 0 records .*holds less.*manage.py audit_budgets"):
        prune()

    assert UsageRecord.objects.count() == 4
    assert BudgetPeriod.objects.get().used == 29


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_take_nothing_off_twice(monkeypatch):
    monkeypatch.setattr(ledger, "BATCH", 5)
    user = get_user_model().objects.create_user("ada")
    for month in range(1, 7):
        live(user, f"2025-0{month}-10 10:00 +0000")
    live(user, "2026-06-10 10:00 +0000")
    start = threading.Barrier(2)

    def prune_all() -> int:
        try:
            start.wait()
            return sum(ledger.prune_records(datetime(2026, 1, 1, tzinfo=UTC)))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(prune_all) for _ in range(2)]

    assert sum(run.result() for run in runs) == 24
    assert audit() == []
    assert set(BudgetPeriod.objects.values_list("start__year", "used")) == {(2025, 0), (2026, 30)}


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL locks rows")
def test_a_batch_reads_no_more_than_it_deletes(user):
    live(user, "2025-01-10 10:00 +0000")
    with CaptureQueriesContext(connection) as queries:
        assert list(ledger.prune_records(datetime(2026, 1, 1, tzinfo=UTC))) == [4]
    assert not [query["sql"] for query in queries if "EXISTS" in query["sql"]]  # all periods, and their users' records


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one lock for all rows")
def test_two_runs_at_once_lock_the_periods_they_share_in_one_order():
    users = [get_user_model().objects.create_user(f"user-{number}") for number in range(5)]
    for user in users:
        live(user, "2025-01-10 10:00 +0000")
    first, *others = BudgetPeriod.objects.order_by("pk")
    BudgetPeriod.objects.filter(pk=first.pk).update(used=F("used"))  # its row lies behind the others' now

    def prune_all() -> int:
        try:
            return sum(ledger.prune_records(datetime(2026, 1, 1, tzinfo=UTC)))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            BudgetPeriod.objects.select_for_update().get(pk=first.pk)
            run = pool.submit(prune_all)
            with connection.cursor() as cursor:
                waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
                eventually(lambda: cursor.execute(waiting).fetchone())
            later = BudgetPeriod.objects.filter(pk__in=[period.pk for period in others])
            assert len(later.select_for_update(nowait=True)) == 4
        assert run.result() == 20


@pytest.mark.parametrize(
    "text", ["400", "d", "400 d", "400days", "-400d", "4.5d", "", "٤٠٠d", "400d\n", "9999999d", "1y"]
)
def test_an_age_that_cannot_be_read_is_refused_with_one_that_can(text):
    with pytest.raises(CommandError, match="--older-than is a number of days such as 400d, not "):
        run("prune_records", f"--older-than={text}")


@pytest.mark.parametrize("text", ["0d", "31d", "36501d", "999999d"])
def test_an_age_that_would_cut_into_what_users_see_is_refused(text):
    with pytest.raises(CommandError, match=f"must be from 32d to 36500d, not {text}: .*last 30 days"):
        run("prune_records", f"--older-than={text}")


@pytest.mark.parametrize("text", ["32d", "36500d"])
def test_the_limits_are_allowed(user, text):
    reserve(user)
    assert run("prune_records", "--older-than", text).endswith(": 0 records, 0 periods.\n")


def test_there_is_no_age_by_default():
    with pytest.raises(CommandError, match="required: --older-than"):
        run("prune_records")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_share_count_and_rate(user, monkeypatch):
    monkeypatch.setattr(ledger, "BATCH", 2)
    live(user, "2026-01-10 10:00 +0000")
    monkeypatch.setattr("sys.stderr", err := Terminal())

    assert prune().endswith(": 4 records, 1 period.\n")

    last = err.getvalue().split("\r")[-1]
    assert last.startswith("100%|")
    assert "| 4/4 [" in last
    assert " records/s]" in last


def test_elsewhere_there_is_none(user, monkeypatch):
    live(user, "2026-01-10 10:00 +0000")
    monkeypatch.setattr("sys.stderr", err := io.StringIO())
    prune()
    assert err.getvalue() == ""


def test_the_use_that_users_see_stays(auth_client, user):
    now = timezone.now()
    for days in (0, 29, 100):
        live(user, (now - timedelta(days=days)).isoformat())
    before = auth_client.get("/usage").json()

    run("prune_records", "--older-than", "32d")

    assert auth_client.get("/usage").json() == before
    assert len(before["daily"]) == 2
    assert UsageRecord.objects.count() == 8
