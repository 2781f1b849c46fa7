"""What is said, whole or while it arrives, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

FinishReason = Literal["stop", "length", "content_filter"]


class Part(NamedTuple):
    """A piece of what somebody says: text, for now. Only the wire formats look inside."""

    text: str
    kind: Literal["text"] = "text"

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


def text_of(parts: Iterable[Part]) -> str:
    """Return the text in `parts`. Nothing is put between them."""
    return "".join(part.text for part in parts)


def parts_of(text: str) -> tuple[Part, ...]:
    """Return `text` as parts, none where there is no text."""
    return (Part(text),) if text else ()


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the pieces of a stream as the parts of a whole answer."""
    return parts_of(text_of(parts))


class Message(NamedTuple):
    """One turn. `role` is `system`, `user` or `assistant`; `name` tells apart those who share a role, "" if nobody."""

    role: str
    parts: tuple[Part, ...]
    name: str = ""

    @classmethod
    def of(cls, role: str, text: str, name: str = "") -> Message:
        """Return the turn of somebody who says no more than a text."""
        return cls(role, parts_of(text), name)

    @property
    def text(self) -> str:
        return text_of(self.parts)


class Usage(NamedTuple):
    """What a call cost, in tokens, as the provider reported it (cached and reasoning tokens included)."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Delta:
    """A further piece of a streamed answer."""

    part: Part


@dataclass(frozen=True)
class Tick:
    """A while of a stream without any piece: time to look whether the client is still there."""


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
