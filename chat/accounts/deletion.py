"""Deleting a user: all that is theirs goes, and the bill stays without the person."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from chat.accounts import keys
from chat.completion import conversations, reply_cache
from chat.models import BudgetPeriod, Conversation, IdempotentRequest, Key, Message, UsageRecord

BATCH = 2_000
"""Rows that one transaction deletes or changes: 0.2 s or less, since on SQLite no chat can write meanwhile."""


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
    user.delete()  # and with it whatever a chat in flight has written since


def _delete(rows: QuerySet[Any], by: str) -> None:
    if rows.model is Key:
        keys.revoke(rows, by=by)
    elif rows.model is UsageRecord:
        rows.update(user=None, api_key=None)
    elif rows.model is Conversation:
        for conversation in rows:
            conversations.delete(conversation)
    else:
        rows.delete()
