"""One request's page: its attempts as bars and as a table."""

from __future__ import annotations

import re

from chat.models import BudgetPeriod
from tests.support.admin import RECORDS, page, record

FAILED = {"provider": "openai", "model": "gpt", "number": 1, "status": 503, "reason": "ProviderUnavailableError"}
FAILED |= {"ms": 400, "decision": "next route"}
GOOD = {"provider": "anthropic", "model": "claude", "number": 2, "status": 200, "ms": 500, "at": 500, "tokens": 64}


def test_a_record_shows_its_attempts_in_proportion(admin_client, user):
    row = record(user, state="settled", duration_ms=1000, first_token_ms=750, attempts=[FAILED, GOOD])
    html = page(admin_client, f"{RECORDS}{row.pk}/change/")
    bars = re.findall(r'<rect x="(\d+)" y="0" width="(\d+)" height="12" class="([\w-]+)"', html)
    first = ("750", "3", "first-token")
    assert bars == [("0", "400", "bad"), first, ("500", "500", "good"), first]
    table = re.search(r'<table id="attempts".*?</table>', html, re.DOTALL)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", table[0].partition("<tbody>")[2])
    assert cells[:8] == ["openai", "gpt", "0", "400", "503", "ProviderUnavailableError", "next route", "-"]
    assert cells[8:] == ["anthropic", "claude", "500", "500", "200", "-", "-", "64"]
    assert "The answer is complete and charged." in html
    assert not re.search(r"\sstyle=", html)


def test_an_attempt_never_leaves_the_timeline_and_is_always_seen(admin_client, user):
    quick = {"provider": "openai", "model": "gpt", "number": 0, "at": 2000}
    row = record(user, state="released", duration_ms=1000, attempts=[quick])
    html = page(admin_client, f"{RECORDS}{row.pk}/change/")
    assert '<rect x="996" y="0" width="4"' in html


def test_a_refused_request_asked_nobody(admin_client, user):
    html = page(admin_client, f"{RECORDS}{record(user, state='refused').pk}/change/")
    assert "No provider was asked." in html
    assert "The request never reached a provider" in html


def test_amounts_of_money_are_in_dollars_and_stand_once(admin_client, user):
    row = record(user, state="settled", cost=12_345_678, cost_reserved=23_456_789, error="ProviderTimeoutError")
    html = page(admin_client, f"{RECORDS}{row.pk}/change/")
    for digits in ("12345678", "23456789"):
        assert html.count(digits) == html.count(f"$0.0{digits}") == 1
    month = BudgetPeriod.objects.create(user=user, period="month", start=row.period_start, cost_used=12_345_678)
    html = page(admin_client, f"/admin/chat/budgetperiod/{month.pk}/change/")
    assert html.count("12345678") == html.count("$0.012345678") == 1
