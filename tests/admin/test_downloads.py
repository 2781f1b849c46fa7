"""A list of the admin as CSV: the rows of its filter, as spreadsheets and programs read them."""

from __future__ import annotations

import csv
import io

import pytest

from chat.admin import downloads
from chat.models import TokenBudget
from tests.support.admin import BUDGETS, PERIODS, RECORDS, record


def rows(client, url: str, **query: str) -> list[dict[str, str]]:
    response = client.get(f"{url}csv/", query)
    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response.streaming
    return list(csv.DictReader(io.StringIO(b"".join(response).decode())))


def test_the_rows_of_the_filter_with_times_in_utc(admin_client, admin_user, user):
    record(user, request_id="hers", created_at="2027-03-15T10:30:00+02:00", tokens_used=12345, state="settled")
    record(admin_user, request_id="another")
    (row,) = rows(admin_client, RECORDS, username="ada", p="7")
    assert (row["Created (UTC)"], row["Request id"], row["User"]) == ("2027-03-15T08:30:00Z", "hers", "ada")
    assert (row["Tokens used"], row["Error's code"], row["State"]) == ("12345", "", "settled")


def test_the_columns_begin_with_what_a_screen_of_1280_pixels_shows(admin_client, user):
    record(user)
    (row,) = rows(admin_client, RECORDS)
    asked_first = ["Created (UTC)", "User", "Model", "State", "Error's code", "Tokens used", "Cost", "Duration ms"]
    assert list(row)[: len(asked_first)] == asked_first


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_text_is_no_formula(admin_client, django_user_model, name):
    TokenBudget.objects.create(user=django_user_model.objects.create_user(name), limit=5)
    (row,) = rows(admin_client, BUDGETS)
    assert (row["User"], row["Used"], row["Limit"]) == (f"'{name}", "0", "5")
    assert f"'{name}" in [row["Username"] for row in rows(admin_client, "/admin/auth/user/")]


def test_a_file_that_is_cut_off_says_so(admin_client, user, monkeypatch, log):
    monkeypatch.setattr(downloads, "MOST_ROWS", 2)
    for number in range(3):
        record(user, request_id=f"r-{number}")
    *kept, last = rows(admin_client, RECORDS)
    assert [row["Request id"] for row in kept] == ["r-2", "r-1"]
    assert last["Created (UTC)"] == "Only the first 2 rows: narrow the list down by its filters."
    assert log.events("list_downloaded")[0]["rows"] == 2


def test_who_took_what_is_logged(admin_client, user, log):
    for number in range(3):
        record(user, request_id=f"r-{number}")
    rows(admin_client, RECORDS, username="ada")
    (line,) = log.events("list_downloaded")
    assert (line["by"], line["list"], line["filters"], line["rows"]) == ("admin", "usage records", "username=ada", 3)


@pytest.mark.parametrize("url", [RECORDS, PERIODS, BUDGETS, "/admin/auth/user/", "/admin/chat/key/"])
def test_only_who_may_see_the_list_has_its_file(client, django_user_model, url):
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    assert client.get(f"{url}csv/").status_code == 403
    client.logout()
    assert client.get(f"{url}csv/").status_code == 302
