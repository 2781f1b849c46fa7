"""The books: an audit that misses nothing and imagines nothing."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from chat.billing import budgets
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Settlement, Usage
from tests.billing.books import NOW, audit, live, reserve
from tests.support.commands import run

pytestmark = pytest.mark.django_db
State = UsageRecord.State


def test_all_agree_after_every_end_of_a_chat_and_with_one_that_runs(user, admin_user):
    for who, when in itertools.product((user, admin_user), (NOW, "2026-04-15 12:30 +0000")):
        live(who, when)
    reserve(user)

    assert run("audit_budgets") == "Compared 5 budget periods with 17 usage records: all agree.\n"


def test_nothing_agrees_with_nothing():
    assert run("audit_budgets") == "Compared 0 budget periods with 0 usage records: all agree.\n"


def test_but_an_empty_database_may_be_the_wrong_one_and_one_whose_users_were_deleted_is_not_empty(user):
    def doubts():
        err = io.StringIO()
        call_command("audit_budgets", stdout=io.StringIO(), stderr=err)
        return err.getvalue()

    assert "holds no usage records; is it the right one?" in doubts()
    live(user, NOW)
    run("delete_user", user.username)
    assert doubts() == ""


def of_record(**changes):
    return lambda: UsageRecord.objects.filter(pk=UsageRecord.objects.earliest("pk").pk).update(**changes)


DAMAGE = {
    "charged too much": (lambda: BudgetPeriod.objects.update(used=F("used") + 1), "30 31 14 14"),
    "charged too little": (lambda: BudgetPeriod.objects.update(used=0), "30 0 14 14"),
    "reserved too much": (lambda: BudgetPeriod.objects.update(reserved=F("reserved") + 1), "30 30 14 15"),
    "reserved too little": (lambda: BudgetPeriod.objects.update(reserved=0), "30 30 14 0"),
    "money charged too much": (
        lambda: BudgetPeriod.objects.update(cost_used=F("cost_used") + 1),
        "30 30 14 14 money used: recorded $0.00000023, stored $0.000000231",
    ),
    "money reserved too little": (
        lambda: BudgetPeriod.objects.update(cost_reserved=0),
        "30 30 14 14 money reserved: recorded $0.000000104, stored $0.00",
    ),
    "another cost": (of_record(cost=1), "30 30 14 14 money used: recorded $0.000000001, stored $0.00000023"),
    "no row": (
        lambda: BudgetPeriod.objects.all().delete(),
        "30 0 14 0 the period has no row; money used: recorded $0.00000023, stored $0.00; money reserved: recorded "
        "$0.000000104, stored $0.00",
    ),
    "no record": (
        lambda: UsageRecord.objects.all().delete(),
        "0 30 0 14 money used: recorded $0.00, stored $0.00000023; money reserved: recorded $0.00, stored $0.000000104",
    ),
    "another charge": (of_record(tokens_used=1_023), "1,030 30 14 14"),
    "no time of its end": (
        of_record(finished_at=None),
        "30 30 14 14 1 record with an end that does not fit the state, the first is {first}",
    ),
    "open, yet ended": (
        of_record(state=State.RESERVED, tokens_used=0, reserved=0, cost_reserved=0),
        "7 30 14 14 1 record with an end that does not fit the state, the first is {first}",
    ),
    "open, yet charged": (
        of_record(state=State.RESERVED, finished_at=None, reserved=0, cost_reserved=0),
        "30 30 14 14 1 record with an end that does not fit the state, the first is {first}",
    ),
}


@pytest.mark.parametrize(("damage", "shown"), DAMAGE.values(), ids=DAMAGE)
def test_every_damage_is_one_line_and_a_failure(user, admin_user, damage, shown):
    live(user)
    with time_machine.travel(NOW):
        reserve(user)
    first = UsageRecord.objects.earliest("pk").pk
    damage()
    out = io.StringIO()

    with pytest.raises(
        CommandError,
        match="Compared 1 budget period with . usage records?: 1 of them different.*budget_settlement_failed",
    ) as failed:
        call_command("audit_budgets", stdout=out)

    assert failed.value.returncode == 1
    _, line = out.getvalue().splitlines()
    assert line.split() == f"ada month 2026-06-01 00:00 {shown.format(first=first)}".split()


def test_a_missing_row_shows_even_where_nothing_was_charged(user):
    budgets.settle(Settlement(reserve(user), "released", error="ProviderTimeoutError"))
    BudgetPeriod.objects.all().delete()
    assert [(found.used_recorded, found.reserved_recorded, found.stored) for found in audit()] == [(0, 0, 0)]


def test_only_what_differs_is_shown(user, admin_user):
    for who, when in itertools.product((user, admin_user), (NOW, "2026-04-15 12:30 +0000")):
        live(who, when)
    BudgetPeriod.objects.filter(user=admin_user, start__month=4).update(used=29)

    (found,) = audit()

    assert (found.username, str(found.start)[:10]) == ("admin", "2026-04-01")
    assert (found.used_recorded, found.used_stored) == (30, 29)


def test_a_final_state_that_is_yet_to_be_invented_counts_as_final(user):
    live(user)
    UsageRecord.objects.filter(state=State.SETTLED).update(state="new")
    assert audit() == []


def test_the_whole_audit_is_one_statement(user, admin_user, django_assert_num_queries):
    live(user)
    live(admin_user)
    with django_assert_num_queries(1):
        assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_it_is_exact_while_chats_go_on(django_user_model):
    users = [django_user_model.objects.create_user(f"user{number}") for number in range(3)]
    TokenBudget.objects.bulk_create(TokenBudget(user=user, limit=10**9) for user in users)
    ended, chats, found = threading.Event(), [0] * len(users), []

    def chat(number: int) -> None:
        try:
            while not ended.is_set():
                budgets.settle(Settlement(reserve(users[number]), "settled", Usage(3, 4), "p"))
                chats[number] += 1
        finally:
            connection.close()

    with ThreadPoolExecutor(len(users)) as pool:
        running = [pool.submit(chat, number) for number in range(len(users))]
        try:
            while min(len(found), *chats) < 10 and not any(future.done() for future in running):
                found.append(audit())
        finally:
            ended.set()
        for future in running:
            future.result()

    assert len(found) >= 10
    assert not any(found)
