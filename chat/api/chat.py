"""Our own face: `POST /chat`."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import generics
from rest_framework.request import Request

from chat.api import shapes
from chat.api.endpoint import ChatEndpoint
from chat.api.openapi import IDEMPOTENCY_KEY
from chat.models import Conversation
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Where
from chat.protocols import native
from chat.protocols.protocol import Face
from chat.serializers import ChatSerializer
from chat.types import Wish


class ChatView(ChatEndpoint, generics.GenericAPIView):
    """Send messages to a model and get its answer.

    `POST` a JSON object with `model` (see [/models](/models)) and `messages`. Optional: `temperature`, `max_tokens`,
    `conversation_id`, `stream`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "chat"
    format: ClassVar[Face] = native
    serializer_class = ChatSerializer
    answers = {"POST": {200: shapes.ChatAnswer, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT | Where.OBJECT}
    parameters = {"POST": [IDEMPOTENCY_KEY]}

    def read(self, request: Request) -> tuple[Wish, Conversation | None]:
        """See `ChatEndpoint.read`."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        conversation = asked.pop("conversation")
        return Wish(**asked), conversation
