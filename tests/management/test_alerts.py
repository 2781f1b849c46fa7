"""What operators are told without asking: once, by mail and by webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.utils import timezone

from chat.accounts import deletion
from chat.management import alerts
from chat.models import Alert, BudgetPeriod, TokenBudget, UsageRecord
from tests.support.receiver import Receiver

pytestmark = pytest.mark.django_db
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def receiver(settings):
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL, settings.CHAT_ALERT_WEBHOOK_SECRET = receiver.url, SECRET
        yield receiver


@pytest.fixture(autouse=True)
def month(time_machine):
    """The tenth of a month."""
    time_machine.move_to("2027-03-10T12:00:00Z", tick=False)
    return time_machine


@pytest.fixture(autouse=True)
def _operator(settings):
    settings.CHAT_ALERT_EMAILS = ["ops@example.org"]
    settings.DEFAULT_FROM_EMAIL = "Chat <chat@example.org>"


@pytest.fixture
def budget(user):
    return TokenBudget.objects.create(user=user, limit=1_000)


def use(user, tokens=0, cost=0, period="month", start="2027-03-01T00:00:00Z"):
    BudgetPeriod.objects.update_or_create(
        user=user, period=period, start=start, defaults={"used": tokens, "cost_used": cost}
    )


def titles():
    """The mails that a run sends."""
    before = len(mail.outbox)
    call_command("send_alerts", verbosity=0)
    return [sent.subject for sent in mail.outbox[before:]]


# --- budgets ----------------------------------------------------------------------------------------------------------
def test_a_budget_is_told_of_once_at_each_threshold(user, budget):
    use(user, 799)
    assert titles() == []
    use(user, 800)
    assert titles() == [f"[chat] {user} has used 80 % of a budget of 1,000 tokens a month"]
    assert titles() == []
    use(user, 1_000)
    assert titles() == [f"[chat] {user} has used 100 % of a budget of 1,000 tokens a month"]
    use(user, 1_200)
    assert titles() == []


def test_what_passes_both_at_once_is_told_once(user, budget):
    use(user, 5_000)
    assert len(titles()) == 1
    assert titles() == []


def test_the_next_period_is_told_of_again_and_so_is_a_limit_that_was_raised(user, budget, month):
    use(user, 900)
    titles()
    budget.limit = 1_100
    budget.save()
    assert titles() == [f"[chat] {user} has used 80 % of a budget of 1,100 tokens a month"]
    month.move_to("2027-04-02T00:00:00Z")
    assert titles() == []
    use(user, 900, start="2027-04-01T00:00:00Z")
    assert len(titles()) == 1


def test_a_budget_in_money_and_the_default_one_are_told_of(user, settings, django_user_model):
    other = django_user_model.objects.create(username="other")
    TokenBudget.objects.create(user=user, limit=None, cost_limit=10**18, period="day")
    settings.TOKEN_BUDGET_DEFAULT = 500
    use(user, tokens=10**9, cost=8 * 10**17, period="day", start="2027-03-10T00:00:00Z")
    use(other, 400)
    assert sorted(titles()) == sorted(
        [
            f"[chat] {user} has used 80 % of a budget of $1,000,000,000.00 a day",
            f"[chat] {other} has used 80 % of a budget of 500 tokens a month",
        ]
    )


def test_the_thresholds_are_an_operators(user, budget, settings):
    settings.CHAT_ALERT_BUDGET_PERCENTS = ["50"]
    use(user, 500)
    assert len(titles()) == 1
    settings.CHAT_ALERT_BUDGET_PERCENTS = []
    use(user, 1_000)
    assert titles() == []


# --- providers and settlements ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "why", "todo"),
    [
        ("bad_key", "our API key is refused", "Make a new key at the provider, put it into FIRST_API_KEY"),
        ("terminal_429", "our account's credit", "Pay the provider's bill for the account of FIRST_API_KEY"),
    ],
)
def test_a_provider_that_only_an_operator_can_mend_is_told_of_once_a_day(rig, month, fault, why, todo):
    rig.first.always = fault
    rig.chat("alone")
    (title,) = titles()
    assert title.startswith(f"[chat] first refuses our chats: {why}")
    assert todo in mail.outbox[0].body
    assert titles() == []
    month.move_to("2027-03-11T12:00:00Z")
    assert titles() == []  # it rests no longer
    rig.chat("alone")
    assert len(titles()) == 1


def test_another_failure_is_told_to_nobody(rig):
    rig.first.always = "unavailable"
    for _ in range(6):
        rig.chat("alone")
    assert titles() == []


def test_chats_without_a_bill_are_told_of(user, month):
    now = timezone.now()
    facts = {"user": user, "period": "month", "period_start": now, "model": "m", "reserved": 10, "created_at": now}
    UsageRecord.objects.create(request_id="r", expires_at=now, **facts)
    UsageRecord.objects.create(request_id="s", expires_at=now, state="settled", **facts)
    assert titles() == []
    month.shift(61)
    assert titles() == ["[chat] 1 chat ended without a bill: it waits, or the worker died"]
    assert "manage.py reclaim_reservations" in mail.outbox[0].body
    assert titles() == []


# --- the ways ---------------------------------------------------------------------------------------------------------
def test_a_mail_says_what_is_needed(user, budget):
    use(user, 1_000)
    titles()
    (sent,) = mail.outbox
    assert sent.to == ["ops@example.org"]
    assert "used: 1,000 tokens\nlimit: 1,000 tokens" in sent.body
    assert "resets_at: 2027-04-01T00:00:00+00:00" in sent.body
    assert "Their chats are refused until the next month begins, at 2027-04-01 00:00 UTC." in sent.body
    assert "raise the limit in the admin under Token budgets" in sent.body
    assert sent.message()["Message-ID"] == f"<alert-{Alert.objects.get().pk}-1804680000@example.org>"


def test_a_webhook_is_signed_as_the_standard_says(user, budget, receiver):
    use(user, 800)
    titles()
    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert headers["webhook-timestamp"] == "1804680000"
    told = json.loads(body)
    assert (told["type"], told["timestamp"]) == ("alert.budget", "2027-03-10T12:00:00+00:00")
    assert told["data"]["percent"] == 80
    assert told["data"]["todo"].startswith(
        "When all of it is used, their chats are refused until 2027-04-01 00:00 UTC."
    )
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("status", [500, 302, 304, 404])
def test_a_receiver_that_fails_is_asked_again_later_and_the_mail_is_not_sent_again(
    user, budget, receiver, month, status, caplog
):
    receiver.status = status
    use(user, 800)
    assert len(titles()) == 1
    month.shift(59)
    titles()
    assert len(receiver.got) == 1
    month.shift(2)
    receiver.status = 204
    assert titles() == []
    first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    month.shift(86_400)
    titles()
    assert len(receiver.got) == 2
    assert len(mail.outbox) == 1


def test_a_receiver_that_is_gone_for_days_is_asked_each_hour_and_others_are_told(
    user, budget, settings, month, django_user_model
):
    settings.CHAT_ALERT_WEBHOOK_URL, settings.CHAT_ALERT_WEBHOOK_SECRET = "http://127.0.0.1:9/", SECRET
    settings.TOKEN_BUDGET_DEFAULT = 10
    use(user, 800)
    for _ in range(50):
        titles()
        month.shift(3_600)
    assert Alert.objects.get().tries == 50
    use(django_user_model.objects.create(username="other"), 10)
    assert len(titles()) == 1


def test_an_alert_is_taken_from_the_moment_it_is_taken_however_long_the_run_has_lasted(user, budget, receiver, month):
    use(user, 800)
    receiver.status = 500
    titles()
    (alert,) = Alert.objects.all()
    month.shift(alerts.TAKEN_FOR.total_seconds() + 60)  # the run began long ago, and comes to this one now
    assert alerts.take(alert)
    assert list(alerts.undelivered(timezone.now())) == []


def test_of_two_senders_one_sends(user, budget):
    use(user, 800)
    now = timezone.now()
    found = list(alerts.findings(now))
    assert len(found) == 1
    titles()
    Alert.objects.update(mailed_at=None, taken_until=now)
    (mine,), (other,) = alerts.undelivered(now), alerts.undelivered(now)
    assert [alerts.take(mine), alerts.take(other)] == [True, False]
    assert list(alerts.undelivered(now)) == []
    assert list(alerts.undelivered(now + timedelta(minutes=5))) == [mine]  # whoever took it was killed


def test_a_flood_goes_out_in_parts(user, budget, monkeypatch, settings, django_user_model):
    monkeypatch.setattr(alerts, "MOST_AT_ONCE", 2)
    settings.TOKEN_BUDGET_DEFAULT = 10
    for number in range(3):
        use(django_user_model.objects.create(username=f"u{number}"), 10)
    assert len(titles()) == 2
    assert len(titles()) == 1


def test_old_ones_are_forgotten(user, budget, month):
    use(user, 800)
    titles()
    month.shift(101 * 86_400)
    titles()
    assert not Alert.objects.exists()


# --- what is kept of them ---------------------------------------------------------------------------------------------
def test_the_admin_shows_what_was_told(user, budget, admin_client):
    use(user, 800)
    titles()
    page = admin_client.get("/admin/chat/alert/").content.decode()
    assert "80 % of a budget of 1,000 tokens" in page
    assert admin_client.get(f"/admin/chat/alert/{Alert.objects.get().pk}/change/").status_code == 200


def test_the_alerts_of_a_user_who_is_deleted_go_with_them(user, budget):
    use(user, 800)
    titles()
    assert user.get_username() in Alert.objects.get().title
    for _ in deletion.delete(user, by="an operator"):
        pass
    assert not Alert.objects.exists()
