"""Alerts whose receiver or mail server is not well: each ends in time, and holds no other back."""

from __future__ import annotations

from queue import SimpleQueue

import pytest
from django.core import mail
from django.core.management import call_command
from django.utils import timezone

from chat.management import alerts, ways
from chat.models import Alert, BudgetPeriod
from tests.support.receiver import Receiver, drip, talking

pytestmark = pytest.mark.django_db
MAILS = "chat.management.mail.EmailBackend"  # of an EMAIL_URL that names a server
SECRET = "whsec_" + "A" * 44


@pytest.fixture(autouse=True)
def _operator(settings):
    settings.TOKEN_BUDGET_DEFAULT = 10
    settings.CHAT_ALERT_WEBHOOK_SECRET = SECRET
    settings.CHAT_ALERT_EMAILS = ["ops@example.org"]


@pytest.fixture(autouse=True)
def month(time_machine):
    time_machine.move_to("2027-03-10T12:00:00Z", tick=False)
    return time_machine


@pytest.fixture
def spent(django_user_model):
    """`spent(3)` makes three more users whose budget is spent."""

    def more(count):
        for _ in range(count):
            user = django_user_model.objects.create(username=f"user-{django_user_model.objects.count()}")
            BudgetPeriod.objects.create(user=user, period="month", start="2027-03-01T00:00:00Z", used=10)

    return more


def listens(settings, port):
    settings.CHAT_ALERT_WEBHOOK_URL = f"http://127.0.0.1:{port}/hook"


def mails_through(settings, port):
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = MAILS, "127.0.0.1", port
    settings.EMAIL_TIMEOUT = 0.5


def run():
    call_command("send_alerts", verbosity=0)


def lines(caplog):
    said = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [line for line in said if line["event"] == "alert_failed"]


def failures(caplog):
    return [(line["way"], line["reason"], line["status"]) for line in lines(caplog)]


# --- a webhook --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("talk", "failure"),
    [
        ([drip], "no complete answer from {host} after 0.5 s"),
        ([b"HTTP/1.1 200 OK\r\nX-Dripping: ", drip], "no complete answer from {host} after 0.5 s"),
        ([lambda connection: connection.recv(1)], "connection lost while waiting for {host}"),
        ([b"220 mail.example.org ESMTP\r\n"], "{host} did not answer with valid HTTP (BadStatusLine)"),
        ([b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000], "{host} did not answer with valid HTTP (LineTooLong)"),
    ],
    ids=["drips", "drips its headers", "leaves", "is no HTTP server", "has headers without an end"],
)
def test_a_receiver_that_does_not_answer_holds_nothing_up(spent, settings, monkeypatch, caplog, talk, failure):
    monkeypatch.setattr(ways, "PATIENCE", 0.5)
    spent(1)
    with talking(*talk) as port:
        listens(settings, port)
        run()
    ((way, reason, status),) = failures(caplog)
    assert (way, status) == ("webhook", None)
    assert reason.startswith(failure.format(host=f"127.0.0.1:{port}"))
    assert len(mail.outbox) == 1
    assert Alert.objects.get().posted_at is None


