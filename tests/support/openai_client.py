"""Our client of a server that speaks OpenAI's protocol."""

from __future__ import annotations

import pytest

from chat.exceptions import ProviderError
from chat.protocols import openai
from chat.providers.client import Client
from chat.providers.transport.pool import Transport
from chat.types import ChatRequest, Message, Reply, Upstream

PROMPT = "Tell me about the migration of grey geese in autumn"
REQUEST = ChatRequest(
    messages=(Message.of("system", "Be brief."), Message.of("user", PROMPT)),
    max_tokens=50,
    temperature=0.7,
    request_id="req-1",
)


def make(base_url, api_key="sk-test-abcdef", **options):
    common = {"timeout": 5.0, "connect_timeout": 1.0, "transport": Transport(pool_size=2)}
    return Client(openai, key="acme", base_url=base_url, api_key=api_key, **common | options)


def ask(provider: Client, request: ChatRequest = REQUEST) -> Reply:
    return provider.complete(request, upstream=Upstream("gpt-x"), timeout=5)


def failure(provider: Client, request: ChatRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, request)
    assert all(isinstance(value, str) for value in caught.value.details.values())
    return caught.value
