"""Numbers: with separators on every page, and without any where a program or the browser's own code reads them."""

from __future__ import annotations

import re
from html import unescape

import pytest

from chat.models import BudgetPeriod, TokenBudget
from tests.admin.test_downloads import rows
from tests.support.admin import BUDGETS, PERIODS, RECORDS, cells, page, record

NOW = "2027-03-15 10:30 +0000"
LARGE = re.compile(r"(?<![\w.,#/-])[1-9]\d{3,}(?![\w.,-])")
"""A number of four digits and more without a separator."""
ATTRIBUTE = re.compile(r'\s([\w-]+)="([^"<>]*)"')
FOR_PEOPLE = {"title", "aria-label", "class"}


@pytest.fixture
def books(django_user_model, time_machine):
    """A user with a number above 999, and large figures all over."""
    time_machine.move_to(NOW, tick=False)
    user = django_user_model.objects.create_user("ada", id=1_234_567)
    budget = TokenBudget.objects.create(user=user, limit=12_345)
    period = BudgetPeriod.objects.create(
        user=user, period="month", start="2027-03-01T00:00Z", used=654_321, reserved=4_321, cost_used=1_234_500_000_000
    )
    attempts = [{"provider": "gpt", "model": "g-1", "at": 1_500, "ms": 2_500, "tokens": 23_456, "number": 1}]
    attempts += [{"provider": "gpt", "model": "g-1", "at": 0, "ms": 5_432, "number": 2}]
    facts = {"tokens_used": 23_456, "prompt_tokens": 23_000, "duration_ms": 5_432, "first_token_ms": 5_432}
    facts |= {"cost": 1_234_567_800_000, "attempts": attempts, "model": "gpt-4"}
    chat = record(user, state="settled", **facts)
    record(user, state="released", error="ProviderTimeoutError", **facts)
    return user, budget, period, chat


def test_a_page_has_separators_and_its_attributes_have_none(books, admin_client, client):
    user, budget, period, chat = books
    pages = [BUDGETS, f"{BUDGETS}?q=ada", f"{BUDGETS}{budget.pk}/change/", PERIODS, f"{PERIODS}{period.pk}/change/"]
    pages += [RECORDS, f"{RECORDS}{chat.pk}/change/", f"/admin/auth/user/{user.pk}/use/", "/admin/", "/overview"]
    pages += ["/playground"]
    for address in pages:
        html = unescape(admin_client.get(address, headers={"Accept": "text/html"}).content.decode())
        named = [(name, value) for name, value in ATTRIBUTE.findall(html) if name not in FOR_PEOPLE]
        assert [value for _, value in named if re.search(r"\d,\d{3}", value)] == [], address
        text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
        assert [text[m.start() - 60 : m.end() + 40] for m in LARGE.finditer(text)] == [], address
    client.force_login(user)
    html = client.get("/usage", headers={"Accept": "text/html"}).content.decode()
    assert re.search(r'<meter min="0" max="12345" .* value="658642"', html)


def test_the_lists_have_them(books, admin_client):
    html = page(admin_client, RECORDS, state__exact="settled")
    assert (cells(html, "tokens_used"), cells(html, "duration_ms")) == (["23,456"], ["5,432"])
    html = page(admin_client, PERIODS)
    assert (cells(html, "used"), cells(html, "reserved"), cells(html, "money_used")) == (
        ["654,321"],
        ["4,321"],
        ["$1,234.50"],
    )


def test_a_file_for_programs_has_none_and_money_is_in_dollars(books, admin_client, django_user_model):
    other = django_user_model.objects.create_user("grace")
    TokenBudget.objects.create(user=other, cost_limit=2_500_000_000_000)
    BudgetPeriod.objects.create(user=other, period="month", start="2027-03-01T00:00Z", cost_used=1_000_000_012_300)
    (chat,) = rows(admin_client, RECORDS, state__exact="settled")
    assert (chat["Tokens used"], chat["Cost"], chat["Duration ms"]) == ("23456", "1234.5678", "5432")
    ada, grace = sorted(rows(admin_client, BUDGETS), key=lambda row: row["User"])
    assert [ada[name] for name in ("Limit", "Used", "Reserved", "Remaining")] == ["12345", "654321", "4321", "0"]
    assert [grace[name] for name in ("Limit", "Cost limit", "Used", "Remaining")] == [
        *("", "2500", "1000.0000123", "1499.9999877")
    ]
    of_ada = next(row for row in rows(admin_client, PERIODS) if row["User"] == "ada")
    assert [of_ada[name] for name in ("Used", "Money used", "Money reserved")] == ["654321", "1234.5", "0"]


def test_links_lead_to_a_user_with_a_large_number(books, admin_client):
    _, budget, _, _ = books
    budget.delete()
    html = page(admin_client, BUDGETS, q="ada")
    (link,) = re.findall(r'href="(/admin/chat/tokenbudget/add/\?user=[^"]*)"', html)
    assert '<option value="1234567" selected' in page(admin_client, link)
