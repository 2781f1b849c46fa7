"""The admin's budgets, request in and page out; test_browser.py has a whole story in a real browser."""

from __future__ import annotations

import re

import pytest
import time_machine
from django.utils import timezone

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, TokenBudget
from tests.support.admin import BUDGETS, PERIODS, cells, page


def edit(client, **changes: str):
    """Save the first row of the list of budgets, as the browser would."""
    budget = TokenBudget.objects.get()
    row = {"id": budget.pk, "limit": budget.limit, "period": budget.period, "rate_limit": ""}
    form = {f"form-0-{name}": value for name, value in (row | changes).items()}
    return client.post(BUDGETS, form | {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "_save": "Save"})


@time_machine.travel("2026-03-15 10:30 +0000", tick=False)
@pytest.mark.parametrize(
    ("period", "current", "before"),
    [
        ("hour", "2026-03-15T10:00Z", "2026-03-15T09:00Z"),
        ("day", "2026-03-15T00:00Z", "2026-03-14T00:00Z"),
        ("month", "2026-03-01T00:00Z", "2026-02-01T00:00Z"),
    ],
)
def test_the_list_shows_what_the_current_period_has_used(admin_client, user, period, current, before):
    TokenBudget.objects.create(user=user, limit=10_000, period=period)
    for name, start in {"hour": current, "day": current, "month": current, period: before}.items():
        BudgetPeriod.objects.create(user=user, period=name, start=start, used=7)
    BudgetPeriod.objects.create(user=user, period=period, start=current, used=8_000, reserved=1_500)

    html = page(admin_client, BUDGETS)

    assert cells(html, "used") == ["8,000"]
    assert cells(html, "reserved") == ["1,500"]
    assert cells(html, "remaining") == ["500"]
    assert cells(html, "share") == ["95 %"]
    assert 'value="95" aria-label="Used or reserved by ada"></meter>' in html


@pytest.mark.parametrize(
    ("limit", "used", "remaining", "share"), [(0, 0, "0", "100 %"), (10, 25, "0", "250 %"), (10, 0, "10", "0 %")]
)
def test_remaining_is_never_negative(admin_client, user, limit, used, remaining, share):
    TokenBudget.objects.create(user=user, limit=limit, period="day")
    start = period_start("day", timezone.now())
    BudgetPeriod.objects.create(user=user, period="day", start=start, used=used)

    html = page(admin_client, BUDGETS)
    assert (cells(html, "remaining"), cells(html, "share")) == ([remaining], [share])


def test_limit_period_and_rate_are_edited_in_the_list(admin_client, auth_client, user):
    TokenBudget.objects.create(user=user, limit=5)

    assert edit(admin_client, limit="0", period="day", rate_limit="5/10s").status_code == 302

    budget = TokenBudget.objects.get()
    assert (budget.limit, budget.period, budget.rate_limit) == (0, "day", "5/10s")
    assert auth_client.get("/usage").json()["limit"] == 0


def test_a_changed_budget_is_logged_with_what_it_was(admin_client, user, log):
    assert admin_client.post(f"{BUDGETS}add/", {"user": user.pk, "limit": 5, "period": "month"}).status_code == 302
    edit(admin_client, limit="70")
    edit(admin_client)  # nothing
    admin_client.post(f"{BUDGETS}{TokenBudget.objects.get().pk}/delete/", {"post": "yes"})

    lines = log.events("budget_changed")
    assert {(line["by"], line["of_user"]) for line in lines} == {("admin", "ada")}
    assert [(line["old"]["limit"], line["new"]["limit"]) for line in lines] == [(10_000, 5), (5, 70), (70, 10_000)]
    assert lines[1]["new"] == {"limit": 70, "period": "month", "rate_limit": ""}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"limit": "-1"}, "greater than or equal to 0"),
        ({"limit": ""}, "give one of the two limits"),
        ({"limit": "9223372036854775808"}, "less than or equal to"),
        ({"rate_limit": "10 a minute"}, "Write a rate as 10/m, 100/h or 5/10s."),
        ({"rate_limit": "0/m"}, "Write a rate as 10/m, 100/h or 5/10s."),
        ({"period": "week"}, "Select a valid choice"),
    ],
)
def test_a_mistake_in_the_list_is_named_and_not_saved(admin_client, user, change, complaint):
    TokenBudget.objects.create(user=user, limit=5)

    response = edit(admin_client, **change)

    assert response.status_code == 200
    assert complaint in response.content.decode()
    assert TokenBudget.objects.values_list("limit", "period", "rate_limit").get() == (5, "month", "")


