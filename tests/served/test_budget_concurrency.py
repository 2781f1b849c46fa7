"""Budgets under many threads at once: exactly what fits is admitted, and nothing is counted twice or lost.

On SQLite in this run, and once more on PostgreSQL in a run of its own, unless this one is on PostgreSQL anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from time import monotonic

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from django.db.models import Sum
from psycopg import sql
from structlog.testing import capture_logs

from chat.billing import budgets, outbox
from chat.exceptions import TokenBudgetExceededError
from chat.models import BudgetPeriod, UsageRecord
from chat.types import Settlement
from tests.billing import test_money
from tests.billing.booking import numbers, record_of, reserve, settle, spend, with_budget
from tests.billing.test_money import money, with_money

pytestmark = pytest.mark.django_db(transaction=True)
ON_POSTGRES = "postgresql" in os.environ.get("DATABASE_URL", "").partition(":")[0]
only_postgres = pytest.mark.skipif(not ON_POSTGRES, reason="runs in the PostgreSQL run")
THREADS, TRIES = 64, 4


def at_once(function, arguments):
    """`function` of each argument, each in a thread of its own, all begun together; what each returned or raised."""
    arguments = list(arguments)
    barrier = Barrier(len(arguments))

    def run(argument):
        barrier.wait()
        try:
            return function(argument)
        except Exception as exc:
            return exc
        finally:
            connections.close_all()

    connections.close_all()
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(run, arguments))


def chats(user, *request, reserve=reserve):
    """A thread's work: `TRIES` reservations, the connection given back after each as a chat does it."""

    def work(number):
        admitted = []
        for _ in range(TRIES):
            try:
                admitted.append(reserve(user, *request))
            except TokenBudgetExceededError:
                admitted.append(None)
            budgets.release_connection()
        return admitted

    return work


def check_sums():
    """The period rows say what the records say."""
    for row in BudgetPeriod.objects.all():
        records = UsageRecord.objects.filter(user=row.user_id, period=row.period, period_start=row.start)
        held = records.filter(state="reserved").aggregate(sum=Sum("reserved"))["sum"] or 0
        assert (row.used, row.reserved) == (records.aggregate(sum=Sum("tokens_used"))["sum"] or 0, held)
        held = records.filter(state="reserved").aggregate(sum=Sum("cost_reserved"))["sum"] or 0
        assert (row.cost_used, row.cost_reserved) == (records.aggregate(sum=Sum("cost"))["sum"] or 0, held)


@pytest.mark.parametrize("start", ["a new user", "a new period"])
def test_exactly_what_fits_is_admitted(user, time_machine, start):
    user = with_budget(user, 10_000)
    time_machine.move_to(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), tick=False)
    if start == "a new period":
        spend(user, 10_000)
        time_machine.shift(timedelta(seconds=1))
    results = at_once(chats(user, 60, 40), range(THREADS))
    assert [result for result in results if isinstance(result, Exception)] == []
    admitted = [reservation for result in results for reservation in result if reservation]
    assert (len(admitted), numbers(user)[-1]) == (100, (0, 10_000))

    failures = at_once(lambda reservation: settle(reservation, 50, 25), admitted)
    assert (Counter(failures), len(outbox.pending)) == ({None: 100}, 0)
    assert numbers(user)[-1] == (7500, 0)
    check_sums()


def test_exactly_what_the_money_pays_for_is_admitted(user):
    user = with_money(user, 46_000)
    results = at_once(chats(user, 60, 40, reserve=test_money.reserve), range(THREADS))
    assert [result for result in results if isinstance(result, Exception)] == []
    admitted = [reservation for result in results for reservation in result if reservation]
    assert (len(admitted), money(user)) == (100, [(0, 46_000)])
    at_once(lambda reservation: settle(reservation, 50, 25, cost=300), admitted)
    assert (money(user), len(outbox.pending)) == ([(30_000, 0)], 0)
    check_sums()


def test_concurrent_clamps_share_the_money_to_the_last_token(user):
    user = with_money(user, 9_640)
    results = at_once(chats(user, 10, None, 300, reserve=test_money.reserve), range(8))
    outputs = sorted(reservation.output_tokens for result in results for reservation in result if reservation)
    assert (outputs, money(user)) == ([60, 300, 300, 300], [(0, 9_640)])


def test_concurrent_clamps_share_what_is_left_to_the_last_token(user):
    user = with_budget(user, 1000)
    results = at_once(chats(user, 10, None, 300), range(8))
    outputs = sorted(reservation.output_tokens for result in results for reservation in result if reservation)
    assert (outputs, numbers(user)) == ([60, 300, 300, 300], [(0, 1000)])


