"""What a request's body must look like. Everything is checked here, before anything costs money."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from typing import Any

from rest_framework import serializers

from chat.api.body import Fields, must_be_object, refuse, unknown_fields
from chat.exceptions import ConversationNotFound, InvalidMessageFormatError
from chat.models import Conversation, KeyDetail, Message
from chat.problems.facts import EXAMPLE_MESSAGES
from chat.problems.words import LONGEST_ECHO
from chat.routing import catalogue
from chat.types import Message as Turn
from chat.types import Model

ROLES = ("system", "user", "assistant")
MOST_MESSAGES = 2_000


class StrictSerializer(serializers.Serializer):
    """A serializer that refuses fields it does not know: a misspelt option must not pass silently."""

    strict = True

    def run_validation(self, data: Any = serializers.empty) -> Any:
        data = must_be_object(data)
        refuse(unknown_fields(data, {field.field_name for field in self._writable_fields}))
        return super().run_validation({name: value for name, value in data.items() if value is not None})


class StrictCharField(serializers.CharField):
    """A string and nothing else; DRF's own takes a number for one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class ChatMessageSerializer(serializers.Serializer):
    strict = True

    role = serializers.ChoiceField(choices=ROLES)
    content = serializers.CharField(trim_whitespace=False, help_text="Not blank.")

    def refine_schema(self, schema: dict[str, Any]) -> None:
        schema["properties"]["content"]["pattern"] = r"\S"


class ChatSerializer(serializers.Serializer):
    """The body of `POST /chat`. The fields are declared for the browsable API and for reading; the contract's order
    (model, messages, then all others at once) and its strictness are in `to_internal_value`."""

    strict = True

    model = serializers.CharField(help_text="One of GET /models.")
    messages = ChatMessageSerializer(many=True, help_text=f"1 to {MOST_MESSAGES}, at least one of them from the user.")
    temperature = serializers.FloatField(
        min_value=0, max_value=2, required=False, help_text="0 to 2; left out, none is sent."
    )
    max_tokens = serializers.IntegerField(
        min_value=1, required=False, help_text="Up to the model's own limit; no decimal point."
    )
    conversation_id = serializers.CharField(required=False, help_text="A conversation to continue.")
    stream = serializers.BooleanField(required=False, help_text="The answer as server-sent events; default false.")

    def get_initial(self) -> dict[str, Any]:
        """What the browsable API's box is filled with: what was just sent, else a request that works."""
        return sent_before(self) or {
            "model": first_model(),
            "messages": EXAMPLE_MESSAGES,
            "max_tokens": 100,
        }

    def refine_schema(self, schema: dict[str, Any]) -> None:
        """What is on offer in this process, and rules that no declared field can state."""
        describe_models(schema, "max_tokens")
        fields = schema["properties"]
        a_users = {"type": "object", "properties": {"role": {"const": "user"}}, "required": ["role"]}
        fields["messages"] |= {"minItems": 1, "maxItems": MOST_MESSAGES, "contains": a_users}
        fields["conversation_id"]["format"] = "uuid"
        schema["examples"] = [self.get_initial()]

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # Everything is in one place below; the base class would copy all fields to find that nothing is left to do.
        return self.to_internal_value(data)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The checked request, with a `Model` and `types.Message`s.

        Raises `ModelNotFoundError`, `InvalidMessageFormatError`, `ValidationError` or, for a conversation that is not
        the user's, `ConversationNotFound`, in this order.
        """
        data = must_be_object(data)
        model = check_model(data.get("model"))
        messages = check_messages(data.get("messages"))
        fields = Fields(data, self._declared_fields)  # `self.fields` would copy them all
        temperature = fields.number("temperature", 2)
        max_tokens = fields.tokens("max_tokens", model)
        conversation_id = fields.given.get("conversation_id")
        if not isinstance(conversation_id, str | None):
            fields.complain("conversation_id", "This must be a string.")
        stream = fields.flag("stream")
        refuse(fields.complaints)
        return {
            "model": model,
            "messages": messages,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "conversation": None if conversation_id is None else self._conversation(conversation_id),
            "stream": stream,
        }

    def _conversation(self, conversation_id: str) -> Conversation:
        return own_conversation(self.context["request"].user, conversation_id)


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


def sent_before(serializer: serializers.Serializer) -> dict[str, Any]:
    """What was just sent, to be shown again in the browsable API's box."""
    sent = getattr(serializer.context.get("request"), "data", None)
    return dict(sent) if isinstance(sent, dict) else {}


