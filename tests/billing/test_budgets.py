"""Budgets by their numbers: what is set aside, charged and given back, and when."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from chat.billing import budgets, outbox
from chat.billing.allowance import allowance, period_end, period_start, usage_of
from chat.exceptions import DatabaseUnavailableError, TokenBudgetExceededError
from chat.models import BudgetPeriod, IdempotentRequest, TokenBudget, UsageRecord
from chat.types import Attempt, Claim, Settlement, Usage

pytestmark = pytest.mark.django_db
EXPIRY = timedelta(seconds=90)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSES", ())
    monkeypatch.setattr(outbox, "REST", 0)


def with_budget(user, limit, period="month"):
    """The user as the next request loads them, with that budget."""
    TokenBudget.objects.update_or_create(user=user, defaults={"limit": limit, "cost_limit": None, "period": period})
    return type(user).objects.select_related("token_budget").get(pk=user.pk)


def reserve(user, prompt=100, max_tokens=None, default=1000):
    return budgets.reserve(
        user, request_id="r", model="m", prompt_tokens=prompt, max_tokens=max_tokens, default_tokens=default
    )


def settle(reservation, prompt, completion=0, **facts):
    budgets.settle(Settlement(reservation, "settled", Usage(prompt, completion), "p", **facts))


def release(reservation, **facts):
    budgets.settle(Settlement(reservation, "released", **facts))


def spend(user, tokens):
    """Have `tokens` used in the current period."""
    settle(reserve(user, tokens - 1, max_tokens=1), tokens)


def numbers(user):
    """(used, reserved) of each of the user's periods, the oldest first."""
    return list(BudgetPeriod.objects.filter(user=user).order_by("start").values_list("used", "reserved"))


def record_of(reservation):
    return UsageRecord.objects.get(pk=reservation.record_id)


def open_reservations():
    return UsageRecord.objects.filter(state="reserved").count()


def refused(user, *args, **kwargs):
    before = numbers(user), UsageRecord.objects.count()
    with pytest.raises(TokenBudgetExceededError) as caught:
        reserve(user, *args, **kwargs)
    assert (numbers(user) or [(0, 0)], UsageRecord.objects.count()) == (before[0] or [(0, 0)], before[1])
    return caught.value


# --- one chat ---------------------------------------------------------------------------------------------------------
def test_a_chat_is_set_aside_and_then_charged_what_it_cost(user, settings):
    settings.CHAT_DEADLINE, settings.RESERVATION_MARGIN = 5, 7
    reservation = reserve(user, prompt=100, max_tokens=50)
    record = record_of(reservation)
    assert (reservation.tokens, reservation.output_tokens, numbers(user)) == (150, 50, [(0, 150)])
    assert (record.state, record.reserved, record.request_id, record.model) == ("reserved", 150, "r", "m")
    assert (record.expires_at - record.created_at, record.finished_at) == (timedelta(seconds=12), None)

    settle(reservation, 90, 30)
    record.refresh_from_db()
    assert numbers(user) == [(120, 0)]
    assert (record.state, record.provider, record.prompt_tokens, record.completion_tokens) == ("settled", "p", 90, 30)
    assert (record.tokens_used, record.overrun, record.uncharged_tokens, record.estimated) == (120, 0, 0, False)
    assert record.finished_at >= record.created_at


def test_a_chat_without_an_answer_is_given_back_and_says_why(user):
    reservation = reserve(user)
    release(reservation, error="ProviderTimeoutError", provider="p", uncharged=40)
    record = record_of(reservation)
    assert numbers(user) == [(0, 0)]
    assert (record.state, record.error, record.provider) == ("released", "ProviderTimeoutError", "p")
    assert (record.tokens_used, record.uncharged_tokens) == (0, 40)


def test_a_charge_above_the_reservation_is_made_in_full_and_recorded(user):
    user = with_budget(user, 200)
    reservation = reserve(user, prompt=100, max_tokens=50)
    settle(reservation, 260, 40, estimated=True, uncharged=7)
    record = record_of(reservation)
    assert numbers(user) == [(300, 0)]
    assert (record.tokens_used, record.overrun, record.estimated, record.uncharged_tokens) == (300, 150, True, 7)
    assert refused(user, 1, 1).tokens_remaining == 0


