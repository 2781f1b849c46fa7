"""The same request, sent twice under one Idempotency-Key, is answered and charged once."""

import threading
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from knox.models import get_token_model

from chat.billing import claims, outbox
from chat.models import IdempotentRequest, UsageRecord
from tests.support.loopback import status

pytestmark = pytest.mark.django_db
KEY = {"Idempotency-Key": "order-7"}


def test_a_repeated_request_is_answered_again_and_charged_once(rig):
    first, second = rig.chat(headers=KEY), rig.chat(headers=KEY)
    assert (second.status_code, second.json(), second["Idempotent-Replayed"]) == (200, first.json(), "true")
    assert "Idempotent-Replayed" not in first
    assert second["X-Request-ID"] != first["X-Request-ID"]
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


def test_the_order_of_fields_does_not_matter(rig):
    rig.chat(headers=KEY, temperature=1, max_tokens=5)
    assert "Idempotent-Replayed" in rig.chat(headers=KEY, max_tokens=5, temperature=1)


@pytest.mark.parametrize("change", [{"content": "Bye!"}, {"temperature": 0.7}, {"model": "pair"}])
def test_another_body_under_the_same_key_is_refused(rig, change):
    rig.chat(headers=KEY)
    response = rig.chat(headers=KEY, **change)
    assert (response.status_code, response.json()["error"]) == (422, "idempotency_key_reused")
    assert (response["X-Should-Retry"], "Retry-After" in response, rig.calls) == ("false", False, (1, 0))


@pytest.mark.django_db(transaction=True)
def test_while_the_first_still_runs_the_second_is_told_so(rig):
    release = threading.Event()
    rig.first.always = lambda request: (release.wait(20), "ok")[1]
    running = rig.begin(headers=KEY)
    assert rig.first.arrived.wait(5)
    same, other = rig.chat(headers=KEY), rig.chat(headers=KEY, content="Bye!")
    assert (same.status_code, same.json()["error"]) == (409, "request_in_progress")
    assert (same["Retry-After"], same["X-Should-Retry"]) == ("1", "true")
    assert other.status_code == 422
    release.set()
    assert running.result(10).status_code == 200
    assert rig.chat(headers=KEY)["Idempotent-Replayed"] == "true"
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_is_served(rig):
    answers = [chat.result(20) for chat in [rig.begin(headers=KEY) for _ in range(8)]]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert (rig.calls, rig.tokens(), IdempotentRequest.objects.count()) == ((1, 0), (21, 0), 1)
    assert sum("Idempotent-Replayed" not in answer for answer in answers if answer.status_code == 200) == 1


@pytest.mark.parametrize("fault", [status(400), status(501), status(504), "rate_limit", "html", "bad_key"], ids=str)
def test_errors_are_not_kept_so_a_retry_runs_again(rig, fault, monkeypatch):
    monkeypatch.setattr("chat.routing.attempts.cooldown.failed", lambda failure, *args: failure)
    rig.first.then(fault)
    assert rig.chat(headers=KEY).status_code >= 400
    response = rig.chat(headers=KEY)
    assert (response.status_code, "Idempotent-Replayed" in response, rig.calls) == (200, False, (2, 0))


def test_neither_is_a_spent_budget_or_a_bug(rig, settings, monkeypatch):
    settings.TOKEN_BUDGET_DEFAULT = 1
    assert rig.chat(headers=KEY).status_code == 429
    settings.TOKEN_BUDGET_DEFAULT = 1000
    with monkeypatch.context() as patch:
        patch.setattr("chat.routing.failover.call", lambda *args: 1 / 0)
        assert rig.chat(headers=KEY).status_code == 500
    assert rig.chat(headers=KEY).status_code == 200


