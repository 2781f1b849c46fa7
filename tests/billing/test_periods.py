"""The periods of a budget: when each ends, which one a chat is charged to, and what dead workers left open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from knox.models import get_token_model

from chat.billing import budgets
from chat.billing.allowance import usage_of
from chat.models import BudgetPeriod
from tests.billing.booking import (
    EXPIRY,
    numbers,
    record_of,
    refused,
    release,
    reserve,
    settle,
    spend,
    with_budget,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pauses")]

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


# --- told -------------------------------------------------------------------------------------------------------------
def test_each_end_of_a_reservation_is_an_event(rig, user, time_machine):
    rig.caplog.set_level("DEBUG", "chat.billing")
    time_machine.move_to(utc("2027-03-17T12:00:00"), tick=False)
    get_token_model().objects.update(expiry=None)
    names = ("budget_settled", "budget_released", "budget_reclaimed")
    assert rig.chat(headers={"X-Request-ID": "settled"}).status_code == 200
    rig.first.then("stream_cut")
    broken = rig.chat(content="Broken", stream=True, headers={"X-Request-ID": "truncated"})
    assert b"event: error" in b"".join(broken.streaming_content)
    rig.first.always = "bad_key"
    assert rig.chat(content="Again", headers={"X-Request-ID": "released"}).status_code == 503
    dead = reserve(user, 10, 10)
    time_machine.shift(EXPIRY)
    assert budgets.reclaim() == 1
    settled, truncated, released, reclaimed = lines = rig.events(*names)
    assert [line["event"] for line in lines] == ["budget_settled", *names]
    assert {line["level"] for line in lines} == {"debug"}
    assert (truncated["request_id"], truncated["state"], settled["state"]) == ("truncated", "truncated", "settled")
    assert [(line["request_id"], line["tokens_used"]) for line in (settled, released)] == [
        ("settled", 21),
        ("released", 0),
    ]
    assert min(settled["reserved"], released["reserved"]) > 64  # the limit, and the prompt
    assert (reclaimed["record_id"], reclaimed["reserved"], reclaimed["of_request"]) == (dead.record_id, 20, "r")
