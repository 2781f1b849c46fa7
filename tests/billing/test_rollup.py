"""Sums of the records, which must be as exact as the records at every moment."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from chat.accounts import deletion
from chat.billing import budgets, rollup
from chat.dashboard import figures
from chat.models import OutcomeSum, Rollup, UsageRecord, UserSum
from chat.types import Attempt, Settlement, Usage
from tests.dashboard.test_overview import add

pytestmark = pytest.mark.django_db
OUTCOMES = (
    {"state": "settled"},
    {"state": "settled", "provider": "q"},
    {"state": "truncated", "error": "ClientLeft"},
    {"state": "truncated", "error": "ProviderTimeoutError"},
    {"state": "released", "error": "ProviderTimeoutError"},
    {"state": "released", "error": "ProviderTimeoutError", "cached": True},
    {"state": "reclaimed", "error": "WorkerLost"},
    {"state": "refused", "error": "RateLimitExceededError"},
)
ATTEMPTS: tuple[Any, ...] = (
    None,
    [],
    [{"provider": "p", "number": 1}],
    [{"provider": "p", "reason": "ProviderRateLimitError"}, {"provider": "q", "number": 1}],
    [{"provider": "p", "number": 1, "reason": "ProviderTimeoutError"}, {"provider": "q", "number": 2}],
    [{"provider": "p", "number": 1, "reason": "abandoned"}, {"provider": "q", "number": 2}],
    [{"provider": "q", "number": 1, "reason": "ProviderRequestRejectedError"}],
)
KEYS = (None, "6f9619ff-8b86-4d01-b42d-00c04fc964ff", "16fd2706-8baf-433b-82eb-8c7fada847da")


@pytest.fixture(autouse=True)
def clock(time_machine):
    time_machine.move_to("2027-03-10T12:30:00Z", tick=False)
    return time_machine


@pytest.fixture
def users(django_user_model):
    return [None, *(django_user_model.objects.create(username=f"u{number}") for number in range(22))]


@pytest.fixture
def records(users):
    chance = random.Random(4)
    for _ in range(150):
        facts = dict(chance.choice(OUTCOMES))
        if facts["state"] in ("settled", "truncated"):
            facts |= {"tokens_used": chance.randrange(1_000), "cost": chance.choice([None, chance.randrange(10**9)])}
            facts |= {"duration_ms": chance.randrange(700_000), "first_token_ms": chance.choice([None, 120, 900])}
        elif facts["state"] == "refused":
            facts["repeats"] = chance.randrange(3)
        ago = timedelta(seconds=chance.randrange(chance.choice([40 * 3_600, 32 * 86_400])))
        add(
            chance.choice(users),
            ago,
            model=chance.choice("mn"),
            api_key=chance.choice(KEYS),
            uncharged_tokens=chance.choice([0, 7]),
            attempts=chance.choice(ATTEMPTS),
            **facts,
        )


def all_figures():
    """Everything that the pages show, of each time, order and page."""
    now = timezone.now()
    spans = [(span, 1) for span in figures.SPANS.values()] + [(figures.SPANS["30"], 2)]
    found = [figures.overview(span, order, page, now) for span, page in spans for order in figures.ORDERS]
    return [*found, figures.glance(now)]


def summed():
    """Sum all that can be summed, as cron does."""
    call_command("roll_up")
    return Rollup.objects.filter(ready=True).count()


def test_every_figure_is_the_same_with_and_without_sums(records):
    without = all_figures()
    assert len({row["name"] for row in without[0]["users"]}) > 5
    failed = {row["key"]: row["failed_calls"] for row in without[-2]["providers"]}
    assert (failed["p"] > 5, failed["q"]) == (True, 0)
    assert summed() == 31 + 12  # the days, and today's hours until noon
    assert all_figures() == without
    Rollup.objects.filter(start__day__in=[3, 4, 8]).delete()  # holes
    Rollup.objects.filter(start__day=10, start__hour=5).delete()
    assert all_figures() == without


def test_the_pages_take_the_sums_and_read_no_record_that_is_in_them(records):
    summed()
    UsageRecord.objects.filter(created_at__lt=timezone.now() - timedelta(hours=1)).delete()
    totals = figures.glance(timezone.now())["30"]
    assert totals["chats"] > 80
    assert totals["p95"]


def test_an_hour_is_summed_ten_minutes_after_its_end(clock, user):
    add(user, tokens_used=5)
    clock.move_to("2027-03-10T13:09:59Z", tick=False)
    call_command("roll_up")
    assert OutcomeSum.objects.count() == 0
    clock.move_to("2027-03-10T13:10:00Z", tick=False)
    call_command("roll_up")
    assert OutcomeSum.objects.get().tokens == 5


def test_a_time_waits_for_its_last_chat_and_its_day_takes_the_place_of_its_hours(clock, user, capsys):
    record = add(user, state="reserved", finished_at=None)
    add(user, tokens_used=5)
    clock.move_to("2027-03-11T00:30:00Z", tick=False)
    summed()
    assert "left for later 2 times, since a chat of it may still run" in capsys.readouterr().out
    assert OutcomeSum.objects.count() == 0
    UsageRecord.objects.filter(pk=record.pk).update(state="released", finished_at=timezone.now())
    before = all_figures()
    summed()
    assert UserSum.objects.get().chats == 2
    assert all_figures() == before
    clock.move_to("2027-03-12T12:00:00Z", tick=False)
    summed()
    hours = [each for each in Rollup.objects.all() if each.end - each.start == rollup.HOUR]
    assert {each.start.day for each in hours} == {12}
    clock.move_to("2027-05-12T12:00:00Z", tick=False)
    summed()
    assert Rollup.objects.order_by("start").first().start.month == 4


def test_a_chat_that_ends_after_it_was_taken_for_dead_is_summed_anew(clock, user, transactional_db):
    taken = budgets.reserve(user, request_id="r", model="m", prompt_tokens=1, max_tokens=10, default_tokens=10)
    clock.shift(7_200)
    budgets.reclaim()
    summed()
    assert OutcomeSum.objects.get().state == "reclaimed"
    budgets.settle(Settlement(taken, "settled", Usage(3, 4), provider="p"))
    assert figures.glance(timezone.now())["today"]["tokens"] == 7
    summed()
    assert OutcomeSum.objects.get().tokens == 7


def test_tokens_that_were_billed_in_vain_are_summed_however_late_they_are_known(clock, user, transactional_db):
    taken = budgets.reserve(user, request_id="r", model="m", prompt_tokens=1, max_tokens=10, default_tokens=10)
    budgets.settle(Settlement(taken, "settled", Usage(3, 4), provider="p"))
    clock.shift(7_200)
    summed()
    budgets.add_uncharged(taken, Attempt("p", "m", 1, tokens=42))
    assert figures.glance(timezone.now())["today"]["uncharged"] == 42
    summed()
    assert OutcomeSum.objects.get().uncharged == 42


def test_a_change_that_comes_while_its_time_is_summed_has_it_summed_anew(clock, user, transactional_db):
    """A charge after `sum_up` has seen the records and before it commits: the lock makes `forget` wait."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    record = add(user, state="reclaimed")
    clock.shift(7_200)
    start = timezone.now().replace(hour=12, minute=0)
    seen, charged = threading.Event(), threading.Event()

    def hold(execute, sql, *arguments):
        result = execute(sql, *arguments)
        if 'INSERT INTO "chat_outcomesum"' in sql:
            seen.set()
            assert charged.wait(30)
        return result

    def sum_up():
        with connection.execute_wrapper(hold):
            assert rollup.sum_up(start, start + rollup.HOUR)
        connection.close()

    def charge():
        UsageRecord.objects.filter(pk=record.pk).update(state="settled", tokens_used=9)
        charged.set()
        rollup.forget_after_commit(record.created_at)
        connection.close()

    summing = threading.Thread(target=sum_up)
    summing.start()
    assert seen.wait(30)
    charging = threading.Thread(target=charge)
    charging.start()
    summing.join()
    charging.join()
    assert not Rollup.objects.filter(ready=True).exists()
    assert figures.glance(timezone.now())["today"]["tokens"] == 9


