"""OpenAI's face: `POST /v1/chat/completions`, as in its API reference (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import re
import time
from typing import Any

from rest_framework import serializers

from chat.api import foreign
from chat.api.body import LONGEST_LABEL, Fields, Harmless
from chat.api.endpoint import ChatEndpoint, charged, noted
from chat.api.openapi import IDEMPOTENCY_KEY
from chat.api.streaming import COMMENT, event
from chat.api.vendor_shapes import CHAT_COMPLETION
from chat.completion.asked import Chat
from chat.exceptions import InvalidMessageFormatError, UnsupportedParameter
from chat.problems.envelopes import OPENAI
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Description, Where
from chat.serializers import check_messages, echo
from chat.types import Answer, Model, Start, Usage

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
OTHER_ROLES = ("tool", "function")
OTHER_PARTS = ("image_url", "input_audio", "file", "refusal")
LABELS = ("user", "safety_identifier", "prompt_cache_key")
NAME = re.compile(r"[^\s<|\\/>]{1,64}")
"""A participant's name, as OpenAI's reference has it."""
MAY_BE_BLANK = ("system", "assistant")
OF_A_MESSAGE: Harmless = {
    # What an answer carries besides its text, so that it can be sent back as it came.
    "refusal": (),
    "annotations": ([],),
    "audio": (),
    "tool_calls": ([],),
    "function_call": (),
}
OF_A_PART: Harmless = {"prompt_cache_breakpoint": ()}
OF_STREAM_OPTIONS: Harmless = {"include_obfuscation": (False,)}


class ChatCompletionSerializer(foreign.ForeignSerializer):
    HARMLESS = {
        "audio": (),
        "frequency_penalty": (0,),
        "function_call": ("none",),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "metadata": ({},),
        "modalities": (["text"],),
        "moderation": (),
        "n": (1,),
        "parallel_tool_calls": (True, False),
        "prediction": (),
        "presence_penalty": (0,),
        "prompt_cache_options": (),
        "prompt_cache_retention": (),
        "reasoning_effort": (),
        "response_format": ({"type": "text"},),
        "seed": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none",),
        "tools": ([],),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    FURTHER = ("stop", "stream_options")

    model = serializers.CharField(help_text="One of GET /v1/models.")
    messages = serializers.JSONField()
    max_completion_tokens = serializers.IntegerField(min_value=1, required=False, help_text="Up to the model's own.")
    max_tokens = serializers.IntegerField(min_value=1, required=False, help_text="The older name of the same.")
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, help_text="0 to 2.")
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False)
    stream = serializers.BooleanField(required=False, help_text="The answer as server-sent events; default false.")
    user = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_LABEL, help_text="For yourself; not read."
    )
    safety_identifier = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_LABEL, help_text="Likewise."
    )
    prompt_cache_key = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_LABEL, help_text="Likewise."
    )

    def refine_schema(self, schema: dict[str, Any]) -> None:
        super().refine_schema(schema)
        usage = {"include_usage": {"type": ["boolean", "null"]}} | foreign.harmless_schema(OF_STREAM_OPTIONS)
        schema["properties"] |= {
            "messages": foreign.messages_schema(tuple(ROLES), foreign.text_schema(OF_A_PART), OF_A_MESSAGE),
            "stop": {"anyOf": [{"type": "string", "minLength": 1}, foreign.STOPS, {"type": "null"}]},
            "stream_options": {"type": ["object", "null"], "properties": usage, "additionalProperties": False},
        }
        given = {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]}
        streaming = {"properties": {"stream": {"const": True}}, "required": ["stream"]}
        # Both limits may be given where they are equal, for which there is no keyword.
        limits = ("max_tokens", "max_completion_tokens")
        both = {"properties": {name: {"type": "integer"} for name in limits}, "required": list(limits)}
        schema["allOf"] += [{"if": given, "then": streaming}, {"not": both}]

    def take_messages(self, data: dict[str, Any]) -> Any:
        """See `ForeignSerializer`."""
        items = data.get("messages")
        if isinstance(items, list):
            items = [plain_message(item, f"messages[{number}]") for number, item in enumerate(items)]
        return check_messages(items, MAY_BE_BLANK)

    def take_options(self, fields: Fields, model: Model) -> dict[str, Any]:
        """See `ForeignSerializer`."""
        for label in LABELS:
            fields.label(label)
        stream = fields.flag("stream")
        options = fields.object("stream_options", ("include_usage", *OF_STREAM_OPTIONS), OF_STREAM_OPTIONS)
        options.flag("stream_options.include_usage")
        if "stream_options" in fields.given and not stream:
            fields.complain("stream_options", "This needs stream to be true.")
        limit, older = fields.tokens("max_completion_tokens", model), fields.tokens("max_tokens", model)
        if limit and older and limit != older:
            fields.complain("max_tokens", "This differs from max_completion_tokens; send one of them.")
        if isinstance(fields.given.get("stop"), str):
            fields.given["stop"] = [fields.given["stop"]]
        return {
            "temperature": fields.number("temperature", 2),
            "top_p": fields.number("top_p", 1),
            "max_tokens": limit or older,
            "stop": fields.stops("stop"),
            "stream": stream,
            "spelling": {"name": place_of_name(fields.given["messages"])},
        }


def plain_message(item: Any, place: str) -> Any:
    """A message with one of our roles and its content as one string, where that is what it says."""
    if not isinstance(item, dict):
        return item
    message = foreign.without_harmless(item, OF_A_MESSAGE, place)
    role = message.get("role")
    if isinstance(role, str) and role in OTHER_ROLES:
        *others, last = ROLES
        raise UnsupportedParameter(f"{place}.role", kind=role, only=f"{', '.join(others)} and {last} are")
    if not isinstance(role, str) or role not in ROLES:
        complaint = f"The role must be one of {', '.join(ROLES)}."
        raise InvalidMessageFormatError(complaint, field=f"{place}.role", received=echo(role))
    content = foreign.joined(message.get("content"), f"{place}.content", OF_A_PART, OTHER_PARTS)
    if content is None and ROLES[role] in MAY_BE_BLANK:
        content = ""
    name = message.get("name")
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        complaint = "A name is 1 to 64 characters, none of them white space or one of < | \\ / >."
        raise InvalidMessageFormatError(complaint, field=f"{place}.name", received=echo(name))
    return message | {"role": ROLES[role], "content": content, "name": name or ""}


def place_of_name(messages: list[dict[str, Any]]) -> str:
    """Return the place of the first participant's name."""
    return next((f"messages[{number}].name" for number, item in enumerate(messages) if item.get("name")), "name")