def test_a_cached_answer_counts_as_the_answer(rig):
    rig.chat()
    rig.first.always = status(501)
    assert rig.chat(headers=KEY).json()["cached"] is True
    rig.first.always = "ok"
    assert rig.chat(headers=KEY).json()["cached"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_another_version_is_replayed_and_one_that_cannot_be_is_not_paid_for_twice(rig, stream):
    first = rig.chat(headers=KEY, stream=stream)
    assert b"".join(first) if stream else first.content
    stored = IdempotentRequest.objects.get()
    stored.answer |= {"of a later version": 1}
    stored.save()
    response = rig.chat(headers=KEY, stream=stream)
    assert (response.status_code, response["Idempotent-Replayed"]) == (200, "true")
    assert b"".join(response) if stream else response.content
    del stored.answer["parts"]
    stored.save()
    response = rig.chat(headers=KEY, stream=stream)
    assert (response.status_code, response.json()["error"]) == (500, "internal_error")
    assert (response["X-Should-Retry"], "Idempotent-Replayed" in response) == ("false", False)
    assert (rig.events("internal_error")[0]["error_class"], rig.calls, rig.tokens()) == (
        "GenAIException", (1, 0), (21, 0),
    )  # fmt: skip


def test_an_empty_header_is_none(rig):
    for _ in range(2):
        assert "Idempotent-Replayed" not in rig.chat(headers={"Idempotency-Key": ""})
    assert rig.calls == (2, 0)


@pytest.mark.parametrize("key", ["k" * 256, "a b", "ключ", "a\tb", "\x7f"])
def test_a_malformed_key_is_refused_before_anything_costs_money(rig, key):
    response = rig.chat(headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert list(response.json()["fields"]) == ["Idempotency-Key"]
    assert rig.calls == (0, 0)


@pytest.mark.parametrize("key", ["k" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"])
def test_every_other_key_is_taken(rig, key):
    rig.chat(headers={"Idempotency-Key": key})
    assert "Idempotent-Replayed" in rig.chat(headers={"Idempotency-Key": key})


def test_keys_belong_to_a_user(rig):
    rig.chat(headers=KEY)
    stranger = str(get_token_model().objects.create(user=User.objects.create_user("eve"))[1])
    response = rig.chat(headers=KEY, content="Bye!", token=stranger)
    assert (response.status_code, "Idempotent-Replayed" in response) == (200, False)


@pytest.mark.parametrize(("hours", "replayed"), [(23.9, True), (24.1, False)])
def test_an_answer_is_kept_for_a_day(rig, hours, replayed):
    with time_machine.travel(timezone.now(), tick=True) as clock:
        rig.chat(headers=KEY)
        clock.shift(timedelta(hours=hours))
        assert ("Idempotent-Replayed" in rig.chat(headers=KEY)) is replayed
        assert rig.calls == ((1, 0) if replayed else (2, 0))


def test_what_is_over_is_cleared_away(rig):
    with time_machine.travel(timezone.now(), tick=True) as clock:
        rig.chat(headers=KEY)
        clock.shift(timedelta(hours=25))
        rig.chat(headers={"Idempotency-Key": "another"})
        assert list(IdempotentRequest.objects.values_list("key", flat=True)) == ["another"]


def test_the_claim_of_a_killed_worker_is_taken_over_once_it_is_over(rig, settings, monkeypatch):
    with monkeypatch.context() as killed:  # a killed worker writes nothing more
        killed.setattr(claims, "persist", lambda claim: None)
        rig.first.then(status(501))
        rig.chat(headers=KEY)
    assert rig.chat(headers=KEY).status_code == 409
    with time_machine.travel(timezone.now(), tick=True) as clock:
        clock.shift(settings.CHAT_DEADLINE + settings.RESERVATION_MARGIN + 1)
        response = rig.chat(headers=KEY)
        assert (response.status_code, "Idempotent-Replayed" in response) == (200, False)
        assert "Idempotent-Replayed" in rig.chat(headers=KEY)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("fault", "statement"), [("ok", "UPDATE"), (status(400), "DELETE")])
def test_a_database_that_is_away_for_a_moment_costs_no_answer_and_blocks_no_key(rig, monkeypatch, fault, statement):
    missed, table = [], IdempotentRequest._meta.db_table

    def away_twice(execute, sql, params, many, context):
        if sql.startswith(statement) and table in sql and "user_id" not in sql and len(missed) < 2:
            missed.append(sql)
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    monkeypatch.setattr("chat.billing.outbox.time.sleep", lambda seconds: None)
    rig.first.then(fault)
    with connection.execute_wrapper(away_twice):
        rig.chat(headers=KEY)
    assert len(missed) == 2
    again = rig.chat(headers=KEY)
    assert (again.status_code, "Idempotent-Replayed" in again, rig.tokens()) == (200, fault == "ok", (21, 0))


def away(execute, sql, params, many, context):
    if "chat_idempotentrequest" in sql and "user_id" not in sql:
        raise OperationalError("gone")
    return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_its_bill_are_written_together_now_or_later(rig, monkeypatch):
    monkeypatch.setattr("chat.billing.outbox.time.sleep", lambda seconds: None)
    with connection.execute_wrapper(away):
        assert rig.chat(headers=KEY).status_code == 200
    assert rig.tokens() == (0, 77)  # reserved, or whoever sends it again would pay twice if we were killed now
    assert "Idempotent-Replayed" in rig.chat(headers=KEY)
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))
    assert [line["event"] for line in rig.events()] == ["budget_settlement_failed", "budget_settlement_recovered"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("taken_over", "tokens"), [(True, 21), (False, 42)], ids=["by another", "by nobody"])
def test_an_answer_that_comes_too_late_for_its_key_is_free_if_another_was_paid_for(
    rig, settings, monkeypatch, taken_over, tokens
):
    monkeypatch.setattr("chat.billing.outbox.time.sleep", lambda seconds: None)
    with connection.execute_wrapper(away):
        rig.chat(headers=KEY)
    of_another_process = [outbox.pending.pop()]
    if taken_over:
        with time_machine.travel(timezone.now(), tick=True) as clock:
            clock.shift(settings.CHAT_DEADLINE + settings.RESERVATION_MARGIN + 1)
            assert "Idempotent-Replayed" not in rig.chat(headers=KEY)
    else:
        IdempotentRequest.objects.all().delete()  # as reclaim_reservations does
        rig.chat()
    outbox.pending.extend(of_another_process)
    outbox.write_pending()
    assert rig.tokens() == (tokens, 0)
    first = UsageRecord.objects.earliest("created_at")
    assert (first.state, first.uncharged_tokens) == (("released", 21) if taken_over else ("settled", 0))


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_stands_in_is_kept_later_too(rig, monkeypatch):
    monkeypatch.setattr("chat.billing.outbox.time.sleep", lambda seconds: None)
    rig.chat()
    rig.first.always = status(504)
    with connection.execute_wrapper(away):
        assert rig.chat(headers=KEY).json()["cached"] is True
    assert "Idempotent-Replayed" in rig.chat(headers=KEY)
    assert rig.tokens() == (21, 0)


def test_a_worker_that_comes_too_late_neither_keeps_nor_frees_what_another_took_over(rig, user):
    with claims.once(user, "order-7", {}, 60) as claim:
        IdempotentRequest.objects.update(expires_at=timezone.now() + timedelta(seconds=300))
        outbox.persist(replace(claim, answer={"text": "hello"}))
        outbox.persist(claim)
    assert IdempotentRequest.objects.get().answer is None


@pytest.mark.django_db(transaction=True)
def test_after_a_longer_outage_the_key_of_a_failed_chat_is_free(rig, monkeypatch):
    monkeypatch.setattr("chat.billing.outbox.time.sleep", lambda seconds: None)
    rig.first.then(status(400))
    with connection.execute_wrapper(away):
        assert rig.chat(headers=KEY).status_code == 400
    assert len(rig.events("idempotency_not_stored")) == 1
    again = rig.chat(headers=KEY)
    assert (again.status_code, "Idempotent-Replayed" in again, rig.tokens()) == (200, False, (21, 0))
    assert len(rig.events("idempotency_stored_late")) == 1


def test_the_rate_limit_comes_first(rig, settings):
    settings.CHAT_RATE_LIMIT = "1/h"
    rig.chat(headers=KEY)
    assert rig.chat(headers=KEY).json()["error"] == "rate_limit_exceeded"


def test_the_body_is_checked_first(rig):
    rig.chat(headers=KEY)
    assert rig.chat("unknown", headers=KEY).status_code == 404


@pytest.mark.django_db
def test_stored_answers_past_their_time_are_deleted(user):
    now = timezone.now()
    for key, expires_at in (("old", now), ("new", now + timedelta(hours=1))):
        IdempotentRequest.objects.create(user=user, key=key, fingerprint="", expires_at=expires_at)
    call_command("reclaim_reservations", stdout=StringIO())
    assert [stored.key for stored in IdempotentRequest.objects.all()] == ["new"]
