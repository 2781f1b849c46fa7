"""Words of users: conversations, and the answers that are kept under Idempotency-Keys."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Conversation(models.Model):
    """A chat's memory: what goes before the new messages."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="conversations", db_index=False)
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["user", "-created_at"], name="conversations_of_a_user")]

    def __str__(self) -> str:
        return f"conversation {self.id}"  # without the title, which is the user's: the admin names what it deletes


class Message(models.Model):
    """One stored turn. Turns are ordered by their id."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    role = models.CharField(max_length=9)
    content = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.role}, {len(self.content)} characters"


class IdempotentRequest(models.Model):
    """A request sent with an Idempotency-Key: `answer` is None while it runs."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the body.")
    answer = models.JSONField(null=True)
    expires_at = models.DateTimeField(db_index=True)
    conversation = models.ForeignKey(
        "Conversation", models.CASCADE, null=True, related_name="+", db_index=False, help_text="Named by the request."
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["conversation"], condition=models.Q(conversation__isnull=False), name="answers_by_conversation"
            )
        ]
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_request_a_key")]

    def __str__(self) -> str:
        return f"request {self.pk}: {'running' if self.answer is None else 'answered'}"  # the key is the client's