def test_a_user_without_a_row_is_found_and_added_with_the_default(admin_client, user, settings):
    settings.TOKEN_BUDGET_DEFAULT, settings.TOKEN_BUDGET_PERIOD = 1234, "day"

    html = page(admin_client, BUDGETS, q="ada")
    link = re.search(r'href="([^"]*)">Add a budget for ada<', html)
    assert link
    assert "the default: 1,234 tokens a day" in html
    form = page(admin_client, link[1])
    assert f'<option value="{user.pk}" selected>ada</option>' in form
    assert 'name="limit" value="1234"' in form
    assert '<option value="day" selected>' in form
    admin_client.post(f"{BUDGETS}add/", {"user": user.pk, "limit": 1, "period": "day", "rate_limit": "", "note": ""})
    assert TokenBudget.objects.get().user == user
    assert "Add a budget for ada" not in page(admin_client, BUDGETS, q="ada")


@pytest.mark.parametrize("typed", ["abc", "\0", "9" * 30, "9" * 5_000, "-1", ""])
@pytest.mark.parametrize("url", [f"{BUDGETS}add/", "/admin/chat/key/add/"])
def test_an_address_that_fills_in_a_user_who_cannot_be_fills_in_none(admin_client, url, typed):
    assert admin_client.get(url, {"user": typed}).status_code == 200


def test_a_budget_in_money_is_edited_and_shown_in_dollars(admin_client, auth_client, user):
    TokenBudget.objects.create(user=user, limit=5)
    assert edit(admin_client, limit="", cost_limit="20.5").status_code == 302
    budget = TokenBudget.objects.get()
    assert (budget.limit, budget.cost_limit) == (None, 20_500_000_000)
    start = period_start("month", timezone.now())
    BudgetPeriod.objects.create(
        user=user, period="month", start=start, used=7, cost_used=5_000_000_000, cost_reserved=125_000_000
    )
    html = page(admin_client, BUDGETS)
    assert 'value="20.5"' in html
    figures = [cells(html, name) for name in ("used", "reserved", "remaining", "share")]
    assert figures == [["$5.00"], ["$0.125"], ["$15.375"], ["25 %"]]
    assert re.search(r"genai-prices \d\S*, prices of \w+ 20\d\d\.", html)
    assert (cells(page(admin_client, PERIODS), "money_used"), cells(page(admin_client, PERIODS), "used")) == (
        ["$5.00"],
        ["7"],
    )
    assert edit(admin_client, limit="9", cost_limit="20.5").status_code == 200  # both
    assert edit(admin_client, limit="9", cost_limit="").status_code == 302
    assert TokenBudget.objects.get().cost_limit is None


@pytest.mark.parametrize("dollars", ["-1", "1e3x", "0.0000000001", "1000000001"])
def test_no_sum_that_is_none_is_taken(admin_client, user, dollars):
    TokenBudget.objects.create(user=user, limit=5)
    assert edit(admin_client, limit="", cost_limit=dollars).status_code == 200
    assert TokenBudget.objects.get().limit == 5


@pytest.mark.usefixtures("records")
def test_the_budget_list_leads_to_a_users_records(admin_client, user):
    TokenBudget.objects.create(user=user, limit=5)

    link = re.search(r'class="field-used [^>]*><a href="([^"]*)"', page(admin_client, BUDGETS))

    assert link
    assert cells(page(admin_client, link[1]), "whole_request_id") == ["the-one"]