def test_nothing_of_an_answers_body_is_read(spent, settings, monkeypatch, caplog):
    monkeypatch.setattr(ways, "PATIENCE", 0.5)
    spent(1)
    with talking(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", drip) as port:
        listens(settings, port)
        run()
    assert failures(caplog) == []
    assert Alert.objects.get().posted_at


@pytest.mark.parametrize("path", ["/", "/hook", "/hook/", "/hook/?room=ops&to=/", "/?a=b"])
def test_a_webhook_is_called_at_the_address_that_is_set(spent, settings, path):
    spent(1)
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url.removesuffix("/hook") + path
        run()
    assert receiver.paths == [path]


def test_a_receiver_that_is_silent_is_asked_once_in_a_run(spent, settings, caplog):
    spent(3)
    with talking() as port:
        listens(settings, port)
        run()
        assert len(failures(caplog)) == 1
        assert len(mail.outbox) == 3
        run()
        assert len(failures(caplog)) == 2
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url
        run()
        assert len(set(receiver.ids())) == len(receiver.got) == 1  # the two that were tried wait for a minute or two
    assert len(mail.outbox) == 3


def test_an_alert_that_is_refused_keeps_no_other_back(spent, settings, monkeypatch, month, caplog):
    monkeypatch.setattr(alerts, "MOST_AT_ONCE", 2)
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL, receiver.status = receiver.url, 422
        spent(2)
        run()
        host = receiver.url.split("/")[2]
        assert failures(caplog) == [("webhook", f"{host} answered 422", 422)] * 2
        month.shift(3_600)
        receiver.status = 200
        spent(2)
        run()
    assert [told["data"]["username"] for told in receiver.told()] == ["user-0", "user-1", "user-2", "user-3"]


# --- a mail -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("talk", "failure"),
    [
        ([drip], ("SMTPServerDisconnected", None)),
        ([b"220 ready\r\n", drip], ("SMTPServerDisconnected", None)),
        ([b"220 ready\r\n", b"250 hello\r\n", b"550 not you\r\n", drip], ("SMTPSenderRefused", 550)),
        (
            [b"220 ready\r\n", b"250 hello\r\n", b"550 not you\r\n", b"250 reset\r\n", b"221 bye\r\n"],
            ("SMTPSenderRefused", 550),
        ),
        (
            [b"220 ready\r\n", b"250 hello\r\n", b"250 ok\r\n", b"450 later\r\n", b"250 reset\r\n", b"221 bye\r\n"],
            ("SMTPRecipientsRefused", 450),
        ),
        ([b"421 too busy\r\n"], ("SMTPConnectError", 421)),
        ([], ("SMTPServerDisconnected", None)),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], ("SMTPConnectError", -1)),
    ],
    ids=["drips", "drips later", "drips at its end", "refuses us", "refuses them", "is busy", "leaves", "is none"],
)
def test_a_mail_server_that_takes_no_mail_holds_nothing_up(spent, settings, monkeypatch, caplog, talk, failure):
    monkeypatch.setattr(ways, "PATIENCE", 0.5)
    spent(1)
    with talking(*talk) as port, Receiver().running() as receiver:
        mails_through(settings, port)
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url
        run()
        assert len(receiver.got) == 1
    assert failures(caplog) == [("mail", *failure)]
    assert Alert.objects.get().mailed_at is None


def test_a_fault_of_ours_holds_nothing_up(spent, settings, caplog):
    settings.DEFAULT_FROM_EMAIL = "chat\n@example.org"  # no header can hold it
    spent(2)
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url
        run()
        assert len(receiver.got) == 2
    assert failures(caplog) == [("mail", "BadHeaderError", None)] * 2
    assert all(line["exc_info"] for line in lines(caplog))  # or nobody could mend it


# --- both -------------------------------------------------------------------------------------------------------------
def test_who_is_named_later_is_not_told_what_is_no_news(spent, settings):
    spent(1)
    run()
    with Receiver().running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url
        run()
        assert receiver.got == []
        spent(1)
        run()
        assert [told["data"]["username"] for told in receiver.told()] == ["user-1"]


def test_who_is_told_to_end_finishes_one_alert_and_takes_no_other(spent, settings):
    spent(3)
    told_to_end: alerts.Told = SimpleQueue()
    with Receiver(lambda: told_to_end.put(15)).running() as receiver:
        settings.CHAT_ALERT_WEBHOOK_URL = receiver.url
        assert alerts.run(told_to_end) == (1, 0)
        assert len(receiver.got) == len(mail.outbox) == 1
        assert alerts.undelivered(timezone.now()).count() == 2
        run()
        assert len(set(receiver.ids())) == len(receiver.got) == 3
