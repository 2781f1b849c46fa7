"""What a wire format does. Each is a module with these names."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from chat.protocols.errors import Failure
from chat.protocols.payload import Heard, Response
from chat.types import ChatRequest, FinishReason, Part, Reply, Upstream


class Protocol(typing.Protocol):
    """One wire format."""

    VENDOR: str
    """The host of the format's own vendor."""
    PATH: str
    """Where a server is asked for a chat."""
    MODELS_PATH: str
    """Where a server lists its models, all of them in one answer."""
    TERMINATOR: bytes | None
    """The data of the event that is the last, where that is no JSON."""
    MAY_OMIT_TERMINATOR: bool
    """Whether an answer with a finish reason is complete once its body has ended as HTTP asks."""

    FINISH_REASONS: Mapping[str, FinishReason]

    def root(self, base_url: str) -> str:
        """Return the URL that the paths follow."""
        ...

    def headers(self, api_key: str) -> dict[str, str]:
        """Return the headers of all requests; `api_key` is "" where the server needs none."""
        ...

    def request_headers(self, request: ChatRequest) -> Mapping[str, str]:
        """Return the headers of one request, besides those of all."""
        ...

    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        """Return whether `upstream` takes the field `name` beside all that is `asked`, by this format's rules."""
        ...

    def write_request(self, request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
        """Return the body to send to the server at `host`."""
        ...

    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> Reply:
        """Return the answer in a successful response. Raises `UnusableReply`."""
        ...

    def read_event(self, data: dict[str, Any], heard: Heard) -> tuple[Part, ...]:
        """Return the pieces of one event of a stream, often none; what else it tells goes to `heard`. Raises
        `UnusableReply`."""
        ...

    def read_error(self, response: Response, request: ChatRequest) -> Failure | None:
        """Return what an error means; None for one under a status of success that does not say what it is."""
        ...
