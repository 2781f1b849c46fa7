"""The wire formats by the names that models.toml has for them. A new one is a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chat.protocols import anthropic, embeddings, openai, responses
from chat.protocols.protocol import Protocol

PROVIDERS: Sequence[Protocol] = (openai, anthropic)
"""The formats of which a provider has one."""
PROTOCOLS: Mapping[str, Protocol] = {protocol.NAME: protocol for protocol in (*PROVIDERS, responses, embeddings)}
"""All: the others are spoken by providers of OpenAI's format, beside it."""
