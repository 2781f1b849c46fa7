"""Our own face: `POST /chat`."""

from __future__ import annotations

from typing import ClassVar

from chat.api import shapes
from chat.api.endpoint import ChatEndpoint
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Where
from chat.protocols import native
from chat.protocols.protocol import Face


class ChatView(ChatEndpoint):
    """Send messages to a model and get its answer.

    `POST` a JSON object with `model` (see [/models](/models)) and `messages`. Optional: `temperature`, `max_tokens`,
    `conversation_id`, `stream`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "chat"
    format: ClassVar[Face] = native
    answers = {"POST": {200: shapes.ChatAnswer, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT | Where.OBJECT}
