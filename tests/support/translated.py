"""A chat of another protocol, and what is written of it for Anthropic's servers."""

from __future__ import annotations

from dataclasses import replace

from chat.protocols import anthropic, openai
from chat.types import ChatRequest, Message, Upstream
from tests.support import messages as api

HAIKU, OPUS = Upstream("claude-haiku-5-5"), Upstream("claude-opus-5-5")
SONNET_4_6, HAIKU_4_5, PLAIN = Upstream("claude-sonnet-4-6"), Upstream("claude-haiku-4-5"), Upstream("some-model")


def write(*messages, upstream=HAIKU, **fields_):
    request = ChatRequest(messages or (Message.of("user", "Hi"),), 64, **fields_)
    return anthropic.write_request(request, upstream, host="api.anthropic.com", stream=False)


def said(*parts):
    return Message("assistant", parts)


def asked_by_openais(**body):
    """What a client of OpenAI's wants."""
    given = {"model": "m", "messages": [api.USER], **body}
    return replace(openai.read_request(given, api.CATALOGUE, {}).request, max_tokens=64)
