"""What a wire format does, in both directions. Each is a module with these names."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from chat.protocols.errors import Failure
from chat.protocols.payload import Heard, Response
from chat.types import (
    Answer,
    Catalogue,
    ChatRequest,
    Delta,
    FinishReason,
    Piece,
    Reply,
    Start,
    Tick,
    Told,
    Upstream,
    Wish,
)


class EventWriter(typing.Protocol):
    """Writes one answer as server-sent events. After an error there is no further event."""

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """Return the events of one item, often one, perhaps "". Those of the `Answer` are the last, and without them
        the answer is not whole; a `Tick` becomes a sign of life."""
        ...

    def write_error(self, error: Told) -> str:
        """Return the event that stands in place of the end where the answer broke off."""
        ...


class Face(typing.Protocol):
    """What a client sees of a format."""

    ERRORS: str
    """How the names of its errors begin in the OpenAPI schema."""

    def request_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the body of a request."""
        ...

    def read_request(self, data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
        """Return what a client asks for, in a body and with headers of these names in any case.

        Raises, in the contract's order, for the model (`ModelNotFoundError`), the messages
        (`InvalidMessageFormatError`), and at last for all other fields at once (`ValidationError`)."""
        ...

    def write_reply(self, answer: Answer, wish: Wish) -> dict[str, Any]:
        """Return the body of a whole answer to `wish`."""
        ...

    def write_error(self, error: Told, request_id: str) -> dict[str, Any]:
        """Return the body of an error."""
        ...

    def error_schema(self, example: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON Schema of bodies like `example`; `facts` has those of all facts, by name."""
        ...

    def EventWriter(self, wish: Wish, request_id: str) -> EventWriter:
        """Return what writes the answer to `wish` while it arrives."""
        ...


class Protocol(Face, typing.Protocol):
    """One wire format: what a client sees of it, and what a provider does."""

    NAME: str
    """The name in the registry."""
    REPLY: Any
    """The type of the body of a whole answer, for the schema."""
    VENDOR: str
    """The host of the format's own vendor."""
    PATH: str
    """Where a server is asked for a chat."""
    COUNT_PATH: str
    """Where a server counts the tokens of a prompt for free, "" where it does not."""
    MODELS_PATH: str
    """Where a server lists its models, all of them in one answer."""
    LARGEST_REPLY: int
    """Bytes of a whole answer; a longer one is none."""
    TERMINATOR: bytes | None
    """The data of the event that is the last, where that is no JSON."""
    MAY_OMIT_TERMINATOR: bool
    """Whether an answer with a finish reason is complete once its body has ended as HTTP asks."""

    FINISH_REASONS: Mapping[str, FinishReason]
    CARRIES: frozenset[str]
    """The kinds of `Need` that a request of another protocol may have, and that this one has words for."""

    def root(self, base_url: str) -> str:
        """Return the URL that the paths follow."""
        ...

    def headers(self, api_key: str) -> dict[str, str]:
        """Return the headers of all requests; `api_key` is "" where the server needs none."""
        ...

    def request_headers(self, request: ChatRequest) -> Mapping[str, str]:
        """Return the headers of one request, besides those of all."""
        ...

    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
        """Return whether `upstream` takes the field `name` (one of `ChatRequest.optional`, or `max_tokens`) beside all
        that is `asked`, by this format's rules; with `verbatim` the client speaks this format itself, so that the
        vendor will tell it of a field's inner faults."""
        ...

    def write_request(self, request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
        """Return the body to send to the server at `host`: the client's own where it speaks this protocol, with our
        model, limit and stream, else a translation."""
        ...

    def without_thoughts(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a client's body without the thoughts in its history, whose proofs only their maker accepts."""
        ...

    def prompt_tokens(self, request: ChatRequest, upstream: Upstream, words: int) -> int:
        """Return about the tokens that `upstream` counts for the prompt, where `words` are those of its text."""
        ...

    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> Reply:
        """Return the answer in a successful response. Raises `UnusableReply`."""
        ...

    def read_event(self, data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
        """Return the pieces of one event of a stream, often none; what else it tells goes to `heard`. Raises
        `UnusableReply`."""
        ...

    def read_error(self, response: Response, request: ChatRequest) -> Failure | None:
        """Return what an error means; None for one under a status of success that does not say what it is."""
        ...
