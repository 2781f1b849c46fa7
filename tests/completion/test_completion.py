"""The order of things in one chat: reserve, ask, settle or release, store, log."""

import threading
import time

import pytest
from django.db import OperationalError, connection

from chat.billing import outbox
from chat.completion import arrival
from chat.exceptions import StreamTooLong
from chat.models import Conversation, Message
from chat.types import Tick
from tests.support.loopback import status

pytestmark = pytest.mark.django_db


def test_nothing_is_asked_that_the_budget_does_not_cover(rig, settings):
    settings.TOKEN_BUDGET_DEFAULT = 5
    assert rig.chat().json()["error"] == "token_budget_exceeded"
    assert rig.calls == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_provider_is_waited_for(rig):
    release = threading.Event()
    rig.first.always = lambda request: (release.wait(10), "ok")[1]
    chat = rig.begin()
    assert rig.first.arrived.wait(5)
    with connection.cursor() as cursor:  # on SQLite this would wait for an open transaction
        cursor.execute("UPDATE chat_budgetperiod SET used = used")
    assert rig.tokens()[1] > 0
    release.set()
    assert (chat.result(10).status_code, rig.tokens()) == (200, (21, 0))


def test_a_paid_answer_goes_out_even_if_the_bill_cannot_be_written(rig, monkeypatch):
    def away(*args):
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "write", away)
        patch.setattr(outbox.time, "sleep", lambda seconds: None)
        assert rig.chat().json()["tokens_used"] == 21
    assert rig.events("budget_settlement_failed")[0]["tokens_used"] == 21
    rig.chat()
    assert rig.tokens() == (42, 0)


@pytest.mark.parametrize("failing", [False, True])
def test_an_exchange_is_stored_on_success_alone(rig, user, failing):
    conversation = Conversation.objects.create(user=user)
    rig.first.always = status(501) if failing else "ok"
    rig.chat(conversation_id=str(conversation.pk))
    stored = [] if failing else [("user", "Hello!"), ("assistant", "hello")]
    assert list(conversation.messages.values_list("role", "content")) == stored


def test_the_history_goes_before_the_messages(rig, user):
    conversation = Conversation.objects.create(user=user)
    for content in ("One.", "Two."):
        rig.chat(content=content, conversation_id=str(conversation.pk))
    assert [message["content"] for message in rig.first.requests[-1].json["messages"]] == ["One.", "hello", "Two."]


def test_an_answer_that_cannot_be_stored_is_paid_for_and_goes_out(rig, user, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("gone")

    conversation = Conversation.objects.create(user=user)
    monkeypatch.setattr(Message.objects, "bulk_create", away)
    assert rig.chat(conversation_id=str(conversation.pk)).status_code == 200
    assert (rig.tokens(), len(rig.events("conversation_not_stored"))) == ((21, 0), 1)


class Silent:
    """A stream of which nothing comes; it notes how long it is waited for."""

    def __init__(self):
        self.waits = []

    def next(self, seconds):
        self.waits.append(seconds)
        return Tick()


def test_a_silent_stream_leaves_time_to_look_for_its_client_each_second():
    silent = Silent()
    for left in (60.0, 0.5):
        assert isinstance(arrival.next_item(silent, "first", time.monotonic() + left), Tick)
    first, last = silent.waits
    assert 0 < last <= 0.5 < first <= 1.0
    with pytest.raises(StreamTooLong):
        arrival.next_item(silent, "first", time.monotonic())
    assert len(silent.waits) == 2
