"""The admin's lists of what was used: what each filter and the search find, and what they may not read."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken

from chat.admin.budgets import UsageRecordAdmin
from chat.admin.lists import ShortPaginator
from chat.models import BudgetPeriod, KeyDetail
from tests.support.admin import BUDGETS, PERIODS, RECORDS, cells, page, record


@pytest.mark.parametrize(
    "query",
    [
        {"q": "the-one"},
        {"username": "ada"},
        {"model": "llama-2"},
        {"provider": "openai"},
        {"state__exact": "released"},
        {"error": "any"},
        {"error": "provider_timeout"},
        {"created_at__year": str((timezone.now() - timedelta(days=400)).year)},
    ],
    ids=lambda query: "-".join(next(iter(query.items()))),
)
@pytest.mark.usefixtures("records")
def test_records_are_filtered_and_searched(admin_client, query):
    html = page(admin_client, RECORDS, **query)

    assert cells(html, "whole_request_id") == ["the-one"]
    assert cells(html, "error") == ["ProviderTimeoutError"]
    assert [cells(html, name) for name in ("tokens_used", "overrun", "uncharged_tokens")] == [["41"], ["3"], ["17"]]


def test_requests_are_found_by_the_key_that_they_came_with(admin_client, user, admin_user):
    AuthToken.objects.create(user)
    key = KeyDetail.objects.get(key__user=user).pk
    record(user, request_id="hers", api_key=key, created_at="2027-03-15T10:30:00Z")
    record(user, request_id="by-a-session")
    keys = page(admin_client, "/admin/chat/key/")
    assert (f'href="/admin/chat/usagerecord/?key={key}"' in keys, cells(keys, "name")) == (True, ["-"])
    assert cells(page(admin_client, RECORDS, key=str(key)), "whole_request_id") == ["hers"]
    AuthToken.objects.all().delete()
    html = page(admin_client, RECORDS, key=str(key))
    assert cells(html, "whole_request_id") == []
    assert "This key is revoked or has expired: give a day, or its user, as well." in html
    assert cells(page(admin_client, RECORDS, key=str(key), day="2027-03-15"), "whole_request_id") == ["hers"]
    assert "is not the id of a key" in page(admin_client, RECORDS, key="nonsense")


@pytest.mark.parametrize("name", ["username", "model", "provider", "q", "key", "error", "day"])
def test_no_filter_fails_on_a_nul(admin_client, name):
    for url in (RECORDS, BUDGETS, f"{RECORDS}csv/"):
        assert admin_client.get(url, {name: "a\0b"}).status_code in (200, 302)


def test_the_filter_by_a_code_finds_what_the_list_gives_that_code(admin_client, user):
    errors = ["", "RuntimeError", "GenAIException", "ProviderTimeoutError", "ClientLeft", "WorkerLost"]
    for error in errors:
        record(user, error=error, request_id=f"is-{error}")
    record(user, error="ProviderTimeoutError", cached=True, request_id="saved")
    all_of_them = page(admin_client, RECORDS)
    listed = dict(zip(cells(all_of_them, "whole_request_id"), cells(all_of_them, "code"), strict=True))
    assert listed["saved"] == listed["is-"] == "-"
    for code in ("internal_error", "provider_timeout"):
        found = cells(page(admin_client, RECORDS, error=code), "whole_request_id")
        assert sorted(found) == sorted(name for name, its in listed.items() if its == code)
    assert len(cells(page(admin_client, RECORDS, error="any"), "code")) == len(errors)


@pytest.mark.usefixtures("records")
def test_a_day_that_is_blank_narrows_nothing(admin_client):
    assert cells(page(admin_client, RECORDS, q="one-2", day=" "), "whole_request_id") == []


@pytest.mark.usefixtures("records")
def test_a_part_of_an_id_is_looked_for_in_one_day_or_everywhere(admin_client):
    for query in ({"q": "he-one-2"}, {"q": "one-2", "username": "admin"}):
        assert cells(page(admin_client, RECORDS, **query), "whole_request_id") == ["the-one-2"]
    assert cells(page(admin_client, RECORDS, q="one-2"), "whole_request_id") == []  # too short to read all ids for


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("one-0123-4567-89ab", ["one-0123-4567-89ab"]),
        ("23-4567-", ["one-0123-4567-89ab"]),
        (" 4567-89ab ", ["two-0000-4567-89ab", "one-0123-4567-89ab"]),
        ("4567-89", []),
        ("short", ["short"]),
        ("%_%_%_%_", []),
    ],
)
def test_a_request_is_found_by_eight_characters_of_its_id(admin_client, user, typed, found):
    for request_id in ("one-0123-4567-89ab", "two-0000-4567-89ab", "short"):
        record(user, request_id=request_id)
    assert cells(page(admin_client, RECORDS, q=typed), "whole_request_id") == found


@pytest.mark.usefixtures("records")
def test_a_name_that_nobody_has_finds_nothing(admin_client):
    assert cells(page(admin_client, RECORDS, username="ad"), "whole_request_id") == []


def test_a_day_is_typed_in_and_is_one_of_utc(admin_client, user):
    for moment in ("2026-03-14T23:59:59Z", "2026-03-15T00:00Z", "2026-03-15T23:59:59Z", "2026-03-16T00:00Z"):
        record(user, request_id=moment, created_at=moment)
        BudgetPeriod.objects.create(user=user, period="hour", start=moment, used=int(moment[8:10]))

    html = page(admin_client, RECORDS, day=" 2026-03-15")

    assert cells(html, "whole_request_id") == ["2026-03-15T23:59:59Z", "2026-03-15T00:00Z"]
    assert cells(page(admin_client, PERIODS, day="2026-03-15", username="ada"), "used") == ["15", "15"]


@pytest.mark.parametrize("day", ["15.3.2026", "yesterday", "2026-02-30", "9999-12-31", "0000-01-01", "<b>"])
@pytest.mark.parametrize("url", [RECORDS, PERIODS])
def test_what_is_no_day_is_said_and_finds_nothing(admin_client, user, url, day):
    record(user)
    BudgetPeriod.objects.create(user=user, period="day", start=timezone.now())

    html = page(admin_client, url, day=day)

    assert f"'{day}' is not a day such as 2026-01-31." in html
    assert cells(html, "user") == []


@pytest.mark.parametrize(("most", "count"), [(2, "more than 2 usage records"), (4, "4 usage records")])
@pytest.mark.usefixtures("records")
def test_a_long_list_is_not_counted_to_its_end_and_says_so(admin_client, monkeypatch, most, count):
    monkeypatch.setattr(ShortPaginator, "MOST", most)
    monkeypatch.setattr(UsageRecordAdmin, "list_per_page", 2)
    with CaptureQueriesContext(connection) as queries:
        html = page(admin_client, RECORDS)

    assert re.sub(r"\s+", " ", html).count(f" {count} ") == 1
    assert html.count('<a href="?p=2"') == (most > 2)
    (counting,) = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert f"LIMIT {most + 1})" in counting


def test_no_list_of_history_is_read_from_end_to_end(admin_client, user):
    """Neither for years to choose from, nor to sort by a column without an index."""
    record(user)
    BudgetPeriod.objects.create(user=user, period="day", start=timezone.now())
    for url, column in ((RECORDS, "created"), (PERIODS, "start")):
        with CaptureQueriesContext(connection) as queries:
            html = page(admin_client, url)
        assert not [query for query in queries if re.search(r"DISTINCT|MIN\(|MAX\(", query["sql"])]
        assert re.findall(r'class="[^"]*\bsortable\b[^"]*column-(\w+)', html) == [column]
        assert len(re.findall(r'class="[^"]*\bsortable\b', page(admin_client, url, username="ada"))) > 3


@pytest.mark.usefixtures("records")
def test_filters_combine(admin_client):
    html = page(admin_client, RECORDS, username="admin", provider="anthropic", q="the-one-2")

    assert cells(html, "whole_request_id") == ["the-one-2"]
    assert '<input type="hidden" name="provider" value="anthropic">' in html
    assert '<input type="hidden" name="q" value="the-one-2">' in html
    assert 'name="username" value="admin"' in html
