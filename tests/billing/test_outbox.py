"""Ends of chats while the database is away: kept, told, and written later, exactly once."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from structlog.testing import capture_logs

from chat.billing import budgets, outbox
from chat.exceptions import DatabaseUnavailableError
from chat.models import BudgetPeriod, IdempotentRequest
from chat.types import Claim, Settlement, Usage
from tests.billing.booking import (
    EXPIRY,
    away,
    numbers,
    open_reservations,
    record_of,
    release,
    reserve,
    settle,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pauses")]


def test_an_end_that_cannot_be_written_is_kept_told_and_written_by_the_next_chat(user):
    kept, gone = reserve(user, 100, 50), reserve(user, 10, 10)
    with capture_logs() as logs, connection.execute_wrapper(away):
        settle(kept, 90, 30, uncharged=3)
        release(gone, error="ProviderTimeoutError")
        with pytest.raises(OperationalError):
            reserve(user)
    assert [line["log_level"] for line in logs] == ["critical", "critical"]
    facts = {"record_id": kept.record_id, "user_id": user.pk, "state": "settled", "provider": "p", "reserved": 150}
    facts |= {"period": "month", "period_start": kept.period_start.isoformat(), "estimated": False, "overrun": 0}
    facts |= {"prompt_tokens": 90, "completion_tokens": 30, "tokens_used": 120, "uncharged_tokens": 3}
    assert logs[0].items() >= ({"event": "budget_settlement_failed"} | facts).items()
    assert datetime.fromisoformat(logs[0]["finished_at"]).tzinfo == UTC
    assert (numbers(user), open_reservations()) == ([(0, 170)], 2)

    with capture_logs() as logs:
        reserve(user, 1, 1)
        settle(kept, 90, 30)
    recovered = [line["record_id"] for line in logs if line["event"] == "budget_settlement_recovered"]
    assert (sorted(recovered), numbers(user)) == ([kept.record_id, gone.record_id], [(120, 2)])
    assert (record_of(kept).uncharged_tokens, record_of(gone).error) == (3, "ProviderTimeoutError")


@pytest.mark.django_db(transaction=True)
def test_an_end_that_can_never_be_written_does_not_stand_in_the_way(user, monkeypatch):
    broken = reserve(user, 100, 50)
    BudgetPeriod.objects.update(reserved=0)  # somebody edited the numbers: giving back 150 would make them negative
    with capture_logs() as logs:
        release(broken, error="E")
    assert [line["event"] for line in logs] == ["budget_settlement_failed"]
    monkeypatch.setattr(outbox, "NEVER_WRITABLE", ())
    release(broken, error="E")
    monkeypatch.undo()
    assert len(outbox.pending) == 1
    with capture_logs() as logs:
        reserve(user, 1, 1)
    assert ([line["event"] for line in logs], len(outbox.pending)) == (["budget_settlement_failed"], 0)


@pytest.mark.django_db(transaction=True)
def test_nor_does_one_that_always_fails_and_nothing_is_lost_to_a_bug(user, monkeypatch):
    troubled, good = (Settlement(reserve(user, 10, 10), "settled", Usage(5, 5)) for _ in range(2))
    outcomes, write = iter([OperationalError("this row alone"), RuntimeError("a bug"), None]), outbox.write

    def fails_at_first(value):
        if value is troubled and (outcome := next(outcomes)):
            raise outcome
        write(value)

    monkeypatch.setattr(outbox, "write", fails_at_first)
    outbox.pending.extend([troubled, good])

    def pending_after_another_chat():
        with capture_logs() as logs:
            reserve(user, 1, 1)
        return len(outbox.pending), [line["event"] for line in logs if "settlement" in line["event"]]

    assert pending_after_another_chat() == (2, [])
    # The good one, and then the bug.
    assert pending_after_another_chat() == (1, ["budget_settlement_recovered", "budget_settlement_failed"])
    assert pending_after_another_chat() == (0, ["budget_settlement_recovered"])
    assert numbers(user) == [(20, 6)]


@pytest.mark.django_db(transaction=True)
def test_a_bug_in_the_writing_costs_no_answer_and_no_charge(user, monkeypatch):
    reservation = reserve(user, 100, 50)
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("chat.billing.reservations.end", lambda *args: 1 / 0)
        settle(reservation, 90, 30)
    assert [line["event"] for line in logs] == ["budget_settlement_failed"]
    outbox.write_pending()
    assert numbers(user) == [(120, 0)]


@pytest.mark.django_db(transaction=True)
def test_after_a_refusal_the_database_is_left_alone_for_a_second(user, monkeypatch):
    tries, now = [], [1000.0]
    outbox.pending.append(Settlement(reserve(user, 10, 10), "released"))
    monkeypatch.setattr(outbox, "REST", 1.0)
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def refuse(value):
        tries.append(now[0])
        raise OperationalError("gone")

    monkeypatch.setattr(outbox, "write", refuse)
    for now[0] in (1000.0, 1000.5, 1001.0):
        outbox.write_pending()
    outbox.write_pending(at_once=True)
    assert tries == [1000.0, 1001.0, 1001.0]


def key_of(user):
    """A key that a request of the user's has, and its claim with an answer to keep."""
    row = IdempotentRequest.objects.create(user=user, key="k", fingerprint="f", expires_at=datetime.now(UTC) + EXPIRY)
    return row, Claim(row.pk, row.expires_at, {"text": "hello"})


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_its_charge_are_written_together_or_not_at_all(user):
    reservation, (row, claim) = reserve(user, 100, 50), key_of(user)

    def away_at_the_end(execute, sql, params, many, context):
        if "chat_budgetperiod" in sql:
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(away_at_the_end):
        settle(reservation, 90, 30, claim=claim)
    row.refresh_from_db()
    assert (row.answer, numbers(user), len(outbox.pending)) == (None, [(0, 150)], 1)
    outbox.write_pending()
    row.refresh_from_db()
    assert (row.answer, numbers(user), len(outbox.pending)) == ({"text": "hello"}, [(120, 0)], 0)
    assert row.expires_at > claim.expires_at


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("meanwhile", "state", "error", "numbers_then", "uncharged"),
    [("taken over", "released", "AnsweredAgain", (0, 0), 127), ("deleted", "settled", "", (120, 0), 7)],
)
def test_nobody_pays_for_an_answer_in_whose_place_another_was_kept(
    user, meanwhile, state, error, numbers_then, uncharged
):
    reservation, (row, claim) = reserve(user, 100, 50), key_of(user)
    if meanwhile == "taken over":
        IdempotentRequest.objects.update(expires_at=claim.expires_at + EXPIRY)
    else:
        row.delete()
    settle(reservation, 90, 30, uncharged=7, claim=claim)
    record = record_of(reservation)
    assert (record.state, record.error, numbers(user)) == (state, error, [numbers_then])
    assert (record.uncharged_tokens, record.overrun) == (uncharged, 0)
    assert not IdempotentRequest.objects.exclude(answer=None).exists()


