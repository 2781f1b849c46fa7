"""What every provider takes and gives, whatever its wire format."""

from __future__ import annotations

from typing import Protocol

from chat.types import ChatRequest, Delta, FinishReason, Reply, Tick, Upstream, Usage


class ChatStream(Protocol):
    """An answer that is still arriving. Its first piece of text is there already, but for a model that still thinks,
    and for an answer that ended without any, which `next()` then tells at once.

    `finish_reason` is set once the provider has ended the answer properly. `usage` is what it has reported so far:
    perhaps nothing before the end, or a first count that grows.
    """

    finish_reason: FinishReason | None

    @property
    def stop_sequence(self) -> str:
        """Return the client's own stop text that ended the answer, where the provider says so."""
        ...

    @property
    def usage(self) -> Usage | None: ...

    def next(self, seconds: float) -> Delta | Tick | None:
        """Return the next piece, a `Tick` after `seconds` without any, None at the proper end and ever after.

        For one thread at a time, not always the same one. Raises a `ProviderError` when the answer breaks off: its
        `usage` is what had been reported by then, and the connection is closed.
        """
        ...

    def close(self) -> None:
        """Stop the provider's work: close the connection, unless the answer is complete. It may be called twice, but
        not while another thread reads."""
        ...


class Provider(Protocol):
    """A live provider. `key` names its entry in models.toml."""

    key: str

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """Return the name of the first field of `request` that `upstream` cannot take, or "". Asks nobody."""
        ...

    def tells_users_apart(self, upstream: Upstream) -> bool:
        """Return whether the provider is to be told which requests are one user's: so that one who abuses the vendor's
        service is stopped alone, and not our key with everybody's chats."""
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
