"""The operators' page in a real browser, over the use that `seed_demo` makes: its figures are the books'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db.models import Sum
from django.utils import timezone
from playwright.sync_api import Page, expect

from chat.dashboard.amounts import money
from chat.dashboard.figures import SPANS
from chat.models import UsageRecord
from tests.support.browser import DESKTOP, PHONE, log_in

PASSWORD = "a password for tests"


@pytest.fixture
def books(transactional_db, admin_user) -> dict[str, str]:
    """What the page must say of thirty days of made-up use."""
    admin_user.set_password(PASSWORD)
    admin_user.save()
    call_command("seed_demo", chats=400, verbosity=0)
    cache.clear()
    records = UsageRecord.objects.filter(created_at__gte=SPANS["30"].places(timezone.now())[0])
    sums = records.aggregate(tokens=Sum("tokens_used"), cost=Sum("cost"))
    ranking = records.values("user__username").annotate(tokens=Sum("tokens_used")).order_by("-tokens")
    return {
        "user": admin_user.username,
        "Chats": f"{records.exclude(state='refused').count():,}",
        "Tokens": f"{sums['tokens']:,}",
        "Money": money(sums["cost"]),
        "first": f"{ranking[0]['user__username']}",
        "most": f"{ranking[0]['tokens']:,}",
        "failed": records.filter(state="released").order_by("-created_at")[0].request_id,
    }


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, browser, live_server, books) -> Iterator[Page]:
    with browser.browsing(live_server.url, **request.param) as page:
        log_in(page, "/admin/login/?next=/overview%3Fspan%3D30", books["user"], PASSWORD)
        yield page


def test_an_operator_sees_who_spends_what_and_finds_a_failure(page: Page, books: dict[str, str]) -> None:
    cards = page.locator(".totals li")
    for name in ("Chats", "Tokens", "Money"):
        expect(cards.filter(has=page.get_by_role("heading", name=name, exact=True))).to_contain_text(books[name])
    users = page.locator("section", has=page.get_by_role("heading", name="Users"))
    expect(users.locator("tbody tr").first).to_contain_text(books["first"])
    expect(users.locator("tbody tr").first).to_contain_text(books["most"])
    assert page.evaluate("document.documentElement.scrollWidth <= screen.width")
    page.get_by_role("link", name="today").click()
    expect(page.locator("svg").first.locator("g")).to_have_count(24)
    page.get_by_role("link", name="30 days").click()
    page.get_by_role("link", name=books["failed"]).click()
    expect(page.locator("#content")).to_contain_text(books["failed"])
