"""The record that each request leaves: what became of it, by whom it was answered, and why it was refused."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from chat.models import KeyDetail, UsageRecord
from chat.problems.table import CODES
from tests.support.asking import ANTHROPIC, OPENAI, client_of, post
from tests.support.failures import REJECTED
from tests.support.loopback import status

pytestmark = pytest.mark.django_db


def told(response):
    """The code and the id that the client of a refusal was told."""
    body = response.json()
    return body.get("error") if isinstance(body.get("error"), str) else body["error"]["code"], response["X-Request-ID"]


# --- answers and failures ---------------------------------------------------------------------------------------------
def test_an_answer_says_how_it_came_about(rig, user):
    rig.first.then("unavailable")
    response = rig.chat("alone")
    record = rig.record()
    assert (record.request_id, record.face, record.api_key) == (
        response.json()["request_id"],
        "chat",
        KeyDetail.objects.get().pk,
    )
    first, second = record.attempts
    assert {"provider": "first", "model": "m"}.items() <= first.items() & second.items()
    assert (first["number"], first["status"], first["reason"]) == (1, 503, "ProviderUnavailableError")
    assert first["decision"].startswith("retry in ")
    assert (second["number"], second["decision"], second["tokens"]) == (2, "answered", 21)
    assert "reason" not in second
    assert first.get("at", 0) + first["ms"] <= second["at"] <= record.duration_ms
    assert record.first_token_ms is None


def test_a_failure_says_who_was_asked_and_what_came_of_it(rig):
    rig.first.always, rig.second.always = "html", "html"
    assert rig.chat("pair").status_code == 502
    record = rig.record()
    assert (record.state, record.error, record.cached) == ("released", "InvalidProviderResponseError", False)
    facts = [(each["provider"], each["status"], each["reason"], each["decision"]) for each in record.attempts]
    garbage = (200, "InvalidProviderResponseError")
    assert facts == [("first", *garbage, "next_route"), ("second", *garbage, "end")]
    assert UsageRecord.objects.count() == 1


def test_a_route_at_rest_is_named_without_a_call(rig):
    rig.first.always = "bad_key"
    rig.chat("pair")
    rig.chat("pair")
    resting, answered = rig.record().attempts
    assert (resting["provider"], resting["reason"]) == ("first", "ProviderError")
    assert not {"number", "ms", "at"} & resting.keys()
    assert answered["provider"] == "second"


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
def test_a_stream_says_when_its_first_piece_came(rig, path):
    response = post(rig, path, stream=True)
    b"".join(response.streaming_content)
    record = rig.record()
    assert record.face == {OPENAI: "openai", ANTHROPIC: "anthropic"}[path]
    assert 0 <= record.first_token_ms <= record.duration_ms


def test_a_browsers_session_has_no_key(rig, client, user):
    client.force_login(user)
    body = {"model": "alone", "messages": [{"role": "user", "content": "Hello!"}]}
    assert client.post("/chat", json.dumps(body), content_type="application/json").status_code == 200
    assert rig.record().api_key is None


def test_the_log_has_all_that_a_record_would_where_it_cannot_be_written(rig, monkeypatch):
    def gone(execute, sql, params, many, context):
        if "UPDATE" in sql and "attempts" in sql:
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(gone):
        assert rig.chat("alone").status_code == 200
    (line,) = rig.events("budget_settlement_failed")
    assert (line["attempts"][0]["decision"], line["cost"]) == ("answered", None)


# --- refusals ---------------------------------------------------------------------------------------------------------
def sent(rig, body, **headers):
    """A body as it stands."""
    content_type = headers.pop("content_type", "application/json")
    return client_of(rig).generic("POST", "/chat", body, content_type=content_type, headers=headers)


def limited(rig):
    rig.settings.CHAT_RATE_LIMIT = "1/d"
    rig.chat("alone")
    return rig.chat("alone")


def spent(rig):
    rig.settings.TOKEN_BUDGET_DEFAULT = 10
    return rig.chat("alone")


def full(rig, name):
    setattr(rig.settings, name, 0)
    return rig.chat("alone")


REFUSALS = {
    "a spent budget": (spent, "token_budget_exceeded", "alone"),
    "the rate limit": (limited, "rate_limit_exceeded", ""),
    "too many at once": (lambda rig: full(rig, "CHAT_MAX_IN_FLIGHT_PER_USER"), "too_many_concurrent_requests", ""),
    "too many of everybody's": (lambda rig: full(rig, "CHAT_MAX_IN_FLIGHT"), "overloaded", ""),
    "no JSON": (lambda rig: sent(rig, "{"), "invalid_json", ""),
    "no JSON's type": (lambda rig: sent(rig, "{}", content_type="text/plain"), "unsupported_media_type", ""),
    "a type that is not to be had": (lambda rig: sent(rig, "{}", accept="image/png"), "not_acceptable", ""),
    "no object": (lambda rig: sent(rig, "[]"), "invalid_request", ""),
    "an unknown model": (lambda rig: rig.chat("x" * 300), "model_not_found", "x" * 100),
    "a bad message": (lambda rig: rig.chat("alone", " "), "invalid_message_format", "alone"),
    "an unknown field": (lambda rig: rig.chat("alone", top=1), "invalid_request", "alone"),
    "another conversation": (lambda rig: rig.chat("alone", conversation_id="1"), "not_found", "alone"),
    "a bad Idempotency-Key": (
        lambda rig: rig.chat("alone", headers={"Idempotency-Key": "x" * 300}),
        "invalid_request",
        "alone",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_leaves_a_record_that_says_why(rig, user, refusal):
    refuse, code, model = REFUSALS[refusal]
    found = told(refuse(rig))
    record = rig.record()
    assert (record.state, record.request_id) == ("refused", found[1])
    assert (found[0], CODES[record.error]) == (code, code)
    assert (record.user, record.model, record.face, record.api_key) == (user, model, "chat", KeyDetail.objects.get().pk)
    assert (record.reserved, record.tokens_used, record.cost, record.attempts) == (0, 0, 0, None)
    assert record.finished_at == record.created_at
    call_command("audit_budgets")  # a refusal needs no budget row


def test_a_rejection_by_the_provider_has_one_record(rig):
    rig.first.always = status(400, body=REJECTED)
    assert rig.chat("alone").status_code == 400
    assert UsageRecord.objects.get().state == "released"


def test_a_stranger_leaves_nothing(rig):
    for token in ("", "a key that nobody has"):
        assert rig.chat("alone", token=token).status_code == 401
    assert not UsageRecord.objects.exists()


def test_a_question_leaves_nothing(rig):
    assert client_of(rig).get("/chat").status_code == 405
    assert not UsageRecord.objects.exists()


def test_sixty_refusals_a_minute_are_written_and_all_are_counted(rig, time_machine):
    time_machine.move_to("2026-11-27T12:00:30Z", tick=False)
    refused = UsageRecord.objects.filter(state="refused")
    counts = []
    for number in range(60 + 112):
        assert rig.chat("none").status_code == 404
        if number in (59, 60, 64, 60 + 98, 60 + 111):
            counts.append((refused.count(), sum(refused.values_list("repeats", flat=True))))
    assert counts == [(60, 0), (60, 1), (60, 5), (60, 99), (60, 110)]
    time_machine.shift(60)
    rig.chat("none")
    assert refused.count() == 61


@pytest.mark.django_db(transaction=True)
def test_a_refusal_goes_out_where_it_cannot_be_written(rig):
    def gone(execute, sql, params, many, context):
        if "INSERT" in sql:
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(gone):
        assert rig.chat("none").status_code == 404
    assert [line["reason"] for line in rig.events("refusal_not_stored")] == ["OperationalError"]
    assert not UsageRecord.objects.exists()


def test_a_refusal_costs_one_statement(rig, django_assert_num_queries):
    rig.chat("alone")
    with django_assert_num_queries(2):  # the key, and the record
        assert rig.chat("none").status_code == 404


def test_refusals_go_with_the_records_of_their_time(rig, user, time_machine):
    time_machine.move_to("2026-11-27T12:00:00Z", tick=False)
    rig.chat("none")
    time_machine.move_to("2027-03-27T12:00:00Z", tick=False)
    call_command("prune_records", older_than="90d")
    assert not UsageRecord.objects.exists()
