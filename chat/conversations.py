"""What a conversation remembers of a chat: read before it, written after it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.db import transaction

from chat.answer import Answer
from chat.models import Conversation, Message
from chat.providers.base import ChatMessage

log = structlog.get_logger(__name__)


def history(conversation: Conversation | None) -> list[ChatMessage]:
    """Return the stored turns; none without a conversation."""
    if conversation is None:
        return []
    return [ChatMessage(role, content) for role, content in conversation.messages.values_list("role", "content")]


def store(conversation: Conversation | None, messages: Sequence[ChatMessage], answer: Answer) -> None:
    """Add the exchange to the conversation. Should that fail, the answer is paid for and still goes out.

    A content-filtered answer may be empty; with an empty turn in its history, providers would refuse every later chat.
    """
    if conversation is None or not answer.text.strip():
        return
    turns = [*messages, ChatMessage("assistant", answer.text)]
    try:
        with transaction.atomic():
            Message.objects.bulk_create(
                Message(conversation=conversation, role=turn.role, content=turn.content) for turn in turns
            )
    except Exception as exc:  # whatever it is, it must not cost the user the answer
        log.error("conversation_not_stored", conversation_id=str(conversation.pk), exc_info=exc)
