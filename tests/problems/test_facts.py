"""What single rows of the error table tell: of budgets, of providers, of throttles."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from knox.models import get_token_model
from rest_framework.throttling import BaseThrottle

from chat.dashboard.usage import UsageView
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.support.contract import ask, check_error


def test_a_budget_that_is_renewed_and_one_that_is_too_small(world, time_machine, log):
    time_machine.move_to(datetime(2028, 2, 29, 23, 59, 50, tzinfo=UTC), tick=False)
    get_token_model().objects.update(expiry=None)
    world.settings.UPGRADE_URL = "https://example.org/upgrade"
    body = check_error(world.budget(50), "token_budget_exceeded")
    assert not UsageRecord.objects.exclude(state="refused").exists()
    assert "retry_after" not in body
    assert "more than your whole budget" in body["message"]
    TokenBudget.objects.update(limit=250)
    assert ask(world.client, max_tokens=200).status_code == 200
    body = check_error(ask(world.client, max_tokens=230), "token_budget_exceeded")
    assert (body["retry_after"], body["resets_at"]) == (10, "2028-03-01T00:00:00Z")
    assert body["upgrade_url"] == "https://example.org/upgrade"
    assert body["tokens_remaining"] == 250 - body["tokens_used"] < body["tokens_needed"] <= 250 == body["tokens_limit"]
    line = log.events("token_budget_exceeded")[-1]
    assert (line["user_id"], line["tokens_limit"]) == (world.user.pk, 250)
    time_machine.shift(10)
    assert ask(world.client, max_tokens=200).status_code == 200


RENEWED = "until it is renewed, on 2028-03-01 at 00:00 UTC."
ADVICE = [
    # The budget, what of it is used and is reserved, max_tokens (the prompt takes 13); what is said after the need.
    (
        (250, 100, 0, 200),
        f"and your budget of 250 has 150 left {RENEWED} "
        "Lower max_tokens to 137 at most, wait until then, or ask for a larger budget.",
    ),
    (
        (250, 250, 0, 200),
        f"and your budget of 250 has 0 left {RENEWED} Wait until then, or ask for a larger budget.",
    ),
    ((250, 225, 0, 16), f"and your budget of 250 has 25 left {RENEWED} Wait until then, or ask for a larger budget."),
    (
        (250, 50, 190, 64),
        f"and your budget of 250 has 10 left (chats in flight hold 190) {RENEWED} "
        "Wait until those chats are over, or ask for a larger budget.",
    ),
    (
        (250, 200, 40, 64),  # nor would it fit without them
        f"and your budget of 250 has 10 left (chats in flight hold 40) {RENEWED} "
        "Wait until then, or ask for a larger budget.",
    ),
    (
        (250, 100, 0, 300),
        f"more than your whole budget of 250, which has 150 left {RENEWED} "
        "Lower max_tokens to 137 at most, or ask for a larger budget.",
    ),
    (
        (250, 250, 0, 300),
        f"more than your whole budget of 250, which has 0 left {RENEWED} "
        "Wait until then and lower max_tokens to 237 at most, or ask for a larger budget.",
    ),
    ((0, 0, 0, 16), f"more than your whole budget of 0, which has 0 left {RENEWED} Ask for a larger budget."),
]


@pytest.mark.parametrize(("numbers", "words"), ADVICE, ids=[str(row[0]) for row in ADVICE])
def test_a_budgets_message_advises_what_helps(auth_client, user, time_machine, numbers, words):
    time_machine.move_to(datetime(2028, 2, 29, 12, tzinfo=UTC), tick=False)
    get_token_model().objects.update(expiry=None)
    limit, used, reserved, max_tokens = numbers
    TokenBudget.objects.create(user=user, limit=limit)
    start = datetime(2028, 2, 1, tzinfo=UTC)
    BudgetPeriod.objects.create(user=user, period="month", start=start, used=used, reserved=reserved)
    body = check_error(ask(auth_client, max_tokens=max_tokens), "token_budget_exceeded")
    joint = " " if words.startswith("and") else ", "
    assert body["message"] == f"This request needs {max_tokens + 13} tokens{joint}{words}"
    if "then and" in words:
        time_machine.move_to(datetime(2028, 3, 1, tzinfo=UTC), tick=False)
    if found := re.search(r"ower max_tokens to (\d+)", body["message"]):
        assert ask(auth_client, max_tokens=int(found[1]) + 1).status_code == 429
        assert ask(auth_client, max_tokens=int(found[1])).status_code == 200


def test_a_prompt_that_the_budget_cannot_hold_is_to_be_shortened(auth_client, user):
    TokenBudget.objects.create(user=user, limit=250)
    message = check_error(ask(auth_client, "word " * 1000), "token_budget_exceeded")["message"]
    assert message.endswith(" UTC. Shorten the messages, or ask for a larger budget.")
    assert "max_tokens" not in message


FROM_PROVIDERS = [
    ("rate_limit", "provider_rate_limited", 7),
    ("unavailable", "provider_unavailable", 60),
    ("hang", "provider_timeout", 5),
    ("html", "invalid_provider_response", 5),
    ("bad_key", "provider_error", 300),
    ("terminal_429", "provider_error", 300),
]


@pytest.mark.parametrize(("fault", "code", "wait"), FROM_PROVIDERS)
@pytest.mark.parametrize("model", ["claude", "gpt"])
def test_what_a_real_provider_answers(auth_client, upstream, settings, log, model, fault, code, wait):
    settings.CHAT_MAX_ATTEMPTS, upstream.always = 1, fault
    if fault == "hang":
        settings.CHAT_DEADLINE = 0.3
    response = ask(auth_client, model=model)
    body = check_error(response, code)
    assert (body["provider"], body["retry_after"]) == (model, wait)
    if code == "provider_unavailable":
        assert body["status_page"] == ("https://status.example/claude" if model == "claude" else None)
    assert "Something is wrong." not in response.content.decode()  # the provider's own text
    if fault not in ("hang", "html"):
        assert log.events("provider_attempt_failed")[0]["text"] == "Something is wrong."


def test_all_routes_failed_with_the_error_that_tells_most(auth_client, upstream):
    upstream.then("rate_limit", "unavailable")
    body = check_error(ask(auth_client, model="both"), "provider_rate_limited")
    assert (body["provider"], body["retry_after"]) == ("all_providers", 7)


def test_the_rejection_of_a_prompt_names_its_reason(auth_client, upstream):
    from tests.support.loopback import status

    too_long = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}
    upstream.then(status(400, body=too_long))
    body = check_error(ask(auth_client, model="claude"), "provider_rejected_request")
    assert body["reason"] == "context_length"


def test_the_throttles_of_rest_framework_have_a_row_too(auth_client, monkeypatch):
    class Always(BaseThrottle):
        def allow_request(self, request, view):
            return False

        def wait(self):
            return 2.5

    monkeypatch.setattr(UsageView, "throttle_classes", [Always])
    response = auth_client.get("/usage")
    body = json.loads(response.content)
    assert (response.status_code, body["error"]) == (429, "rate_limit_exceeded")
    assert body["retry_after"] == int(response["Retry-After"]) == 3
