"""The wire formats by the names that models.toml has for them. A new one is a line here."""

from __future__ import annotations

from collections.abc import Mapping

from chat.protocols import anthropic, embeddings, openai, responses
from chat.protocols.protocol import Protocol

PROTOCOLS: Mapping[str, Protocol] = {protocol.NAME: protocol for protocol in (openai, responses, anthropic, embeddings)}
