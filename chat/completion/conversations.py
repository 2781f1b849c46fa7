"""What a conversation remembers of a chat: begun, read before it, written after it, deleted with all that is kept."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from chat import models
from chat.completion import reply_cache
from chat.conf import conf
from chat.exceptions import ConversationNotFound, ValidationError
from chat.models import Conversation
from chat.types import Answer, Message

log = structlog.get_logger(__name__)


def of(user: Any) -> QuerySet[Conversation]:
    """Return the user's own conversations, the newest first."""
    return Conversation.objects.filter(user=user)


def check_room(user: Any) -> None:
    """Raise `ValidationError` where the user has as many as a user may have."""
    most = conf.CONVERSATIONS_PER_USER
    if of(user)[:most].count() >= most:
        full = f"You have {most} conversations, the most that a user may have. Delete one first."
        raise ValidationError("The user has CONVERSATIONS_PER_USER conversations.", fields={"conversations": [full]})


def owned(user: Any, conversation_id: str) -> Conversation:
    """Return the user's own conversation. Raises `ConversationNotFound`."""
    key = parse_uuid(conversation_id)
    conversation = of(user).filter(pk=key).first() if key else None
    if conversation is None:
        raise ConversationNotFound("The user has no conversation with this id.")
    return conversation


def parse_uuid(text: str) -> uuid.UUID | None:
    """Return the UUID in its canonical form, else None."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None


def history(conversation: Conversation | None, new: int) -> list[Message]:
    """Return the stored turns; none without a conversation. Raises `ValidationError` where there is no room for `new`
    messages and an answer."""
    if conversation is None:
        return []
    most = conf.MESSAGES_PER_CONVERSATION
    turns = list(conversation.messages.values_list("role", "content"))
    if len(turns) + new + 1 > most:
        full = f"It holds {len(turns)} messages of the {most} that it may: no room for this exchange. Begin another."
        raise ValidationError("The conversation is full.", fields={"conversation_id": [full]})
    return [Message.of(role, content) for role, content in turns]


def name(conversation: Conversation | None) -> str:
    """Return the conversation's id, "" for none."""
    return str(conversation.pk) if conversation else ""


def delete(*gone: Conversation) -> None:
    """Delete conversations with all that is kept of them: their messages, the answers of their Idempotency-Keys, and
    those that would stand in during an outage."""
    Conversation.objects.filter(pk__in=[conversation.pk for conversation in gone]).delete()
    reply_cache.forget(*map(name, gone))


def store(conversation: Conversation | None, messages: Sequence[Message], answer: Answer) -> None:
    """Add the exchange to the conversation. Should that fail, the answer is paid for and still goes out.

    A content-filtered answer may be empty; with an empty turn in its history, providers would refuse every later chat.
    """
    if conversation is None or not answer.text.strip():
        return
    turns = [*messages, Message("assistant", answer.parts)]
    try:
        with transaction.atomic():
            # One exchange after the other, or the turns of two that end at once would lie mixed.
            Conversation.objects.select_for_update().filter(pk=conversation.pk).first()
            models.Message.objects.bulk_create(
                models.Message(conversation=conversation, role=turn.role, content=turn.text) for turn in turns
            )
    except Exception as exc:  # whatever it is, it must not cost the user the answer
        log.error("conversation_not_stored", conversation_id=name(conversation), exc_info=exc)
        if isinstance(exc, IntegrityError):  # it was deleted meanwhile, with the answers that there were then
            reply_cache.forget(name(conversation))