@pytest.mark.django_db(transaction=True)
def test_what_an_abandoned_call_cost_is_recorded_afterwards(user):
    reservation = reserve(user)
    settle(reservation, 10, 10, uncharged=5)
    with connection.execute_wrapper(away), capture_logs() as logs:
        budgets.add_uncharged(reservation, Attempt("p", "m", 1, tokens=400))
    assert [(line["event"], line["tokens"]) for line in logs] == [("uncharged_tokens_not_stored", 400)]
    budgets.add_uncharged(reservation, Attempt("p", "m", 1, tokens=30))
    assert (record_of(reservation).uncharged_tokens, numbers(user)) == (35, [(20, 0)])


SETTLE = (lambda r: settle(r, 70, 10), "settled", 80)
RELEASE = (lambda r: release(r, error="E"), "released", 0)


@pytest.mark.parametrize("second", [SETTLE, RELEASE], ids=["settle", "release"])
@pytest.mark.parametrize("first", [SETTLE, RELEASE], ids=["settle", "release"])
def test_only_the_first_end_of_a_chat_counts(user, first, second):
    reserve(user, prompt=3, max_tokens=4)
    reservation = reserve(user, prompt=100, max_tokens=50)
    for end in (first, second, second):
        end[0](reservation)
    assert (record_of(reservation).state, numbers(user)) == (first[1], [(first[2], 7)])


# --- what fits --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limit", "prompt", "max_tokens", "default", "output"),
    [
        (10_000, 100, None, 1000, 1000),
        (1100, 100, None, 1000, 1000),
        (1099, 100, None, 1000, 999),
        (116, 100, None, 1000, 16),
        (115, 100, None, 1000, None),
        (108, 100, None, 8, 8),  # a model whose answers are shorter than the smallest clamped one
        (107, 100, None, 8, None),
        (1100, 100, 1000, 10, 1000),
        (1099, 100, 1000, 10, None),  # what the client asked for is not cut
        (101, 100, 1, 1000, 1),
        (0, 1, 1, 1, None),
        (0, 0, None, 1000, None),
    ],
)
def test_the_answer_may_be_as_long_as_what_is_left(user, limit, prompt, max_tokens, default, output):
    user = with_budget(user, limit)
    if output is None:
        refused(user, prompt, max_tokens, default)
    else:
        reservation = reserve(user, prompt, max_tokens, default)
        assert (reservation.output_tokens, numbers(user)) == (output, [(0, prompt + output)])


def test_a_refusal_says_exactly_what_was_missing(user):
    user = with_budget(user, 10_000)
    spend(user, 9500)
    exc = refused(user, prompt=300, max_tokens=500)
    assert str(exc) == (
        f"Token budget exceeded. User {user.pk} has used 9500/10000 tokens. Current request needs 800 more."
    )
    assert (exc.user_id, exc.tokens_used, exc.tokens_limit, exc.tokens_needed) == (user.pk, 9500, 10_000, 800)
    assert (exc.tokens_reserved, exc.tokens_remaining, exc.can_ever_fit) == (0, 500, True)
    assert exc.resets_at == period_end("month", period_start("month", datetime.now(UTC)))


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "needed", "can_ever_fit"),
    [
        (100, None, 116, True),  # the least that a request of this prompt needs
        (984, None, 1000, True),
        (985, None, 1001, False),
        (400, 600, 1000, True),
        (400, 601, 1001, False),
    ],
)
def test_a_request_larger_than_the_whole_budget_is_told_apart(user, prompt, max_tokens, needed, can_ever_fit):
    user = with_budget(user, 1000)
    reserve(user, prompt=500, max_tokens=450)
    exc = refused(user, prompt, max_tokens)
    assert (exc.tokens_needed, exc.can_ever_fit) == (needed, can_ever_fit)
    assert (exc.tokens_used, exc.tokens_reserved, exc.tokens_remaining) == (0, 950, 50)


