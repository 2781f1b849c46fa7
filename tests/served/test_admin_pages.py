"""The admin's pages in a real browser, on a desk and on a phone: their figures are those of the books."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, TokenBudget
from tests.admin.test_timeline import FAILED, GOOD
from tests.support.admin import record
from tests.support.browser import DESKTOP, PHONE, log_in


@pytest.fixture
def books(user) -> Any:
    now = datetime.now(UTC)
    TokenBudget.objects.create(user=user, limit=12_345_678_901)
    BudgetPeriod.objects.create(user=user, period="month", start=period_start("month", now), used=4_321)
    facts = {"tokens_used": 4_321, "duration_ms": 1000, "first_token_ms": 700, "attempts": [FAILED, GOOD]}
    return record(user, request_id="01234567-89ab-cdef-0123-456789abcdef", state="settled", **facts)


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desk", "phone"])
def page(request, browser, live_server, books, token, admin_user) -> Iterator[Page]:
    with browser.browsing(live_server.url, **request.param) as page:
        log_in(page, "/admin/", "admin", "password")
        yield page


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def cut_off(page: Page) -> list[str]:
    """Return the texts of fields and of cells that are wider than their place."""
    found: list[str] = page.evaluate("""() => {
      const pen = document.createElement("canvas").getContext("2d");
      const fields = "#searchbar, #result_list input:not([type=checkbox], [type=hidden])";
      const wide = [...document.querySelectorAll(fields)].filter((field) => {
        const style = getComputedStyle(field);
        pen.font = style.font;
        const place = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        return field.checkVisibility() && pen.measureText(field.value || field.placeholder).width > place;
      });
      const texts = [...document.querySelectorAll("#result_list td > *")].filter((text) =>
        text.getBoundingClientRect().right > text.parentElement.getBoundingClientRect().right);
      return [...wide.map((field) => field.value || field.placeholder), ...texts.map((text) => text.innerText)];
    }""")
    return found


@pytest.mark.parametrize("name", ["chat/usagerecord", "chat/tokenbudget", "chat/key", "chat/budgetperiod", "auth/user"])
def test_in_a_list_nothing_is_cut_off(page, name):
    page.goto(f"/admin/{name}/")
    expect(page.locator("#result_list .data-row").first).to_be_visible()
    assert cut_off(page) == []
    fits(page)


def test_a_record_is_found_by_a_piece_of_its_id_and_shows_its_attempts(page, books):
    page.goto("/admin/chat/usagerecord/")
    fits(page)
    page.get_by_placeholder("A request id, or 8 characters").fill("67-89ab-")
    page.keyboard.press("Enter")
    expect(page.locator("#result_list .data-row")).to_have_count(1)
    page.locator("#result_list .field-created a").click()
    expect(page.locator("#timeline .timeline-row")).to_have_count(2)
    rows = [row.inner_text().split() for row in page.locator("#attempts tbody tr").all()]
    assert [[row[0], row[1], int(row[3])] for row in rows] == [
        [attempt["provider"], attempt["model"], attempt["ms"]] for attempt in books.attempts
    ]
    expect(page.get_by_text("The answer is complete and charged.")).to_be_visible()
    fits(page)


def test_a_users_page_has_what_the_books_have(page, user):
    page.goto(f"/admin/auth/user/{user.pk}/change/")
    page.get_by_role("link", name="Budget, use, keys").click()
    expect(page.locator("#used")).to_have_text("4,321")
    page.get_by_text("The figures").click()
    expect(page.locator("#days tbody tr")).to_contain_text(["4,321"])
    expect(page.locator("#keys")).to_contain_text("never")
    fits(page)


def test_lists_are_downloaded_and_acted_upon(page, books):
    page.goto("/admin/chat/usagerecord/")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    (row,) = csv.DictReader(Path(download.value.path()).read_text().splitlines())
    assert (row["Request id"], row["Tokens used"]) == (books.request_id, "4321")
    page.goto("/admin/auth/user/")
    page.locator("input.action-select").first.check()
    expect(page.locator(".action-counter")).to_contain_text("1 of 2 selected")
    fits(page)
