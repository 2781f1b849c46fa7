"""What is said, whole or while it arrives, and what it cost.

Each part ends in its `kind`, so that no two kinds are ever equal and a part that was kept as JSON says what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


class Text(NamedTuple):
    text: str
    kind: Literal["text"] = "text"


class Refusal(NamedTuple):
    """The words in which a model declines to answer."""

    text: str
    kind: Literal["refusal"] = "refusal"


class Image(NamedTuple):
    """A picture: `data` is base64 of `media_type`, or there is a `url`. `detail` is OpenAI's word for its size."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""
    kind: Literal["image"] = "image"

    @property
    def as_url(self) -> str:
        return self.url or f"data:{self.media_type};base64,{self.data}"


class Document(NamedTuple):
    """A file: `data` is base64 of `media_type`, or there is a plain `text`, or a `url`. `name` is its title."""

    media_type: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    name: str = ""
    kind: Literal["document"] = "document"

    @property
    def as_url(self) -> str:
        return self.url or f"data:{self.media_type};base64,{self.data}"

    @property
    def words(self) -> str:
        """Return its text below its title."""
        return f"{self.name}\n{self.text}" if self.name else self.text


class Call(NamedTuple):
    """A tool that the model wants called. `arguments` is the text of a JSON object; "" while none has arrived."""

    id: str
    name: str
    arguments: str
    kind: Literal["call"] = "call"


class Result(NamedTuple):
    """What a tool answered to the call `call_id`."""

    call_id: str
    parts: tuple[Any, ...]
    is_error: bool = False
    kind: Literal["result"] = "result"


class Thinking(NamedTuple):
    """A model's thoughts. `signature` is the proof, or the encrypted text, that only the model's own vendor reads."""

    text: str
    signature: str = ""
    kind: Literal["thinking"] = "thinking"


class Opaque(NamedTuple):
    """A part that only `protocol` knows, as the JSON that it was. Nobody else may look inside."""

    protocol: str
    data: Mapping[str, Any]
    kind: Literal["opaque"] = "opaque"

    @property
    def signature(self) -> str:
        """Return the encrypted text, or the proof, that only the part's own vendor reads; empty where it has none."""
        found = self.data.get("encrypted_content") or self.data.get("signature")
        return found if isinstance(found, str) else ""


Part = Text | Refusal | Image | Document | Call | Result | Thinking | Opaque
KINDS: Mapping[str, Any] = {
    "text": Text,
    "refusal": Refusal,
    "image": Image,
    "document": Document,
    "call": Call,
    "result": Result,
    "thinking": Thinking,
    "opaque": Opaque,
}


def restored_part(kept: Any) -> Part:
    """Return the part that was kept as a list of JSON. Raises `KeyError`, `TypeError` or `IndexError` for another."""
    kind = kept[-1]
    part: Part = KINDS[kind](*kept)
    return part._replace(parts=tuple(map(restored_part, part.parts))) if isinstance(part, Result) else part


def text_of(parts: Iterable[Part]) -> str:
    """Return the text in `parts`, a refusal's too. Nothing is put between them."""
    return "".join(part.text for part in parts if isinstance(part, Text | Refusal))


def parts_of(text: str) -> tuple[Part, ...]:
    """Return `text` as parts, none where there is no text."""
    return (Text(text),) if text else ()


def written_of(parts: Iterable[Part]) -> str:
    """Return all that a model wrote in `parts`: text, thoughts, and the names and arguments of its calls."""
    return "".join(_written(part) for part in parts)


def _written(part: Part) -> str:
    if isinstance(part, Text | Refusal | Thinking):
        return part.text
    return f"{part.name}{part.arguments}" if isinstance(part, Call) else ""


class Piece(NamedTuple):
    """A fragment of the answer's part `of`, which is a number or a name: fragments of one part have the same. Of a
    call, the first fragment has the id and the name, and all have a further piece of the arguments."""

    of: Any
    part: Part


def joined(pieces: Iterable[Piece]) -> tuple[Part, ...]:
    """Return the pieces of a stream as the parts of a whole answer, in the order in which these began."""
    found: dict[Any, list[Part]] = {}
    for piece in pieces:
        found.setdefault(piece.of, []).append(piece.part)
    return tuple(map(_joined, found.values()))


def _joined(fragments: list[Any]) -> Part:
    first: Any = fragments[0]
    if len(fragments) == 1:
        return first  # type: ignore[no-any-return]
    if isinstance(first, Text | Refusal):
        return first._replace(text="".join(part.text for part in fragments))
    if isinstance(first, Thinking):
        text, signature = ("".join(parts) for parts in zip(*((p.text, p.signature) for p in fragments), strict=True))
        return Thinking(text, signature)
    if isinstance(first, Call):
        return first._replace(arguments="".join(part.arguments for part in fragments))
    return first  # type: ignore[no-any-return]


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

    def texts(self) -> Iterable[str]:
        """Return all the words of the turn, also those of calls, results and documents."""
        return texts_of(self.parts)


def texts_of(parts: Iterable[Part]) -> Iterable[str]:
    """Yield all the words in `parts`, each text by itself."""
    for part in parts:
        if isinstance(part, Text | Refusal | Thinking):
            yield part.text
        elif isinstance(part, Call):
            yield part.name
            yield part.arguments
        elif isinstance(part, Result):
            yield from texts_of(part.parts)
        elif isinstance(part, Document):
            yield part.name
            yield part.text


class Usage(NamedTuple):
    """What a call cost, in tokens, as the provider reported it. Of the prompt, `cached_tokens` were read from the
    vendor's cache and `cache_write_tokens` written to it, of these `long_write_tokens` for an hour and not for minutes;
    `reasoning_tokens` are a part of the completion."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    long_write_tokens: int = 0

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event of a streamed answer says: its pieces, perhaps none. `raw` is the event's own JSON where the
    client speaks the provider's protocol and gets each event as it came."""

    pieces: tuple[Piece, ...]
    raw: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, text: str) -> Delta:
        """Return a further piece of the text of an answer that has no other parts."""
        return cls((Piece("content", Text(text)),))

    @property
    def text(self) -> str:
        return text_of(piece.part for piece in self.pieces)


@dataclass(frozen=True)
class Tick:
    """A while of a stream without any piece: time to look whether the client is still there."""


class ChatStream(Protocol):
    """An answer that is still arriving. Its first piece of text is there already, but for a model that still thinks,
    and for an answer that ended without any, which `next()` then tells at once.

    `finish_reason` is set once the provider has ended the answer properly. `usage` is what it has reported so far:
    perhaps nothing before the end, or a first count that grows. `verbatim` says that each `Delta` has its `raw`.
    """

    finish_reason: FinishReason | None

    @property
    def verbatim(self) -> bool: ...

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
