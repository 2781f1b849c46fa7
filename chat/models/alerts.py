"""What operators are told without asking."""

from __future__ import annotations

from django.db import models


class Alert(models.Model):
    """One thing that operators are told once, by mail and by webhook. Found and sent by management/alerts.py.

    `name` says what it is about, and in which period: a second one of the same name is never written. `mailed_at` and
    `posted_at` are when it went out by either way; whoever sends it has taken it until `taken_until`.
    """

    name = models.CharField(max_length=250, unique=True)
    kind = models.CharField(max_length=20)
    title = models.CharField(max_length=250)
    facts = models.JSONField()
    created_at = models.DateTimeField(db_index=True)
    taken_until = models.DateTimeField()
    tries = models.IntegerField(default=0)
    mailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.title