@pytest.mark.django_db(transaction=True)
def test_a_bill_that_can_never_be_written_does_not_cost_the_answer_that_was_to_be_kept_with_it(user):
    broken, (row, claim) = reserve(user, 100, 50), key_of(user)
    BudgetPeriod.objects.update(reserved=0)
    settle(broken, 90, 30, claim=claim)
    row.refresh_from_db()
    assert (row.answer, len(outbox.pending)) == ({"text": "hello"}, 0)


@pytest.mark.django_db(transaction=True)
def test_a_period_that_is_deleted_at_this_moment_is_no_bug_either(user, monkeypatch):
    monkeypatch.setattr(budgets, "reclaim", lambda user_id: BudgetPeriod.objects.all().delete())
    with pytest.raises(DatabaseUnavailableError):
        reserve(user)


@pytest.mark.django_db(transaction=True)
def test_a_user_who_is_deleted_while_they_chat_is_told_to_come_back(user):
    type(user).objects.filter(pk=user.pk).delete()
    with pytest.raises(DatabaseUnavailableError, match="deleted at this moment"):
        reserve(user)
    assert not BudgetPeriod.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="PostgreSQL has tests of its own in test_budget_concurrency"
)
def test_a_file_that_another_process_holds_delays_a_charge_and_loses_none(user, monkeypatch):
    reservation, second = reserve(user, 100, 50), reserve(user, 10, 10)
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.01)
    thief = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(outbox, "PAUSES", (0, 0, 0))
    monkeypatch.setattr(outbox.time, "sleep", lambda pause: None)
    settle(reservation, 90, 30)
    assert len(outbox.pending) == 1
    monkeypatch.setattr(outbox, "PAUSES", (5, 5))
    monkeypatch.setattr(outbox.time, "sleep", lambda pause: thief.execute("ROLLBACK"))
    settle(second, 10, 5)
    thief.close()
    assert (len(outbox.pending), numbers(user)) == (1, [(15, 150)])
    reserve(user, 1, 1)
    assert (len(outbox.pending), numbers(user)) == (0, [(135, 2)])
    connection.close()
