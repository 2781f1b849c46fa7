"""What every provider takes and gives, whatever its wire format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

FinishReason = Literal["stop", "length", "content_filter"]


class ChatMessage(NamedTuple):
    """One turn. `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


class Usage(NamedTuple):
    """What a call cost, in tokens, as the provider reported it (cached and reasoning tokens included)."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat, free of any provider's wire format. `max_tokens` bounds the output; `request_id` is our own, passed
    on where the provider has a header for it."""

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A usable answer. `usage` is None where the provider did not report it or reported nonsense."""

    text: str
    finish_reason: FinishReason
    usage: Usage | None


class Provider(Protocol):
    """A live provider. `key` names its entry in models.toml."""

    key: str

    def complete(self, request: ChatRequest, *, model: str, timeout: float) -> ChatReply:
        """Answer `request` with the provider's own `model`, within `timeout` seconds of wall clock to the last byte.

        Raises a `ProviderError`, never anything else that the network or the provider's answer could cause.
        """
        ...
