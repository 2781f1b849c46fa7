"""Sums of usage records, from which the operators' pages are added up. Written by billing/rollup.py; each can be made
anew from the records.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Rollup(models.Model):
    """An hour or a day (UTC) whose records are final and summed up. Until it is `ready` its sums are being made."""

    start = models.DateTimeField()
    end = models.DateTimeField()
    ready = models.BooleanField(default=False)

    class Meta:
        ordering = ["start"]
        constraints = [models.UniqueConstraint(fields=["start", "end"], name="one_rollup_a_time")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


class OutcomeSum(models.Model):
    """The requests of a time that had the same model, provider and outcome. Costs are nano-dollars.

    `chats` counts the further refusals, too, which have no record of their own.
    """

    rollup = models.ForeignKey(Rollup, models.CASCADE, related_name="outcomes")
    model = models.CharField(max_length=100)
    provider = models.CharField(max_length=50)
    state = models.CharField(max_length=9)
    cached = models.BooleanField()
    error = models.CharField(max_length=60)
    chats = models.BigIntegerField()
    tokens = models.BigIntegerField()
    cost = models.BigIntegerField()
    uncharged = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.model} by {self.provider}, {self.state}: {self.chats}"


class LatencySum(models.Model):
    """How long the charged chats of a time took, by provider, and when the last of them ended.

    `durations` says of how many the whole time is known, and how many took no longer than each of `rollup.BOUNDS`;
    `first_tokens` says the same of the time to the first token.
    """

    rollup = models.ForeignKey(Rollup, models.CASCADE, related_name="latencies")
    provider = models.CharField(max_length=50)
    last = models.DateTimeField(null=True)
    durations = models.JSONField()
    first_tokens = models.JSONField()

    def __str__(self) -> str:
        return f"{self.provider}: {self.durations}"


class CallSum(models.Model):
    """The calls of a time to one provider, of whatever chat, and how many of them failed by the provider's doing."""

    rollup = models.ForeignKey(Rollup, models.CASCADE, related_name="calls")
    provider = models.CharField(max_length=50)
    calls = models.BigIntegerField()
    failed = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.provider}: {self.failed} of {self.calls} failed"


class UserSum(models.Model):
    """The requests of a time that came from one user, by one key. As in the records, a user who is deleted is null,
    and so is the key of a browser's session. Costs are nano-dollars; `errors` are the chats without an answer."""

    rollup = models.ForeignKey(Rollup, models.CASCADE, related_name="users")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    api_key = models.UUIDField(null=True)
    chats = models.BigIntegerField()
    tokens = models.BigIntegerField()
    cost = models.BigIntegerField()
    errors = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.chats} chats, {self.tokens} tokens"
