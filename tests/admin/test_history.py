"""The admin's history of what was used: what a row shows, and that it is only read."""

from __future__ import annotations

import re
import shutil

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from chat.exceptions import ProviderRateLimitError
from chat.models import BudgetPeriod, Conversation, UsageRecord
from chat.routing import cooldown
from tests.support.admin import PERIODS, RECORDS, cells, page, record
from tests.support.contract import ask
from tests.support.rig import route_of


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


def test_a_record_shows_its_cost_by_which_prices(admin_client, user):
    for state, cost in (("settled", 12_300), ("settled", None), ("released", 0), ("reserved", None)):
        record(user, state=state, cost=cost)
    html = page(admin_client, RECORDS)
    assert cells(html, "paid") == ["-", "$0.00", "unknown", "$0.0000123"]
    assert re.search(r"genai-prices \d\S*, prices of \w+ 20\d\d\.", html)


def test_a_failure_in_whose_place_an_earlier_answer_stood_has_no_code(admin_client, user):
    record(user, state="released", error="ProviderTimeoutError", cached=True)
    assert cells(page(admin_client, RECORDS), "code") == ["-"]


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
