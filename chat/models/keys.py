"""API keys, and what people ask of one."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver
from knox.models import AuthToken


class Key(AuthToken):
    """An API key: knox's row, which it calls an auth token, one meaning too many beside a budget's tokens."""

    class Meta:
        proxy = True
        default_permissions = ()  # an operator's are those for knox's own model
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.token_key}… of {self.user}"


class KeyDetail(models.Model):
    """What people ask of an API key. Its id is in the API's addresses, so it tells nothing of the key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.OneToOneField("knox.AuthToken", models.CASCADE, related_name="details")
    name = models.CharField(max_length=100, blank=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name or str(self.id)


@receiver(post_save, sender=Key)
@receiver(post_save, sender=AuthToken)
def give_details(sender: Any, instance: AuthToken, created: bool, raw: bool, using: str, **kwargs: Any) -> None:
    """Give each key its details, whoever makes it. Fixtures bring their own."""
    if created and not raw:
        KeyDetail.objects.using(using).create(key=instance)
