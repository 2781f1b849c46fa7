"""The bodies of conversations and keys."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chat.models import Conversation, KeyDetail, Message
from chat.protocols.bodies import object_of, refuse_unknown


class StrictSerializer(serializers.Serializer):
    """A serializer that refuses fields it does not know: a misspelt option must not pass silently."""

    strict = True

    def run_validation(self, data: Any = serializers.empty) -> Any:
        given = object_of(data)
        refuse_unknown(data, {name for name, field in self.fields.items() if not field.read_only})
        return super().run_validation({name: value for name, value in given.items() if value is not None})


class StrictCharField(serializers.CharField):
    """A string and nothing else; DRF's own takes a number for one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class MessageSerializer(serializers.ModelSerializer):
    class Meta:
        model = Message
        fields = ["role", "content", "created_at"]


class ConversationSerializer(StrictSerializer, serializers.ModelSerializer):
    title = StrictCharField(required=False, max_length=200, allow_blank=True, help_text="Optional.")

    class Meta:
        model = Conversation
        fields = ["id", "title", "created_at"]
        read_only_fields = ["id", "created_at"]


class ConversationDetailSerializer(ConversationSerializer):
    """The messages are a page of them; the view brings them, with the rest of the page's facts."""

    count = serializers.IntegerField(read_only=True, min_value=0, help_text="All of its messages.")
    next = serializers.URLField(read_only=True, allow_null=True)
    previous = serializers.URLField(read_only=True, allow_null=True)
    messages = MessageSerializer(many=True, read_only=True)

    class Meta(ConversationSerializer.Meta):
        fields = ["id", "title", "created_at", "count", "next", "previous", "messages"]


class KeySerializer(serializers.ModelSerializer):
    created_at = serializers.DateTimeField(source="key.created", read_only=True)
    expires_at = serializers.DateTimeField(source="key.expiry", read_only=True, allow_null=True)

    class Meta:
        model = KeyDetail
        fields = ["id", "name", "created_at", "expires_at", "last_used_at"]
        read_only_fields = fields
