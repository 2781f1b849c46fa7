"""API keys: issued, found, revoked, and when they were used. Knox stores the digest, `KeyDetail` what people ask of a
key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.core.cache import cache as counters
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.models import Model, Value
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from knox.models import AuthToken

from chat.backends.database import fetch
from chat.conf import DAYS
from chat.models import Key, KeyDetail, TokenBudget
from chat.observability import trail

LEAST_DAYS, MOST_DAYS = DAYS
"""Days for which a key may be valid."""
USE_NOTED_EVERY = timedelta(minutes=10)
"""How exact `last_used_at` is: a chat pays one UPDATE for it in so long."""

log = structlog.get_logger(__name__)


def issue(user: Any, days: int, *, by: str, name: str = "") -> tuple[Key, str]:
    """Return a new key's row, and the key, of which there is no other copy. It is valid for `days` days."""
    row, key = Key.objects.create(user, expiry=timedelta(days=days))
    if name:
        KeyDetail.objects.filter(key=row).update(name=name)
    trail.key_issued(by, user, days, row.details.pk)
    return row, key


@receiver(post_save, sender=Key)
@receiver(post_save, sender=AuthToken)
def give_details(sender: Any, instance: AuthToken, created: bool, raw: bool, using: str, **kwargs: Any) -> None:
    """Give each key its details, whoever makes it. Fixtures bring their own."""
    if created and not raw:
        KeyDetail.objects.using(using).create(key=instance)


def beginning_with(token_key: str) -> list[Key]:
    """Return the keys that begin so, each with its details, its user and the user's budget."""
    statement = Statement.of(connections[DEFAULT_DB_ALIAS].vendor)
    return [statement.key(list(row)) for row in fetch(statement.sql, [token_key])]


@dataclass(frozen=True)
class Statement:
    """The SELECT of a key and what is read with it. The ORM makes it once for each kind of database: to make it anew
    costs four times what it costs to run it."""

    sql: str
    parts: list[tuple[type[Model], list[str]]]
    """The models in a row, from left to right, and the names of their columns."""
    conversions: list[tuple[int, Any, Value]]
    """Where the database stores another type: the place in a row, the function, and the expression that it is given."""

    @staticmethod
    @cache
    def of(vendor: str) -> Statement:
        """Return the statement for a kind of database."""
        joined: list[tuple[str, type[Model]]] = [
            ("", Key),
            ("details__", KeyDetail),
            ("user__", get_user_model()),
            ("user__token_budget__", TokenBudget),
        ]
        fields = [(path + field.attname, field) for path, model in joined for field in model._meta.concrete_fields]
        query = Key.objects.filter(token_key="").values_list(*(name for name, _ in fields)).query
        database, conversions = connections[DEFAULT_DB_ALIAS], []
        for place, (_, field) in enumerate(fields):
            value = Value(None, output_field=field)
            functions = database.ops.get_db_converters(value) + field.get_db_converters(database)
            conversions += [(place, function, value) for function in functions]
        parts = [(model, [field.attname for field in model._meta.concrete_fields]) for _, model in joined]
        return Statement(query.sql_with_params()[0], parts, conversions)

    def key(self, row: list[Any]) -> Key:
        """Return the key of a row, which this converts in place.

        Neither user nor details are tied back to the key: such a pair would wait for the garbage collector.
        """
        database = connections[DEFAULT_DB_ALIAS]
        for place, function, value in self.conversions:
            row[place] = function(row[place], value, database)
        instances: list[Any] = []
        for model, names in self.parts:
            values, row = row[: len(names)], row[len(names) :]
            missing = all(value is None for value in values)
            instances.append(None if missing else model.from_db(DEFAULT_DB_ALIAS, names, values))
        key, details, user, budget = instances
        for owner, name, part in ((key, "details", details), (key, "user", user), (user, "token_budget", budget)):
            owner._meta.get_field(name).set_cached_value(owner, part)
        return key  # type: ignore[no-any-return]


def revoke(rows: Iterable[AuthToken], *, by: str) -> int:
    """Delete keys, at once without effect; returns how many."""
    count = 0
    for row in rows:
        user, key_id = row.user, KeyDetail.objects.filter(key=row).values_list("pk", flat=True).first()
        deleted, _ = row.delete()
        if deleted:
            trail.key_revoked(by, user, key_id)
            count += 1
    return count


def note_use(row: Key) -> None:
    """Write down that the key was used, unless that was done within `USE_NOTED_EVERY`, here or by another worker.

    Raises nothing for a database that does not write: the request may still be served.
    """
    details, now = getattr(row, "details", None), timezone.now()
    if details is None or (details.last_used_at and now - details.last_used_at < USE_NOTED_EVERY):
        return
    if not counters.add(f"key-used:{details.pk}", 1, timeout=USE_NOTED_EVERY.seconds):
        return
    try:
        KeyDetail.objects.filter(pk=details.pk).update(last_used_at=now)
    except Error as exc:
        log.warning("key_use_not_stored", key_id=str(details.pk), reason=type(exc).__name__)
