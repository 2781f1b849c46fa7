"""API keys, issued and revoked. Knox stores the digest, `KeyDetail` what people ask of a key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver
from knox.models import AuthToken

from chat.conf import DAYS
from chat.models import Key, KeyDetail
from chat.observability import trail

LEAST_DAYS, MOST_DAYS = DAYS
"""Days for which a key may be valid."""


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
