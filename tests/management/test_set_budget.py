"""`manage.py set_budget`: what it changes, what it prints, and what it says of a mistake."""

from __future__ import annotations

import pytest
import time_machine
from django.core.management import CommandError

from chat.models import BudgetPeriod, TokenBudget
from tests.support.commands import run

pytestmark = pytest.mark.django_db


# --- set_budget -------------------------------------------------------------------------------------------------------
@time_machine.travel("2026-02-10 12:00 +0000", tick=False)
def test_set_budget_prints_what_is_in_force(auth_client, user):
    BudgetPeriod.objects.create(user=user, period="month", start="2026-02-01T00:00Z", used=9_500, reserved=200)

    output = run("set_budget", "ada", "--limit", "50000")

    assert output == (
        "ada: 50,000 tokens a month, 9,500 used, 200 reserved, 40,300 remaining until 2026-03-01 00:00 UTC; "
        "10/m (the default) chats.\n"
    )
    assert auth_client.get("/usage").json()["limit"] == 50_000


@time_machine.travel("2026-02-10 12:00 +0000", tick=False)
def test_set_budget_in_money_and_back(auth_client, user, log):
    TokenBudget.objects.create(user=user, limit=700, period="month")
    start = "2026-02-01T00:00Z"
    BudgetPeriod.objects.create(user=user, period="month", start=start, used=50, cost_used=10**8, cost_reserved=5)

    assert run("set_budget", "ada", "--dollars", "1200.5") == (
        "ada: $1,200.50 a month, $0.10 used, $0.000000005 reserved, $1,200.399999995 remaining until 2026-03-01 00:00 "
        "UTC; 10/m (the default) chats.\n"
    )
    assert run("set_budget", "ada", "--limit", "90").startswith("ada: 90 tokens a month, 50 used, ")
    assert TokenBudget.objects.values_list("limit", "cost_limit").get() == (90, None)
    terms = [(line["old"], line["new"]) for line in log.events("budget_changed")]
    in_tokens, in_money = ({"limit": 700}, {"cost_limit": 1_200_500_000_000})
    rest = {"period": "month", "rate_limit": ""}
    assert terms == [(in_tokens | rest, in_money | rest), (in_money | rest, {"limit": 90} | rest)]


def test_set_budget_keeps_what_is_not_named(user):
    run("set_budget", "ada", "--limit", "1", "--period", "day", "--rate", "5/10s", "--note", "trial")

    output = run("set_budget", "ada", "--limit", "0")

    budget = TokenBudget.objects.get()
    assert (budget.limit, budget.period, budget.rate_limit, budget.note) == (0, "day", "5/10s", "trial")
    assert output.startswith("ada: 0 tokens a day, 0 used, 0 reserved, 0 remaining until ")
    assert output.endswith("; 5/10s chats.\n")
    run("set_budget", "ada", "--limit", "0", "--rate", "")
    assert TokenBudget.objects.get().rate_limit == ""


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        (["--rate", "60/m"], (700, "day", "60/m", "trial")),
        (["--period", "hour"], (700, "hour", "", "trial")),
        (["--note", ""], (700, "day", "", "")),
    ],
)
def test_set_budget_changes_what_is_named_alone(auth_client, user, arguments, now):
    TokenBudget.objects.create(user=user, limit=700, period="day", note="trial")

    run("set_budget", "ada", *arguments)

    assert TokenBudget.objects.values_list("limit", "period", "rate_limit", "note").get() == now
    assert auth_client.get("/usage").json()["limit"] == 700


def test_set_budget_begins_with_the_default(auth_client, user, settings):
    settings.TOKEN_BUDGET_DEFAULT, settings.TOKEN_BUDGET_PERIOD = 4321, "day"

    assert run("set_budget", "ada", "--rate", "60/m").startswith("ada: 4,321 tokens a day, ")

    settings.TOKEN_BUDGET_DEFAULT = 5
    assert auth_client.get("/usage").json()["limit"] == 4321


def test_set_budget_says_so_where_nothing_is_to_be_changed(user):
    TokenBudget.objects.create(user=user, limit=700)
    with pytest.raises(CommandError, match="^Nothing to change: .*--limit, --dollars, --period, --rate, --note"):
        run("set_budget", "ada")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--limit", "-1"], "limit: .*greater than or equal to 0"),
        (["--limit", "9223372036854775808"], "limit: .*less than or equal to"),
        (["--limit", "ten"], "invalid int value: 'ten'"),
        (["--limit", "1", "--rate", "ten a minute"], "rate_limit: Write a rate as 10/m"),
        (["--limit", "1", "--rate", "0/m"], "rate_limit: Write a rate as 10/m"),
        (["--limit", "1", "--period", "week"], "invalid choice: 'week' .*hour.*day.*month"),
        (["--limit", "1", "--note", "x" * 201], "note: .*at most 200"),
        (["--dollars", "-1"], "dollars: .*greater than or equal to 0"),
        (["--dollars", "0.0000000001"], "dollars: .*9 decimal places"),
        (["--dollars", "NaN"], "dollars: Enter a number"),
        (["--dollars", "1000000001"], "dollars: .*less than or equal to"),
        (["--dollars", "1", "--limit", "1"], "not allowed with argument"),
        ([], "required: --limit"),
    ],
)
def test_set_budget_refuses_a_mistake_and_changes_nothing(user, arguments, complaint):
    with pytest.raises(CommandError, match=complaint):
        run("set_budget", "ada", *arguments)
    assert not TokenBudget.objects.exists()


def test_set_budget_says_how_to_create_a_user():
    with pytest.raises(CommandError, match=r"no user 'eve'.*issue_key eve --create"):
        run("set_budget", "eve", "--limit", "1")
