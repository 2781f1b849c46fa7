"""prune_conversations: what nobody has used for so long goes with all that is kept of it, and nothing else."""

from __future__ import annotations

import io
import itertools
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.management import CommandError
from django.utils import timezone

from chat.accounts import deletion
from chat.completion import conversations
from chat.models import Conversation, IdempotentRequest, Message, UsageRecord
from tests.flows.test_words import conversation_of, stands_in
from tests.support.commands import run
from tests.support.contract import check_error

pytestmark = pytest.mark.django_db
OLD = "2026-01-10 10:00 +0000"
NOW = "2026-06-15 12:30 +0000"


def prune(days: int = 90) -> str:
    with time_machine.travel(NOW):
        return run("prune_conversations", "--older-than", f"{days}d")


def exchange(rig, content, conversation, key=""):
    answer = rig.chat(content=content, conversation_id=conversation, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 200


def test_a_conversation_goes_that_nobody_has_used_for_so_long(rig, auth_client):
    with time_machine.travel(OLD):
        unused, used, empty = (conversation_of(auth_client) for _ in range(3))
        for conversation in (unused, used):
            exchange(rig, "long ago", conversation)
    with time_machine.travel("2026-05-01 10:00 +0000"):
        exchange(rig, "lately", used)
        begun = conversation_of(auth_client)

    assert prune() == "Deleted, not used since 2026-03-17 12:30 UTC: 2 conversations.\n"

    assert {str(pk) for pk in Conversation.objects.values_list("pk", flat=True)} == {used, begun}
    assert Message.objects.count() == 4
    assert UsageRecord.objects.filter(state="settled").count() == 3
    for gone in (unused, empty):
        check_error(rig.chat(conversation_id=gone), "not_found")
    assert prune() == "Deleted, not used since 2026-03-17 12:30 UTC: 0 conversations.\n"


def test_the_answers_that_are_kept_of_it_go_too(rig, auth_client, settings):
    number = conversation_of(auth_client)
    exchange(rig, "in it", number, key="a")
    long_ago = timezone.now() - timedelta(days=2)
    Conversation.objects.update(created_at=long_ago)
    Message.objects.update(created_at=long_ago)
    assert stands_in(rig, "in it")

    run("prune_conversations", "--older-than", "1d")

    assert not stands_in(rig, "in it")
    assert not IdempotentRequest.objects.exists()


def test_it_may_be_stopped_at_any_time(user, monkeypatch):
    monkeypatch.setattr(deletion, "PAGE", 2)
    with time_machine.travel(OLD):
        Conversation.objects.bulk_create(Conversation(user=user) for _ in range(7))
    before = datetime(2026, 4, 1, tzinfo=UTC)

    assert list(itertools.islice(deletion.prune_conversations(before), 2)) == [(2, 2), (2, 2)]
    assert Conversation.objects.count() == 3
    assert list(deletion.prune_conversations(before)) == [(2, 2), (1, 1)]


def test_one_that_is_used_while_others_are_deleted_stays(user, monkeypatch):
    with time_machine.travel(OLD):
        first, second = sorted((Conversation.objects.create(user=user) for _ in range(2)), key=lambda each: each.pk)
    delete = conversations.delete
    monkeypatch.setattr(deletion, "PAGE", 1)

    def delete_and_use(*gone):
        delete(*gone)
        Message.objects.create(conversation=second, role="user", content="still here")

    monkeypatch.setattr(conversations, "delete", delete_and_use)

    assert list(deletion.prune_conversations(datetime(2026, 4, 1, tzinfo=UTC))) == [(1, 1), (0, 1)]
    assert Message.objects.get().conversation == second


@pytest.mark.parametrize("text", ["0d", "36501d"])
def test_an_age_that_makes_no_sense_is_refused(text):
    with pytest.raises(CommandError, match=f"--older-than must be from 1d to 36500d, not {text}[.]"):
        run("prune_conversations", f"--older-than={text}")


def test_a_terminal_sees_how_far_it_is(user, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with time_machine.travel(OLD):
        Conversation.objects.bulk_create(Conversation(user=user) for _ in range(3))
    monkeypatch.setattr("sys.stderr", err := Terminal())
    prune()
    assert "| 3/3 [" in err.getvalue()
    assert " conversations/s]" in err.getvalue()