def test_a_limit_lowered_below_the_use_leaves_nothing_and_never_less(user):
    user = with_budget(user, 1000)
    spend(user, 600)
    held = reserve(user, prompt=100, max_tokens=100)
    user = with_budget(user, 500)
    exc = refused(user, 1, 1)
    assert (exc.tokens_used, exc.tokens_reserved, exc.tokens_limit, exc.tokens_remaining) == (600, 200, 500, 0)
    assert usage_of(user)["remaining"] == 0
    settle(held, 200)
    assert numbers(user) == [(800, 0)]
    assert reserve(with_budget(user, 900), 50, 50).tokens == 100


def test_a_user_without_a_budget_row_has_the_default_one(user, settings):
    settings.TOKEN_BUDGET_DEFAULT, settings.TOKEN_BUDGET_PERIOD = 120, "hour"
    assert reserve(user).output_tokens == 20
    assert (allowance(user).limit, allowance(user).period, TokenBudget.objects.count()) == (120, "hour", 0)


# --- periods ----------------------------------------------------------------------------------------------------------
PERIODS = [
    ("hour", "2026-05-31T23:59:59.999999", "2026-05-31T23", "2026-06-01T00"),
    ("hour", "2026-05-31T10:00:00", "2026-05-31T10", "2026-05-31T11"),
    ("day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
    ("day", "2028-02-28T23:59:59", "2028-02-28", "2028-02-29"),
    ("day", "2027-02-28T23:59:59", "2027-02-28", "2027-03-01"),
    ("month", "2026-01-01T00:00:00", "2026-01-01", "2026-02-01"),
    ("month", "2026-01-31T23:59:59", "2026-01-01", "2026-02-01"),
    ("month", "2026-04-30T23:59:59", "2026-04-01", "2026-05-01"),
    ("month", "2028-02-29T23:59:59", "2028-02-01", "2028-03-01"),
    ("month", "2027-02-28T23:59:59", "2027-02-01", "2027-03-01"),
    ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
]


def utc(text):
    return datetime.fromisoformat(text + ":00" * ("T" in text and ":" not in text)).replace(tzinfo=UTC)


@pytest.mark.parametrize(("period", "now", "start", "end"), PERIODS)
def test_a_period_ends_when_its_calendar_unit_does_in_utc(user, time_machine, period, now, start, end):
    user = with_budget(user, 100, period)
    time_machine.move_to(utc(now), tick=False)
    spend(user, 100)
    assert BudgetPeriod.objects.get().start == utc(start)
    assert refused(user, 1, 1).resets_at == usage_of(user)["resets_at"] == utc(end)
    time_machine.move_to(utc(end) - timedelta(microseconds=1), tick=False)
    refused(user, 1, 1)
    time_machine.move_to(utc(end), tick=False)
    reserve(user, 50, 50)
    assert numbers(user) == [(100, 0), (0, 100)]


def test_a_chat_is_charged_to_the_period_that_admitted_it(user, time_machine):
    user = with_budget(user, 100)
    time_machine.move_to(utc("2028-02-29T23:59:59"), tick=False)
    charged, given_back = reserve(user, 20, 20), reserve(user, 30, 30)
    time_machine.move_to(utc("2028-03-01T00:00:05"), tick=False)
    reserve(user, 50, 50)
    settle(charged, 10, 5)
    release(given_back, error="E")
    assert numbers(user) == [(15, 0), (0, 100)]


def test_another_kind_of_period_counts_for_itself(user, time_machine):
    time_machine.move_to(utc("2026-05-17T12:30:00"), tick=False)
    user = with_budget(user, 100, "month")
    spend(user, 90)
    held = reserve(user, 5, 5)
    user = with_budget(user, 100, "day")
    spend(user, 60)
    settle(held, 8)
    refused(user, 40, 1)
    assert numbers(user) == [(98, 0), (60, 0)]
    user = with_budget(user, 100, "month")
    assert refused(user, 2, 1).tokens_used == 98


def test_usage_is_told_by_day(user, time_machine):
    user = with_budget(user, 1000)
    for now, tokens in [("2026-03-02T23:59:59", 5), ("2026-03-03T00:00:00", 7), ("2026-04-01T09:00:00", 11)]:
        time_machine.move_to(utc(now), tick=False)
        spend(user, tokens)
    spend(user, 2)
    reserve(user, 3, 4)
    told = usage_of(user)
    daily = [(str(day["date"]), day["requests"], day["tokens_used"]) for day in told.pop("daily")]
    assert daily == [("2026-03-03", 1, 7), ("2026-04-01", 2, 13)]  # 30 whole days, today's being the last
    assert told == {
        "limit": 1000,
        "used": 13,
        "reserved": 7,
        "remaining": 980,
        "period": "month",
        "resets_at": utc("2026-05-01"),
        "cost": {"limit": None, "used": 0, "reserved": 0, "remaining": None},
        "models": [{"model": "m", "requests": 3, "tokens_used": 20, "cost": None}],
    }


# --- dead workers -----------------------------------------------------------------------------------------------------
def test_only_what_expired_is_reclaimed_of_one_user_or_of_all(user, django_user_model, time_machine):
    time_machine.move_to(utc("2026-05-17T12:00:00"), tick=False)
    other = django_user_model.objects.create_user("grace")
    dead, others = reserve(user, 10, 10), reserve(other, 10, 10)
    time_machine.shift(EXPIRY - timedelta(microseconds=1))
    alive = reserve(user, 1, 1)
    assert budgets.reclaim() == 0
    time_machine.shift(timedelta(microseconds=1))
    assert (budgets.reclaim(user_id=user.pk), numbers(user), numbers(other)) == (1, [(0, 2)], [(0, 20)])
    assert (budgets.reclaim(), budgets.reclaim(), numbers(other)) == (1, 0, [(0, 0)])
    assert [record_of(r).state for r in (dead, others, alive)] == ["reclaimed", "reclaimed", "reserved"]
    assert (record_of(dead).error, record_of(dead).tokens_used) == ("WorkerLost", 0)


def test_a_chat_that_would_not_fit_reclaims_first(user, django_user_model, time_machine):
    user, other = with_budget(user, 100), django_user_model.objects.create_user("grace")
    time_machine.move_to(utc("2026-05-17T12:00:00"), tick=False)
    dead, others = reserve(user, 50, 50), reserve(other, 50, 50)
    refused(user, 1, 1)
    time_machine.shift(EXPIRY)
    assert reserve(user, 50, 50).tokens == 100
    assert (record_of(dead).state, record_of(others).state) == ("reclaimed", "reserved")


def test_an_answer_that_comes_after_all_is_charged_once_and_all_of_it_is_overrun(user, time_machine):
    user = with_budget(user, 100)
    time_machine.move_to(utc("2026-05-17T12:00:00"), tick=False)
    late, failed = reserve(user, 20, 20), reserve(user, 10, 10)
    time_machine.shift(EXPIRY)
    assert budgets.reclaim() == 2
    reserve(user, 50, 50)
    for _ in range(2):
        settle(late, 20, 10)
        release(failed, error="E")
    assert numbers(user) == [(30, 100)]
    assert (record_of(late).state, record_of(late).overrun, record_of(failed).state) == ("settled", 30, "reclaimed")


# --- the database away ------------------------------------------------------------------------------------------------
def away(*args):
    raise OperationalError("the database is away")


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


# --- cost -------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", [SETTLE[0], RELEASE[0]], ids=["settle", "release"])
def test_a_chat_costs_one_statement_to_reserve_and_one_to_end_or_two_in_a_transaction(user, end):
    user = with_budget(user, 10_000)
    reserve(user, 1, 1)
    with CaptureQueriesContext(connection) as reserving:
        reservation = reserve(user)
    with CaptureQueriesContext(connection) as ending:
        end(reservation)
    for queries in (reserving, ending):
        words = [query["sql"].split()[0] for query in queries]
        if connection.vendor == "postgresql":
            assert words == ["WITH"]
        else:
            assert (words[0], words[-1], len(words)) == ("BEGIN", "COMMIT", 4), words