def test_the_sums_of_a_deleted_user_name_nobody(records, users):
    summed()
    theirs = UserSum.objects.filter(user=users[1].pk)
    assert theirs.exists()
    for _ in deletion.delete(users[1], by="an operator"):
        pass
    assert not theirs.exists()
    with_sums = all_figures()
    Rollup.objects.all().delete()
    assert all_figures() == with_sums


def test_all_is_made_anew_and_the_wrong_ones_are_counted(records, capsys):
    summed()
    call_command("roll_up", "--rebuild")
    assert "Made anew: 43 sums, of which 0 had been wrong." in capsys.readouterr().out
    right = all_figures()
    UserSum.objects.filter(pk=UserSum.objects.first().pk).update(tokens=1_000_000)
    UsageRecord.objects.filter(created_at__day=5).update(tokens_used=1)
    call_command("roll_up", "--rebuild")
    assert "of which 2 had been wrong" in capsys.readouterr().out
    assert all_figures() != right
    Rollup.objects.all().delete()
    by_records = all_figures()
    summed()
    assert all_figures() == by_records


class Terminal(StringIO):
    def isatty(self):
        return True


def test_all_is_summed_on_a_terminal_too_where_the_bar_is_drawn(records, clock, monkeypatch):
    clock.move_to("2027-03-10T12:30:00Z", tick=True)  # or the bar would never be drawn again
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    out = StringIO()
    call_command("roll_up", stdout=out)
    call_command("roll_up", "--rebuild", stdout=out)
    assert terminal.getvalue().count("times") > 4
    assert out.getvalue().splitlines() == [
        "Summed: 43 times.",
        "Made anew: 43 sums, of which 0 had been wrong.",
        "Summed: 0 times.",
    ]
    assert Rollup.objects.filter(ready=True).count() == 43


def test_made_up_use_is_summed_and_goes_with_its_sums():
    call_command("seed_demo", "--chats=50")
    assert sum(UserSum.objects.values_list("chats", flat=True)) > 40
    call_command("seed_demo", "--clear")
    assert not OutcomeSum.objects.exists()