class ChatCompletionsView(ChatEndpoint):
    """A chat, as OpenAI's clients send it.

    `POST` what OpenAI's own `/v1/chat/completions` takes. What is not to be had here (tools, images, several answers …)
    is refused with `unsupported_parameter`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "openai"
    envelope = OPENAI
    serializer_class = ChatCompletionSerializer
    answers = {"POST": {200: CHAT_COMPLETION, (200, EVENT_STREAM): str}}
    where = {"POST": Where.CHAT}
    parameters = {"POST": [IDEMPOTENCY_KEY]}

    def body(self, answer: Answer) -> dict[str, Any]:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": None,
            "finish_reason": answer.finish_reason,
        }
        head = head_of(answer.request_id, answer.created, answer.model, "chat.completion")
        return head | {"choices": [choice], "usage": usage_of(charged(answer))} | noted(answer)

    def events(self, chat: Chat, data: dict[str, Any]) -> CompletionChunks:
        options = data.get("stream_options") or {}
        return CompletionChunks(chat, include_usage=options.get("include_usage") is True)


class CompletionChunks:
    """OpenAI's events: chunks of the answer, each whole in itself, then `[DONE]`, which alone says that it is whole.
    After an error there is none."""

    keep_alive = COMMENT

    def __init__(self, chat: Chat, *, include_usage: bool) -> None:
        self.chat, self.include_usage = chat, include_usage
        self.head: dict[str, Any] = {}

    def begin(self, start: Start) -> str:
        stored = start.answer
        request_id, created = (stored.request_id, stored.created) if stored else (self.chat.request_id, time.time())
        self.head = head_of(request_id, int(created), self.chat.model.name, "chat.completion.chunk")
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, None, **noted(stored))

    def text(self, piece: str) -> str:
        return self._chunk({"content": piece}, None)

    def end(self, answer: Answer) -> str:
        usage = {"choices": [], "usage": usage_of(charged(answer))}
        last = self._chunk({}, answer.finish_reason)
        return last + (event(self.head | usage) if self.include_usage else "") + "data: [DONE]\n\n"

    def error(self, description: Description) -> str:
        body = OPENAI.body(description, self.chat.request_id)
        # The SDK has no response at hand whose header would tell it.
        body["error"]["message"] += f" (request_id {self.chat.request_id})"
        return event(body)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return event(self.head | {"choices": [choice]} | usage | more)


def head_of(request_id: str, created: int, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": created,
        "model": model,
        "system_fingerprint": None,
    }


def usage_of(usage: Usage) -> dict[str, int]:
    return usage._asdict() | {"total_tokens": usage.total}
