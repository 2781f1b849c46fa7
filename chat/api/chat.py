"""Our own face: `POST /chat`."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers

from chat.api.endpoint import ChatEndpoint
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Where
from chat.protocols import native
from chat.protocols.protocol import Face
from chat.types.money import EXACT


class TokenCounts(serializers.Serializer):
    prompt_tokens = serializers.IntegerField(min_value=0)
    completion_tokens = serializers.IntegerField(min_value=0)


class ChatAnswer(serializers.Serializer):
    response = serializers.CharField()
    model = serializers.CharField()
    upstream_model = serializers.CharField(help_text="The provider's own name of the model that answered.")
    tokens_used = serializers.IntegerField(min_value=0, help_text="What the budget was charged.")
    cost = serializers.RegexField(
        EXACT, allow_null=True, help_text="The same in dollars; null where the price is not known."
    )
    usage = TokenCounts()
    finish_reason = serializers.ChoiceField(choices=("stop", "length", "content_filter"))
    provider = serializers.CharField(help_text="Who answered.")
    cached = serializers.BooleanField(help_text="An earlier answer, shown since every provider failed.")
    request_id = serializers.CharField()
    message = serializers.CharField(required=False, help_text="Why the answer is a cached one, where it is.")


class ChatView(ChatEndpoint):
    """Send messages to a model and get its answer.

    `POST` a JSON object with `model` (see [/models](/models)) and `messages`. Optional: `temperature`, `max_tokens`,
    `conversation_id`, `stream`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "chat"
    format: ClassVar[Face] = native
    answers = {"POST": {200: ChatAnswer, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT | Where.OBJECT}
