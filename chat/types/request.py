"""A chat as it is asked for: the messages, tools, a format, and what only the client's own protocol knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from chat.types.offer import Model
from chat.types.parts import Document, Image, Message, Result, Thinking
from chat.types.trace import Trace

SAMPLING = ("temperature", "top_p")
"""The fields of a request that steer how an answer is drawn."""


class Tool(NamedTuple):
    """A function that the model may ask to be called. `parameters` is the JSON Schema of its arguments, None where it
    takes none; `strict` is None where the client did not say."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class Choice(NamedTuple):
    """Which tools the model may call: `mode` is `auto`, `none`, `any` (it must) or `tool` (it must, and `name`).

    `parallel` is whether several at once, None where the client did not say. `allowed` are the only tools that may be
    called, where that is not all of them.
    """

    mode: Literal["auto", "none", "any", "tool"] = "auto"
    name: str = ""
    parallel: bool | None = None
    allowed: tuple[str, ...] = ()


class Format(NamedTuple):
    """The form of the answer's text: JSON of `schema`, or any object where that is None."""

    schema: Mapping[str, Any] | None
    name: str = "output"
    strict: bool | None = None
    description: str = ""


class Need(NamedTuple):
    """A thing that not every route can do, at `path` of the client's body (`messages[0].content[1].image_url`).

    `kind` is one of the words below, `name` the field or the type of tool that an operator may accept, `value` is there
    where nobody else reads it: it costs tokens, too.
    """

    kind: str
    path: str
    name: str = ""
    value: Any = None


HINT = "hint"
"""It changes nothing where it is left out."""
UNKNOWN = "unknown"
"""A field that only the client's own protocol may know."""
LISTED = "listed"
"""It costs money beyond tokens or reaches out, so that an operator's `accepts` must name it, whatever the protocol."""
STORED = "stored"
"""It is kept under our one key at the vendor, where other users could find it: an operator must allow it."""

CONTENT = (
    *("image_base64", "image_url", "document_pdf", "document_text", "document_url", "document_other"),
    *("json_object", "image_in_result", "document_in_result"),
)
"""The kinds that more than one protocol can carry. All others are a protocol's own, by whatever name it gives them."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A request as the client sent it, in `protocol`: the body, and the headers that travel with it."""

    protocol: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class VendorError(NamedTuple):
    """An error in the vendor's own words, redacted, for a client that speaks the vendor's `protocol`."""

    protocol: str
    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat, free of any provider's wire format. `max_tokens` bounds the output, for each of `n` answers;
    `request_id` is our own, passed on where the provider has a header for it. All other fields are the client's own:
    none of them has a default. `effort` is how much to think, in OpenAI's words. `pseudonym` tells a vendor which
    requests are one user's, not whose.

    `raw` is the request as it came, which goes on to a provider of the same protocol; `needs` are what another one may
    be unable to do. `thinker` names the route that has made the thoughts in the messages: no other gets them.
    `has_left` says whether the client has, and is asked about once a second; None where nobody can tell. `trace` is the
    span of the chat, and of a call its own; None where nobody is told of them.
    """

    messages: tuple[Message, ...] = ()
    max_tokens: int = 0
    temperature: float | None = None
    request_id: str = ""
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    pseudonym: str = ""
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    format: Format | None = None
    effort: str = ""
    n: int = 1
    needs: tuple[Need, ...] = ()
    raw: Raw | None = None
    thinker: str = ""
    has_left: Callable[[], bool] | None = None
    trace: Trace | None = None

    def optional(self) -> dict[str, Any]:
        """Return the fields that the client sent and that a provider's model may be unable to take."""
        sent = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": self.stop or None,
            "name": True if any(message.name for message in self.messages) else None,
            "tools": self.tools or None,
            "choice": self.choice,
            "format": self.format,
            "effort": self.effort or None,
            "n": self.n if self.n > 1 else None,
        }
        return {name: value for name, value in sent.items() if value is not None}

    def is_verbatim(self, protocol: str) -> bool:
        """Return whether the client itself speaks `protocol`, so that its body goes on as it came."""
        return self.raw is not None and self.raw.protocol == protocol

    def media(self) -> Iterator[Image | Document]:
        """Yield the images and documents of the request, those in results too."""
        for message in self.messages:
            for part in message.parts:
                if isinstance(part, Image | Document):
                    yield part
                elif isinstance(part, Result):
                    yield from (inner for inner in part.parts if isinstance(inner, Image | Document))

    def unread(self) -> Iterator[tuple[str, str]]:
        """Yield what goes on in the client's own body and nobody reads here, with the kind of the need that it is."""
        for need in self.needs:
            if need.value is not None:
                yield need.kind, compact(need.value)
        for message in self.messages:
            for part in message.parts:
                if isinstance(part, Thinking) and part.signature:
                    yield HINT, part.signature

    def texts(self) -> Iterator[str]:
        """Yield all the words of the request, of its tools too."""
        for message in self.messages:
            yield from message.texts()
        for tool in self.tools:
            yield f"{tool.name} {tool.description}"
            yield compact(tool.parameters or {})
        if self.format and self.format.schema:
            yield compact(self.format.schema)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A chat as a client asks for it, checked. `max_tokens` is the output that the client wants, `most_tokens` a bound
    that it would not have passed; `usage_in_stream` asks for the count at the end of a stream. `spelling` has the
    client's own word for a field where that is another than ours."""

    model: Model
    request: ChatRequest
    max_tokens: int | None = None
    most_tokens: int | None = None
    stream: bool = False
    usage_in_stream: bool = False
    conversation_id: str | None = None
    spelling: Mapping[str, str] = field(default_factory=dict)


def compact(value: Any) -> str:
    """Return `value` as JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
