"""Our own format, of `POST /chat`: for clients alone, since no provider speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from chat.protocols import bodies, schemas, sse, turns
from chat.protocols.bodies import Body, Flag, Says, Tokens
from chat.protocols.turns import fault
from chat.types import Answer, Catalogue, ChatRequest, Delta, Message, Need, Start, Tick, Told, Wish
from chat.types.money import exact

ERRORS = ""
ROLES = ("system", "user", "assistant")
MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"enum": list(ROLES)}, "content": schemas.NOT_BLANK | {"description": "Not blank."}},
        "required": ["role", "content"],
        "additionalProperties": False,
    },
    "minItems": 1,
    "maxItems": turns.MOST_MESSAGES,
    "contains": schemas.A_USERS,
    "description": f"1 to {turns.MOST_MESSAGES}, at least one of them from the user.",
}
Temperature = Annotated[
    float,
    Field(ge=0, le=2, description="0 to 2; left out, none is sent."),
    Says("This must be a number from 0 to 2."),
]
Conversation = Annotated[
    str,
    Field(description="A conversation to continue.", json_schema_extra={"format": "uuid"}),
    Says("This must be a string."),
]


class ChatBody(Body):
    """The body of a chat. The messages are read apart, since the first fault in them is told alone."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /models."})]
    messages: Annotated[Any, WithJsonSchema(MESSAGES)]
    temperature: Temperature | None = None
    max_tokens: Annotated[Tokens, Field(description="Up to the model's own limit; no decimal point.")] | None = None
    conversation_id: Conversation | None = None
    stream: Annotated[Flag, Field(description="The answer as server-sent events; default false.")] = False


def request_schema() -> dict[str, Any]:
    """See `Face.request_schema`."""
    return schemas.nullable(schemas.schema_of(ChatBody))


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """See `Face.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    messages = turns.messages_of(given, [], _read_message)
    body = bodies.read(ChatBody, given, model)
    return Wish(
        model=model,
        request=ChatRequest(tuple(messages), temperature=body.temperature),
        max_tokens=body.max_tokens,
        stream=body.stream,
        conversation_id=body.conversation_id,
    )


def _read_message(item: Any, place: str, needs: list[Need]) -> Message:
    item = turns.object_at(item, place)
    turns.no_more_than(item, ("role", "content"), place)
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise fault(f"The role must be one of {', '.join(ROLES)}.", f"{place}.role", role)
    if not isinstance(content, str):
        raise fault("The content must be a string.", f"{place}.content", content)
    if not content.strip():
        raise fault("The content must not be blank.", f"{place}.content", content)
    return Message.of(str(role), content)


def write_reply(answer: Answer, wish: Wish) -> dict[str, Any]:
    """See `Face.write_reply`."""
    return {"response": answer.text} | _facts(answer)


def write_error(error: Told, request_id: str) -> dict[str, Any]:
    """See `Face.write_error`."""
    return {"error": error.code, "message": error.message, "request_id": request_id} | error.context


def error_schema(example: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """See `Face.error_schema`."""
    words = {"error": {"const": example["error"]}, "message": schemas.TEXT, "request_id": schemas.TEXT}
    return schemas.with_facts(example, words, facts)


class EventWriter:
    """See `EventWriter` of `Face`: `delta` for each piece, then `done` with all that a whole answer has besides its
    text, or `error`."""

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.request_id = request_id

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Delta):
            return sse.write({"text": text}, "delta") if (text := item.text) else ""
        if isinstance(item, Answer):
            return sse.write(_facts(item), "done")
        return sse.COMMENT if isinstance(item, Tick) else ""

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`."""
        return sse.write(write_error(error, self.request_id) | {"status": error.status}, "error")


def _facts(answer: Answer) -> dict[str, Any]:
    """Return the contract's fields of an answer, its text apart."""
    body = {
        "model": answer.model,
        "upstream_model": answer.upstream_model,
        "tokens_used": answer.tokens_used,
        "cost": None if answer.cost is None else exact(answer.cost),
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
        },
        "finish_reason": answer.finish_reason,
        "provider": answer.provider,
        "cached": answer.cached,
        "request_id": answer.request_id,
    }
    return body | ({"message": answer.message} if answer.cached else {})
