"""The admin's budgets and history, request in and page out; test_browser.py has a whole story in a real browser."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from html import unescape

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken

from chat.admin.budgets import UsageRecordAdmin
from chat.admin.lists import ShortPaginator
from chat.billing.allowance import period_start
from chat.exceptions import ProviderRateLimitError
from chat.models import BudgetPeriod, Conversation, KeyDetail, TokenBudget, UsageRecord
from chat.routing import cooldown
from tests.support.contract import ask
from tests.support.rig import route_of

BUDGETS = "/admin/chat/tokenbudget/"
PERIODS = "/admin/chat/budgetperiod/"
RECORDS = "/admin/chat/usagerecord/"


def page(client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200, response
    return unescape(response.content.decode())


def cells(html: str, field: str) -> list[str]:
    """The text of a list's column."""
    found = re.findall(rf'<t[dh] +class="field-{field}[^"]*"[^>]*>(.*?)</t[dh]>', html, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in found]


def record(user, **fields) -> UsageRecord:
    now = timezone.now()
    needed = {"period": "month", "period_start": now, "reserved": 9, "created_at": now, "expires_at": now}
    return UsageRecord.objects.create(user=user, **{"model": "gpt-4", "request_id": "r-1"} | needed | fields)


# --- budgets ----------------------------------------------------------------------------------------------------------


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


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def records(user, admin_user):
    """One record that each filter finds, among others."""
    record(
        user,
        request_id="the-one",
        model="llama-2",
        provider="openai",
        state="released",
        error="ProviderTimeoutError",
        tokens_used=41,
        overrun=3,
        uncharged_tokens=17,
        created_at=timezone.now() - timedelta(days=400),
    )
    for number in range(3):
        record(admin_user, request_id=f"the-one-{number}", provider="anthropic", state="settled")


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


@pytest.mark.parametrize("typed", ["abc", "\0", "9" * 30, "9" * 5_000, "-1", ""])
@pytest.mark.parametrize("url", [f"{BUDGETS}add/", "/admin/chat/key/add/"])
def test_an_address_that_fills_in_a_user_who_cannot_be_fills_in_none(admin_client, url, typed):
    assert admin_client.get(url, {"user": typed}).status_code == 200


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
    ("fault", "error"),
    [
        ("timeout", "ProviderTimeoutError"),
        ("bad_key", "ProviderError"),
        ("rejected", "ProviderRequestRejectedError"),
        ("crash", "RuntimeError"),
    ],
)
def test_a_failed_chat_has_the_code_that_its_client_speaks_of(auth_client, admin_client, fault, error):
    body = ask(auth_client, f"/fault {fault}").json()

    html = page(admin_client, RECORDS, q=body["request_id"])

    assert (cells(html, "code"), cells(html, "error")) == ([body["error"]], [error])
    number = UsageRecord.objects.get().pk
    assert f">{body['error']}</div>" in page(admin_client, f"{RECORDS}{number}/change/")


def test_an_end_that_no_client_was_told_of_has_no_code(admin_client, user):
    for error in ("", "ClientLeft", "WorkerLost", "SystemExit"):
        record(user, error=error)
    assert cells(page(admin_client, RECORDS), "code") == ["-"] * 4


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


def test_a_record_shows_its_cost_by_which_prices(admin_client, user):
    for state, cost in (("settled", 12_300), ("settled", None), ("released", 0), ("reserved", None)):
        record(user, state=state, cost=cost)
    html = page(admin_client, RECORDS)
    assert cells(html, "paid") == ["-", "$0.00", "unknown", "$0.0000123"]
    assert re.search(r"genai-prices \d\S*, prices of \w+ 20\d\d\.", html)


def test_a_failure_in_whose_place_an_earlier_answer_stood_has_no_code(admin_client, user):
    record(user, state="released", error="ProviderTimeoutError", cached=True)
    assert cells(page(admin_client, RECORDS), "code") == ["-"]


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


@pytest.mark.usefixtures("records")
def test_the_budget_list_leads_to_a_users_records(admin_client, user):
    TokenBudget.objects.create(user=user, limit=5)

    link = re.search(r'class="field-used [^>]*><a href="([^"]*)"', page(admin_client, BUDGETS))

    assert link
    assert cells(page(admin_client, link[1]), "whole_request_id") == ["the-one"]


@pytest.mark.usefixtures("records")
def test_history_is_only_read(admin_client, user):
    period = BudgetPeriod.objects.create(user=user, period="day", start=timezone.now(), used=4321)
    assert cells(page(admin_client, PERIODS, username="ada", period__exact="day"), "used") == ["4,321"]
    for url, row in ((PERIODS, period), (RECORDS, UsageRecord.objects.get(request_id="the-one"))):
        assert admin_client.get(f"{url}{row.pk}/change/").status_code == 200
        assert admin_client.post(f"{url}{row.pk}/change/", {"used": 0}).status_code == 403
        assert admin_client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert admin_client.get(f"{url}add/").status_code == 403
        admin_client.post(url, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
        row.refresh_from_db()


@pytest.mark.usefixtures("records")
def test_deleting_a_user_deletes_what_is_theirs_but_for_the_bill(admin_client, user):
    BudgetPeriod.objects.create(user=user, period="day", start=timezone.now())

    admin_client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})

    assert not get_user_model().objects.filter(username="ada").exists()
    assert not BudgetPeriod.objects.exists()
    assert UsageRecord.objects.count() == 4
    assert UsageRecord.objects.get(user=None).request_id == "the-one"
    assert "the-one" in page(admin_client, RECORDS)


def test_providers_are_shown_with_their_rest(admin_client, monkeypatch, settings, tmp_path):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key-for-tests")
    settings.CHAT_MODELS_FILE = str(shutil.copy(settings.CHAT_MODELS_FILE, tmp_path))  # a file that is yet unread
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5"):
        cooldown.failed(ProviderRateLimitError("anthropic", 429, "slow down", 50), route_of("anthropic", model), "1")

    html = re.sub(r"\s+", " ", page(admin_client, RECORDS))
    assert re.search(
        r"Anthropic <small>claude-haiku-5-5</small></th> <td> resting for \d+\.\d s </td> <td> ProviderRateLimitError",
        html,
    )
    assert "OpenAI</th> <td> not configured </td> <td> OPENAI_API_KEY is not set" in html
    assert "a-key-for-tests" not in html


def test_conversations_are_private(admin_client, user):
    Conversation.objects.create(user=user, title="a secret")

    assert "onversation" not in page(admin_client, "/admin/")
    assert admin_client.get("/admin/chat/conversation/").status_code == 404
