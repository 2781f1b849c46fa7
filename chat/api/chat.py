"""Our own face: `POST /chat`."""

from __future__ import annotations

from typing import Any

from chat.api import shapes
from chat.api.endpoint import ChatEndpoint
from chat.api.openapi import IDEMPOTENCY_KEY
from chat.api.streaming import COMMENT, event
from chat.completion.asked import Chat
from chat.problems.envelopes import NATIVE
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Description, Where
from chat.serializers import ChatSerializer
from chat.types import Answer, Start


class ChatView(ChatEndpoint):
    """Send messages to a model and get its answer.

    `POST` a JSON object with `model` (see [/models](/models)) and `messages`. Optional: `temperature`, `max_tokens`,
    `conversation_id`, `stream`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "chat"
    serializer_class = ChatSerializer
    answers = {"POST": {200: shapes.ChatAnswer, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT | Where.OBJECT}
    parameters = {"POST": [IDEMPOTENCY_KEY]}

    def body(self, answer: Answer) -> dict[str, Any]:
        return {"response": answer.text} | facts(answer)

    def events(self, chat: Chat, data: dict[str, Any]) -> ChatEvents:
        return ChatEvents(chat.request_id)


class ChatEvents:
    """`delta` for each piece, then `done` with what a whole answer has besides its text, or `error`."""

    keep_alive = COMMENT

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id

    def begin(self, start: Start) -> str:
        return ""

    def text(self, piece: str) -> str:
        return event({"text": piece}, "delta")

    def end(self, answer: Answer) -> str:
        return event(facts(answer), "done")

    def error(self, description: Description) -> str:
        status = {"status": description.problem.status}
        return event(NATIVE.body(description, self.request_id) | status, "error")


def facts(answer: Answer) -> dict[str, Any]:
    """What the contract says of an answer, its text apart."""
    body = {
        "model": answer.model,
        "upstream_model": answer.upstream_model,
        "tokens_used": answer.tokens_used,
        "usage": answer.usage._asdict(),
        "finish_reason": answer.finish_reason,
        "provider": answer.provider,
        "cached": answer.cached,
        "request_id": answer.request_id,
    }
    return body | ({"message": answer.message} if answer.cached else {})
