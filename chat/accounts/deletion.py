"""Deleting a user: all that is theirs goes, and the bill stays without the person. And deleting conversations that
nobody uses any more."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from chat.accounts import keys
from chat.completion import conversations, reply_cache
from chat.models import Alert, BudgetPeriod, Conversation, IdempotentRequest, Key, Message, UsageRecord, UserSum

BATCH = 2_000
"""Rows that one transaction deletes or changes: 0.2 s or less, since on SQLite no chat can write meanwhile."""
PAGE = 100
"""Conversations that are looked at, and deleted with their messages, in one transaction."""


def of_user(user: Any) -> dict[str, QuerySet[Any]]:
    """Return the rows that are a user's, by their name, in the order in which they go."""
    return {
        "key": Key.objects.filter(user=user).select_related("user").order_by("pk"),
        "usage record": UsageRecord.objects.filter(user=user).order_by("pk"),
        "message": Message.objects.filter(conversation__user=user).order_by("pk"),
        "kept answer": IdempotentRequest.objects.filter(user=user).order_by("pk"),
        "budget period": BudgetPeriod.objects.filter(user=user).order_by("pk"),
        "conversation": Conversation.objects.filter(user=user).order_by("pk"),
    }


def delete(user: Any, *, by: str) -> Iterator[Counter[str]]:
    """Delete a user, batch by batch and each in a transaction of its own; yields what each batch had.

    Their keys and sessions are refused from the first moment. Usage records stay, with what they cost, and name nobody.
    May be stopped and begun again. Raises `IntegrityError` where a chat of theirs is still being written at the end.
    """
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    for name, rows in of_user(user).items():
        while batch := list(rows.values_list("pk", flat=True)[:BATCH]):
            began = time.monotonic()
            _delete(rows.filter(pk__in=batch), by)
            yield Counter({name: len(batch)})
            if not connection.in_atomic_block:
                time.sleep(time.monotonic() - began)  # half of the time is the chats'
    reply_cache.forget_user(user.pk)
    Alert.objects.filter(name__startswith=f"budget:{user.pk}:").delete()  # which name the user
    UserSum.objects.filter(user=user).update(user=None, api_key=None)  # as the records
    user.delete()  # and with it whatever a chat in flight has written since


def _delete(rows: QuerySet[Any], by: str) -> None:
    if rows.model is Key:
        keys.revoke(rows, by=by)
    elif rows.model is UsageRecord:
        rows.update(user=None, api_key=None)
    elif rows.model is Conversation:
        conversations.delete(*rows)
    else:
        rows.delete()


def delete_conversations(user: Any) -> Iterator[int]:
    """Delete a user's conversations, page by page and each in a transaction; yields how many went with each."""
    mine = Conversation.objects.filter(user=user).order_by("pk")
    while page := list(mine[:PAGE]):
        with transaction.atomic():
            conversations.delete(*page)
        yield len(page)


def prune_conversations(before: datetime) -> Iterator[tuple[int, int]]:
    """Delete the conversations in which nothing was written since `before`, page by page; yields of each how many went
    of how many. A chat that ends at this very moment finds its conversation gone, as after any deletion."""
    reached, begun = uuid.UUID(int=0), Conversation.objects.filter(created_at__lt=before)
    # By their ids, or the database would look through all messages for each page.
    while page := list(begun.filter(pk__gt=reached).order_by("pk")[:PAGE]):
        began, reached = time.monotonic(), page[-1].pk
        yield _delete_unused([conversation.pk for conversation in page], before), len(page)
        if not connection.in_atomic_block:
            time.sleep(time.monotonic() - began)  # half of the time is the chats'


def _delete_unused(page: Sequence[Any], before: datetime) -> int:
    used = Message.objects.filter(conversation=OuterRef("pk"), created_at__gte=before)
    try:
        with transaction.atomic():
            unused = list(Conversation.objects.filter(~Exists(used), pk__in=page))
            if unused:
                conversations.delete(*unused)
            return len(unused)
    except IntegrityError:  # a chat has just written to one of them
        return 0
