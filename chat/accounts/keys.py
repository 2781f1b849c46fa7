"""API keys: issued, revoked, and when they were used. Knox stores the digest, `KeyDetail` what people ask of a key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import structlog
from django.core.cache import cache
from django.db import Error
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from knox.models import AuthToken

from chat.models import KeyDetail
from chat.observability import trail

USE_NOTED_EVERY = timedelta(minutes=10)
"""How exact `last_used_at` is: a chat pays one UPDATE for it in so long."""

log = structlog.get_logger(__name__)


def issue(user: Any, days: int, *, by: str, name: str = "") -> tuple[AuthToken, str]:
    """Return a new key's row, and the key, of which there is no other copy. It is valid for `days` days."""
    row, key = AuthToken.objects.create(user, expiry=timedelta(days=days))
    if name:
        KeyDetail.objects.filter(key=row).update(name=name)
    trail.key_issued(by, user, days, row.details.pk)
    return row, key


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


def note_use(row: AuthToken) -> None:
    """Write down that the key was used, unless that was done within `USE_NOTED_EVERY`, here or by another worker.

    Raises nothing for a database that does not write: the request may still be served.
    """
    details, now = getattr(row, "details", None), timezone.now()
    if details is None or (details.last_used_at and now - details.last_used_at < USE_NOTED_EVERY):
        return
    if not cache.add(f"key-used:{details.pk}", 1, timeout=USE_NOTED_EVERY.seconds):
        return
    try:
        KeyDetail.objects.filter(pk=details.pk).update(last_used_at=now)
    except Error as exc:
        log.warning("key_use_not_stored", key_id=str(details.pk), reason=type(exc).__name__)


@receiver(post_save, sender=AuthToken)
def give_details(sender: Any, instance: AuthToken, created: bool, raw: bool, using: str, **kwargs: Any) -> None:
    """Each key has details, whoever makes it. Fixtures bring their own."""
    if created and not raw:
        KeyDetail.objects.using(using).create(key=instance)
