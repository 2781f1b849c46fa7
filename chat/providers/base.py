"""What every provider takes and gives, whatever its wire format."""

from __future__ import annotations

from typing import Protocol

from chat.types import ChatRequest, ChatStream, Reply, Upstream


class Provider(Protocol):
    """A live provider. `key` names its entry in models.toml."""

    key: str

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """Return the name or path of the first field of `request` that `upstream` cannot take, or "". Asks nobody."""
        ...

    def prompt_tokens(self, request: ChatRequest, upstream: Upstream, words: int) -> int:
        """Return about the tokens that `upstream` counts for the prompt, where `words` are those of its text."""
        ...

    def tells_users_apart(self, upstream: Upstream) -> bool:
        """Return whether the provider is to be told which requests are one user's: so that one who abuses the vendor's
        service is stopped alone, and not our key with everybody's chats."""
        ...

    def count_tokens(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> int | None:
        """Return the tokens that `upstream` counts for the prompt, within `timeout` seconds and for free; None where it
        counts none. Raises a `ProviderError`."""
        ...

    def complete(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> Reply:
        """Answer `request` with the model `upstream`, within `timeout` seconds of wall clock to the last byte.

        Raises a `ProviderError`, never anything else that the network or the provider's answer could cause.
        """
        ...

    def models(self, timeout: float) -> list[str]:
        """Return the names of the models that the provider lists for our key, within `timeout` seconds.

        Raises a `ProviderError`.
        """
        ...

    def stream(
        self, request: ChatRequest, *, upstream: Upstream, timeout: float, idle_timeout: float, handover: float
    ) -> ChatStream:
        """Do as `complete` does, but return as soon as the first piece of text is there; the first sign of life must
        come in `timeout` seconds, and an answer that lives is returned after `handover` seconds even without any text.

        Until then it raises what `complete` would. After its first byte the stream may be silent for `idle_timeout`
        seconds at a time; any byte from the provider ends a silence, also one that carries no text.
        """
        ...
