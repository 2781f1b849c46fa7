"""API keys, issued and revoked. Knox stores the digest, `KeyDetail` what people ask of a key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from chat.accounts import trail
from chat.models import Key, KeyDetail


def issue(user: Any, days: int, *, by: str, name: str = "") -> tuple[Key, str]:
    """Return a new key's row, and the key, of which there is no other copy. It is valid for `days` days."""
    row, key = Key.objects.create(user, expiry=timedelta(days=days))
    if name:
        KeyDetail.objects.filter(key=row).update(name=name)
    trail.key_issued(by, user, days, row.details.pk)
    return row, key


def of(user: Any) -> QuerySet[KeyDetail]:
    """Return the details of the user's keys, the newest first."""
    return KeyDetail.objects.filter(key__user=user).select_related("key__user").order_by("-key__created", "pk")


def revoke(rows: Iterable[Key], *, by: str) -> int:
    """Delete keys, which ends them at once, and return how many there were."""
    count = 0
    for row in rows:
        user, key_id = row.user, KeyDetail.objects.filter(key=row).values_list("pk", flat=True).first()
        deleted, _ = row.delete()
        if deleted:
            trail.key_revoked(by, user, key_id)
            count += 1
    return count
