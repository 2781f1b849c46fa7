"""Anthropic's face: `POST /v1/messages`, as in its API reference (platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chat.api import foreign
from chat.api.body import LONGEST_LABEL, Fields, Harmless
from chat.api.endpoint import ChatEndpoint, charged, noted
from chat.api.openapi import IDEMPOTENCY_KEY
from chat.api.streaming import event
from chat.api.vendor_shapes import MESSAGE
from chat.authentication import BrowserAuthentication, EitherKeyAuthentication
from chat.completion.asked import Chat
from chat.exceptions import InvalidMessageFormatError
from chat.problems.envelopes import ANTHROPIC
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Description, Where
from chat.serializers import check_messages, echo
from chat.types import Answer, Message, Model, Start, Usage

ROLES = ("user", "assistant")
OTHER_BLOCKS = (
    "image",
    "document",
    "search_result",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "web_search_tool_result",
    "container_upload",
)
MOST_SEQUENCES = 256
OF_A_BLOCK: Harmless = {"cache_control": (), "citations": ([],)}
OF_A_MESSAGE: Harmless = {}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


class MessagesSerializer(foreign.ForeignSerializer):
    HARMLESS = {
        "betas": ([],),
        "cache_control": (),
        "container": (),
        "context_management": (),
        "diagnostics": (),
        "inference_geo": (),
        "mcp_servers": ([],),
        "output_config": ({},),
        "output_format": (),
        "service_tier": ("auto", "standard_only"),
        "speed": ("standard",),
        "thinking": ({"type": "disabled"},),
        "tool_choice": ({"type": "none"},),
        "tools": ([],),
        "top_k": (),
        "user_profile_id": (),
        "workspace_id": (),
    }
    LIMITS = ()
    FURTHER = ("system", "stop_sequences", "metadata")

    model = serializers.CharField(help_text="One of GET /v1/models.")
    messages = serializers.JSONField()
    max_tokens = serializers.IntegerField(min_value=1, help_text="At most; the model's own limit holds, too.")
    temperature = serializers.FloatField(min_value=0, max_value=1, required=False, help_text="0 to 1.")
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False)
    stream = serializers.BooleanField(required=False, help_text="The answer as server-sent events; default false.")

    def refine_schema(self, schema: dict[str, Any]) -> None:
        super().refine_schema(schema)
        user_id = {"type": ["string", "null"], "maxLength": LONGEST_LABEL, "description": "For yourself; not read."}
        metadata = {"type": ["object", "null"], "properties": {"user_id": user_id}, "additionalProperties": False}
        schema["properties"] |= {
            "messages": foreign.messages_schema(ROLES, foreign.text_schema(OF_A_BLOCK), OF_A_MESSAGE),
            "system": {
                "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": foreign.part_schema(OF_A_BLOCK)}]
            },
            "stop_sequences": {"anyOf": [foreign.STOPS | {"maxItems": MOST_SEQUENCES}, {"type": "null"}]},
            "metadata": metadata,
        }

    def take_messages(self, data: dict[str, Any]) -> Any:
        """See `ForeignSerializer`. The system prompt, which stands apart here, goes first."""
        items = data.get("messages")
        if isinstance(items, list):
            items = [plain_message(item, f"messages[{number}]") for number, item in enumerate(items)]
        messages = check_messages(items)
        system = foreign.joined(data.get("system"), "system", OF_A_BLOCK, OTHER_BLOCKS)
        if not isinstance(system, str | None):
            complaint = "This must be a string or a list of text blocks."
            raise InvalidMessageFormatError(complaint, field="system", received=echo(system))
        return (Message.of("system", system), *messages) if system and system.strip() else messages

    def take_options(self, fields: Fields, model: Model) -> dict[str, Any]:
        """See `ForeignSerializer`."""
        if "max_tokens" not in fields.given:
            fields.complain("max_tokens", "This field is required.")
        fields.object("metadata", ("user_id",)).label("metadata.user_id")
        return {
            "temperature": fields.number("temperature", 1),
            "top_p": fields.number("top_p", 1),
            # Its clients must send one, and fill in the most that any model gives: an upper bound, not a need.
            "max_tokens": None,
            "most_tokens": fields.bound("max_tokens"),
            "stop": fields.stops("stop_sequences", MOST_SEQUENCES),
            "spelling": {"stop": "stop_sequences"},
            "stream": fields.flag("stream"),
        }


def plain_message(item: Any, place: str) -> Any:
    """A message with its content as one string, where that is what it says."""
    if not isinstance(item, dict):
        return item
    role = item.get("role")
    if role not in ROLES:
        complaint = f"The role must be one of {', '.join(ROLES)}; a system prompt stands in `system`."
        raise InvalidMessageFormatError(complaint, field=f"{place}.role", received=echo(role))
    return item | {"content": foreign.joined(item.get("content"), f"{place}.content", OF_A_BLOCK, OTHER_BLOCKS)}


class MessagesView(ChatEndpoint):
    """A chat, as Anthropic's clients send it.

    `POST` what Anthropic's own `/v1/messages` takes. What is not to be had here (tools, images, thinking …) is refused
    with `unsupported_parameter`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "anthropic"
    envelope = ANTHROPIC
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    serializer_class = MessagesSerializer
    answers = {"POST": {200: MESSAGE, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT}
    parameters = {"POST": [IDEMPOTENCY_KEY]}

    def body(self, answer: Answer) -> dict[str, Any]:
        content = [{"type": "text", "text": answer.text}] if answer.text else []
        head = message(answer.request_id, answer.model, content, None, charged(answer))
        return head | stopped(answer) | noted(answer)

    def events(self, chat: Chat, data: dict[str, Any]) -> MessageEvents:
        return MessageEvents(chat)


class MessageEvents:
    """Anthropic's events. The answer is whole where `message_stop` is its last."""

    keep_alive = event({"type": "ping"}, "ping")

    def __init__(self, chat: Chat) -> None:
        self.chat, self.opened = chat, False

    def begin(self, start: Start) -> str:
        stored = start.answer
        request_id = stored.request_id if stored else self.chat.request_id
        usage = charged(stored) if stored else start.usage or Usage(0, 0)
        opening = message(request_id, self.chat.model.name, [], None, usage) | noted(stored)
        return named("message_start", message=opening)

    def text(self, piece: str) -> str:
        delta = named("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        return delta if self.opened else self._open() + delta

    def end(self, answer: Answer) -> str:
        reason = stopped(answer)
        closing = named("content_block_stop", index=0) if self.opened else ""
        return closing + named("message_delta", delta=reason, usage=usage_of(charged(answer))) + named("message_stop")

    def error(self, description: Description) -> str:
        return event(ANTHROPIC.body(description, self.chat.request_id), "error")

    def _open(self) -> str:
        self.opened = True
        block = named("content_block_start", index=0, content_block={"type": "text", "text": ""})
        return block + self.keep_alive


def stopped(answer: Answer) -> dict[str, str | None]:
    """Return why the answer ended, in Anthropic's two fields."""
    if answer.stop_sequence:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_sequence}
    return {"stop_reason": STOP_REASONS[answer.finish_reason], "stop_sequence": None}


def named(kind: str, **data: Any) -> str:
    return event({"type": kind} | data, kind)


def message(
    request_id: str, model: str, content: list[dict[str, Any]], stop_reason: str | None, usage: Usage
) -> dict[str, Any]:
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage_of(usage),
    }


def usage_of(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
