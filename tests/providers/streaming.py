"""What the tests of streams have in common."""

from __future__ import annotations

import pytest

from chat.exceptions import ProviderError
from chat.protocols.registry import PROTOCOLS
from chat.providers.client import Client
from chat.providers.transport.pool import Transport
from chat.types import ChatRequest, ChatStream, Delta, Message, Upstream, Usage
from tests.support.loopback import Fault, LoopbackProvider

PLAIN = Transport(pool_size=2)
TEXT = "one two three"
USAGE = (9, 12)
REQUEST = ChatRequest((Message.of("user", "Tell me about grey geese in autumn"),), 50, 0.7, "req-1")
SHORT = 0.3


def make(server: LoopbackProvider, protocol: str = "openai", timeout: float = 5.0):
    url = server.openai_url if protocol == "openai" else server.url
    # A transport reads all authorities, which takes longer than most tests here.
    transport = PLAIN if server.url.startswith("http:") else Transport(pool_size=2)
    return Client(
        PROTOCOLS[protocol],
        key="acme",
        base_url=url,
        api_key="sk-test-1234",
        timeout=timeout,
        connect_timeout=2.0,
        transport=transport,
    )


def begin(provider, fault="ok", *, timeout=5.0, idle_timeout=5.0, handover=60.0, request=REQUEST) -> ChatStream:
    how = {"timeout": timeout, "idle_timeout": idle_timeout, "handover": handover}
    return provider.stream(request, upstream=Upstream("m"), **how)


def streamed(server, fault, protocol="openai", **options) -> ChatStream:
    server.then(Fault(fault, text=TEXT) if isinstance(fault, str) else fault)
    return begin(make(server, protocol), **options)


def said(stream: ChatStream, seconds: float = 5.0) -> str | None:
    """The text of the next piece; "" for a while without one, None at the end."""
    item = stream.next(seconds)
    return item.text if isinstance(item, Delta) else "" if item else None


def rest(stream: ChatStream) -> list[str]:
    return [text for text in iter(lambda: said(stream), None) if text]


def failure(server, fault, protocol="openai", **options) -> ProviderError:
    """What is raised before there is any text."""
    with pytest.raises(ProviderError) as caught:
        streamed(server, fault, protocol, **options)
    assert caught.value.provider == "acme"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def broken(server, fault, protocol="openai", **options) -> ProviderError:
    """What is raised after the first text."""
    stream = streamed(server, fault, protocol, **options)
    with pytest.raises(ProviderError) as caught:
        rest(stream)
    assert stream.finish_reason is None
    assert caught.value.provider == "acme"
    assert TEXT.split()[0] not in repr((caught.value.message, caught.value.details))
    stream.close()
    return caught.value


def so_far(protocol: str) -> tuple[int, int] | None:
    """The usage known once the first text is there."""
    return (9, 1) if protocol == "anthropic" else None


def counts(usage: Usage | None) -> tuple[int, ...] | None:
    """The tokens of prompt and answer, without what Anthropic says of its cache."""
    return usage and usage[:2]
