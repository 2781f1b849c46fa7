"""The page of a user's own use, against the books."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from chat.billing.allowance import period_start
from chat.dashboard.plots import COLOURS, HEIGHT
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.dashboard.test_pages import page_of

pytestmark = pytest.mark.django_db
NOON = "2026-11-26T12:00:00Z"


@pytest.fixture(autouse=True)
def _noon(time_machine):
    time_machine.move_to(NOON, tick=False)


def spend(user, model, tokens, days_ago=0, state="settled", **fields):
    at = timezone.now() - timedelta(days=days_ago)
    given = {"period": "month", "period_start": period_start("month", at), "request_id": "r", "reserved": tokens}
    UsageRecord.objects.create(
        user=user, model=model, tokens_used=tokens, state=state, created_at=at, expires_at=at, **given | fields
    )


def budget(user, limit, used=0, reserved=0):
    TokenBudget.objects.create(user=user, limit=limit)
    start = period_start("month", timezone.now())
    BudgetPeriod.objects.create(user=user, period="month", start=start, used=used, reserved=reserved)


def rows(page, caption):
    table = page.partition(caption)[2].partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("</tr>")]
    return [[re.sub(r"<.*?>", "", cell).strip() for cell in row] for row in cells if row]


def heights(page):
    """The parts of each day's bar, from the bottom up: colour, upper edge, height."""
    days = page.partition("<svg")[2].partition("</svg>")[0].split("<g>")[1:]
    found = [re.findall(r'<rect class="c(\d)".*? y="(\d+)".*? height="(\d+)"', day) for day in days]
    return [[tuple(map(int, part)) for part in day] for day in found]


def test_what_is_left_and_until_when(client, user):
    budget(user, 500_000, used=304_087, reserved=1_200)
    client.force_login(user)
    page = page_of(client, "/usage")
    assert "194,713 tokens left" in page
    assert re.search(r"of 500,000 a month, until 2026-12-01 00:00 UTC, in\s+4\xa0days, 12\xa0hours\.", page)
    assert 'max="500000" low="400000" high="475000" optimum="0" value="305287"' in page
    assert "<dd>304,087</dd>" in page
    assert "<dd>1,200</dd>" in page


@pytest.mark.parametrize(("limit", "used"), [(0, 0), (100, 250)])
def test_a_budget_that_is_spent(client, user, limit, used):
    budget(user, limit, used=used)
    client.force_login(user)
    page = page_of(client, "/usage")
    assert "0 tokens left" in page
    assert f'max="{limit or 1}"' in page
    assert "Nothing was charged in the last 30 days" in page


def test_the_figures_by_day_and_model_are_the_books(client, user, django_user_model):
    for model, tokens, days_ago in [("gpt", 300, 0), ("claude", 400, 0), ("gpt", 1_300, 3), ("claude", 100, 29)]:
        spend(user, model, tokens, days_ago)
    spend(user, "gpt", 200, state="truncated", cost=200)
    for state in ("reserved", "released", "reclaimed"):
        spend(user, "gpt", 7_777, state=state)
    spend(user, "old", 7_777, days_ago=30)
    spend(django_user_model.objects.create_user("eve"), "gpt", 7_777)
    client.force_login(user)
    page = page_of(client, "/usage")

    models = [["gpt", "3", "1,800", "$0.0000002"], ["claude", "2", "500", "unknown"]]
    assert rows(page, "By model, 30 days") == models
    days = [["2026-10-28", "1", "100", "unknown"], ["2026-11-23", "1", "1,300", "unknown"]]
    days.append(["2026-11-26", "3", "900", "$0.0000002"])
    assert rows(page, "The numbers") == days
    told = client.get("/usage").json()["daily"]
    costs = [f"${day['cost'].rstrip('0')}" if day["cost"] else "unknown" for day in told]
    counts = [[day["date"], str(day["requests"]), f"{day['tokens_used']:,}"] for day in told]
    assert [[*day, cost] for day, cost in zip(counts, costs, strict=True)] == days

    bars = heights(page)
    assert len(bars) == 30
    assert bars[26] == [(0, 0, HEIGHT)]  # the highest day fills the plot
    assert bars[29] == [(0, 616, 384), (1, 308, 308)]  # 500 of 1,300, and 400 above them
    assert bars[0] == [(1, 924, 76)]
    assert [day for day in bars if day] == [bars[0], bars[26], bars[29]]
    assert "1,300 on the busiest day" in page
    assert "<title>2026-11-26: 900 tokens, 3 chats</title>" in page
    assert "<title>2026-11-25: 0 tokens, 0 chats</title>" in page


def test_many_models_share_the_last_colour_and_names_are_text(client, user):
    for number in range(COLOURS + 2):
        spend(user, f"<b>m{number}</b>", 1_000 - number)
    client.force_login(user)
    page = page_of(client, "/usage")
    assert "<b>" not in page
    assert "<b>m0</b>" in unescape(page)
    assert [colour for colour, _, _ in heights(page)[29]] == [*range(COLOURS), COLOURS, COLOURS]


def test_the_page_asks_the_database_little(client, user, django_assert_max_num_queries):
    spend(user, "gpt", 10)
    client.force_login(user)
    with django_assert_max_num_queries(6):  # session, user, budget, period, and the two sums
        page_of(client, "/usage")