@pytest.mark.parametrize("turn", range(4))
def test_a_long_chat_gets_what_many_short_ones_leave(user, turn):
    user = with_budget(user, 10_000)
    short, long = chats(user, 1, 1), chats(user, 1, None, 20_000)
    results = at_once(lambda step: step(0), [*[short] * 12, long, *[short] * 12])
    (reservation,) = filter(None, results[12])
    assert reservation.tokens >= 10_000 - 24 * TRIES * 2
    assert numbers(user) == [(0, 10_000)]


def test_a_chat_ended_by_many_threads_is_charged_once(user):
    reservation = reserve(user, 60, 40)
    at_once(lambda tokens: settle(reservation, tokens), range(1, 17))
    ((used, reserved),) = numbers(user)
    assert (used, reserved) == (record_of(reservation).tokens_used, 0)


def test_a_chat_settled_while_it_is_reclaimed_is_charged_once(user, settings):
    settings.RESERVATION_MARGIN = -settings.CHAT_DEADLINE  # everything expires at once
    user = with_budget(user, 10_000)
    reservations = [reserve(user, 60, 40) for _ in range(24)]
    work = [lambda r=r: settle(r, 50, 25) for r in reservations] + [budgets.reclaim] * 8
    results = at_once(lambda step: step(), work)
    assert [result for result in results if isinstance(result, Exception)] == []
    assert (numbers(user), len(outbox.pending)) == ([(24 * 75, 0)], 0)
    assert set(UsageRecord.objects.values_list("state", flat=True)) == {"settled"}


def test_everything_at_once_neither_locks_up_nor_loses_a_token(user, settings):
    settings.RESERVATION_MARGIN = -settings.CHAT_DEADLINE
    user = with_budget(user, 1000)

    def work(number):
        for turn in range(6):
            try:
                reservation = reserve(user, 50, None, 200)
            except TokenBudgetExceededError:
                budgets.reclaim()
                continue
            if (number + turn) % 3 == 0:
                settle(reservation, 3)
            elif (number + turn) % 3 == 1:
                budgets.settle(Settlement(reservation, "released", error="E"))
            budgets.release_connection()

    with capture_logs() as logs:
        results = at_once(work, range(16))
    assert set(results) == {None}
    assert [line for line in logs if line["log_level"] not in {"debug", "info"}] == []
    while budgets.reclaim():
        pass
    check_sums()
    assert numbers(user)[0][1] == 0


# --- PostgreSQL -------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(ON_POSTGRES, reason="this run is on PostgreSQL")
@pytest.mark.django_db(transaction=False)
def test_all_this_holds_on_postgresql(postgres_url):
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-x", __file__]
    done = subprocess.run(
        command, env={**os.environ, "DATABASE_URL": postgres_url}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed, 1 skipped" in done.stdout


@pytest.fixture
def postgres():
    """`postgres("SQL {}")` runs SQL about the tests' own database, from another connection."""
    settings = connection.settings_dict
    url = f"postgresql://{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/postgres"
    with psycopg.connect(url, autocommit=True) as admin:
        name = settings["NAME"]

        def out_of_reach(yes):
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), not yes))
            if yes:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

        yield out_of_reach
        out_of_reach(False)
        connection.close()
        connection.close_pool()  # and with it the connections that were ended


@only_postgres
def test_a_charge_survives_that_postgresql_ended_every_connection(user, postgres, monkeypatch):
    monkeypatch.setattr(outbox, "PAUSES", (0.01,) * 12)
    reservation = reserve(user, 60, 40)
    postgres(True)
    postgres(False)
    settle(reservation, 50, 25)
    assert (len(outbox.pending), numbers(user)) == (0, [(75, 0)])


@only_postgres
def test_while_postgresql_is_away_a_charge_is_kept_and_nothing_hangs(user, postgres, monkeypatch):
    monkeypatch.setattr(outbox, "REST", 0)
    reservation = reserve(user, 60, 40)
    budgets.release_connection()
    postgres(True)
    began = monotonic()
    settle(reservation, 50, 25)
    with pytest.raises(OperationalError):
        reserve(user, 1, 1)
    assert monotonic() - began < 10
    assert len(outbox.pending) == 1
    postgres(False)
    for _ in range(20):
        try:
            reserve(user, 1, 1)
            break
        except OperationalError:
            connection.close()
    assert (len(outbox.pending), numbers(user)) == (0, [(75, 2)])