def first_model() -> str:
    return next(iter(sorted(catalogue.current().models)), "")


def describe_models(schema: dict[str, Any], *limits: str) -> None:
    """What is on offer in this process, with the most that the fields `limits` may ask of each model."""
    models = sorted(catalogue.current().models.values(), key=lambda model: model.name)
    most = max((model.max_output_tokens for model in models), default=1)
    schema["properties"]["model"]["enum"] = [model.name for model in models]
    for name in limits:
        schema["properties"][name]["maximum"] = most
    schema["allOf"] = [
        {
            "if": {"properties": {"model": {"const": model.name}}},
            "then": {"properties": {name: {"maximum": model.max_output_tokens} for name in limits}},
        }
        for model in models
        if model.max_output_tokens < most
    ]


def check_model(name: Any) -> Model:
    """The model of that exact name. Raises `ValidationError` or `ModelNotFoundError`."""
    if name is None:
        refuse({"model": ["This field is required."]})
    if not isinstance(name, str):
        refuse({"model": ["This must be a string."]})
    return catalogue.current().get(name)


def check_messages(value: Any, may_be_blank: Collection[str] = ()) -> tuple[Turn, ...]:
    """Return the messages, checked. Raises `InvalidMessageFormatError` for the first fault. The roles in `may_be_blank`
    need not say anything."""
    if value is None:
        raise InvalidMessageFormatError("This field is required.", received="null")
    if not isinstance(value, list):
        raise InvalidMessageFormatError("This must be a list of messages.", received=echo(value))
    if not 1 <= len(value) <= MOST_MESSAGES:
        message = f"There must be 1 to {MOST_MESSAGES} messages, not {len(value)}."
        raise InvalidMessageFormatError(message, received=echo(value))
    messages = tuple(_check_message(item, f"messages[{number}]", may_be_blank) for number, item in enumerate(value))
    if not any(message.role == "user" for message in messages):
        raise InvalidMessageFormatError("At least one message must have the role user.", received=echo(value))
    return messages


def _check_message(item: Any, place: str, may_be_blank: Collection[str]) -> Turn:
    def fault(message: str, received: Any, field: str = "") -> InvalidMessageFormatError:
        return InvalidMessageFormatError(message, field=place + field, received=echo(received))

    if not isinstance(item, dict):
        raise fault("A message is an object with a role and a content.", item)
    if extra := item.keys() - {"role", "content", *(["name"] if may_be_blank else [])}:
        raise fault("A message has a role and a content, and nothing else.", sorted(extra))
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise fault(f"The role must be one of {', '.join(ROLES)}.", role, ".role")
    if not isinstance(content, str):
        raise fault("The content must be a string.", content, ".content")
    if not content.strip() and role not in may_be_blank:
        raise fault("The content must not be blank.", content, ".content")
    return Turn.of(str(role), content, item.get("name", ""))


def echo(value: Any) -> str:
    """What was received, as JSON, cut short."""
    return json.dumps(value, ensure_ascii=False)[:LONGEST_ECHO]


def own_conversation(user: Any, conversation_id: str) -> Conversation:
    """The user's own conversation. Raises `ConversationNotFound`."""
    key = parse_uuid(conversation_id)
    conversation = Conversation.objects.filter(pk=key, user=user).first() if key else None
    if conversation is None:
        raise ConversationNotFound("The user has no conversation with this id.")
    return conversation


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID in its canonical form, else None."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None
