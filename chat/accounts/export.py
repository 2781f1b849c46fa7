"""All that is stored of a user, as JSON: for the user who asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import F, Model, QuerySet

from chat.completion import reply_cache
from chat.models import BudgetPeriod, Conversation, IdempotentRequest, KeyDetail, TokenBudget, UsageRecord

CHUNK = 2_000
"""Rows that are read at once."""


def export(user: Any) -> Iterator[str]:
    """Yield the JSON in pieces, a row each, however many there are. Columns have their own names and units; left out
    are what would let somebody in, which nobody can read: the password's hash and the keys' digests."""
    yield f'{{"account": {written(account(user))}'
    for name, rows in parts(user).items():
        yield f',\n"{name}": ['
        for number, row in enumerate(rows):
            yield f"{',' if number else ''}\n{written(row)}"
        yield "]"
    yield "}\n"


def written(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def account(user: Any) -> dict[str, Any]:
    """Return the fields of the user's own row, whichever model it is of."""
    fields = {field.attname: field.value_from_object(user) for field in user._meta.concrete_fields}
    named = {field.name: [str(each) for each in getattr(user, field.name).all()] for field in user._meta.many_to_many}
    return {name: value for name, value in fields.items() if name != "password"} | named


def parts(user: Any) -> dict[str, Iterable[Any]]:
    """Return the rows that are a user's, by their name in the export."""

    def mine(model: type[Model]) -> QuerySet[Any]:
        return model._default_manager.filter(user_id=user.pk).order_by("pk")

    keys = KeyDetail.objects.filter(key__user_id=user.pk).order_by("key__created")
    stored = {
        "budget": mine(TokenBudget).values(),
        "budget_periods": mine(BudgetPeriod).values(),
        "keys": keys.values("id", "name", "last_used_at", created_at=F("key__created"), expires_at=F("key__expiry")),
        "usage_records": mine(UsageRecord).values(),
        "answers_kept_under_an_idempotency_key": mine(IdempotentRequest).values(),
        "acts_in_the_admin": mine(LogEntry).values(),
    }
    return {name: rows.iterator(CHUNK) for name, rows in stored.items()} | {
        "conversations": map(conversation, mine(Conversation)),
        "answers_kept_for_an_outage": reply_cache.of_user(user.pk),
    }


def conversation(row: Conversation) -> dict[str, Any]:
    messages = row.messages.order_by("pk").values("role", "content", "created_at")
    return {"id": row.pk, "title": row.title, "created_at": row.created_at, "messages": list(messages)}
