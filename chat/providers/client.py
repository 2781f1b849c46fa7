"""A provider that is reached over HTTP: a wire format, an address and a key."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from chat.protocols import fields
from chat.protocols.payload import LARGEST_OF_ALL, UnusableReply, count
from chat.protocols.protocol import Protocol
from chat.providers.reading import Reading
from chat.providers.stream import HTTPStream, OnePieceStream
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.incoming import Incoming
from chat.providers.transport.pool import Transport
from chat.types import ChatRequest, ChatStream, Reply, Upstream

EVENT = 512
"""Bytes that a token of a stream may bring along: OpenAI's events of one token take 300."""
ALTERNATIVES = 4096
"""The same of a token with its probability and those of twenty others, in a whole answer, too."""
ASK_FOR_ALTERNATIVES = {"logprobs", "top_logprobs", "include"}
"""The needs that ask for them."""


class Client:
    """See `Provider`. `base_url` is the provider's as in its own SDK; `timeout` and `connect_timeout` are seconds.

    Raises `ValueError` where HTTP could not carry the URL or the key.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        key: str,
        base_url: str,
        api_key: str | None,
        timeout: float,
        connect_timeout: float,
        transport: Transport,
    ) -> None:
        api_key = (api_key or "").strip()
        self.protocol = protocol
        self.key = key
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.transport = transport
        self._base_url, self._headers = protocol.root(base_url), protocol.headers(api_key)
        self.endpoint = Endpoint(key, self._base_url, protocol.PATH, self._headers)
        self._secrets = (*filter(None, [api_key]), *self.endpoint.secrets)
        self._hosts = () if self.endpoint.host == protocol.VENDOR else (self.endpoint.host,)

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """See `Provider.refuses`."""
        return fields.refused(request, upstream, self.protocol)

    def prompt_tokens(self, request: ChatRequest, upstream: Upstream, words: int) -> int:
        """See `Provider.prompt_tokens`."""
        return self.protocol.prompt_tokens(request, upstream, words)

    def tells_users_apart(self, upstream: Upstream) -> bool:
        """See `Provider.tells_users_apart`."""
        return self.endpoint.host == self.protocol.VENDOR if upstream.pseudonyms is None else upstream.pseudonyms

    def complete(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> Reply:
        """See `Provider.complete`; `timeout` can shorten the provider's own and not lengthen it."""
        incoming, ends = self._ask(request, upstream, timeout)
        response = incoming.whole(ends - time.monotonic(), self._most(request))
        return self._reading(request).whole(response)

    def stream(
        self, request: ChatRequest, *, upstream: Upstream, timeout: float, idle_timeout: float, handover: float
    ) -> ChatStream:
        """See `Provider.stream`; `timeout` can shorten the provider's own and not lengthen it.

        A server that knows no streams may answer in one piece. An error under a status of success means what its type
        says, wherever it comes.
        """
        began = time.monotonic()
        incoming, ends = self._ask(request, upstream, timeout, stream=True)
        reading = self._reading(request)
        if not _is_stream(incoming):
            return OnePieceStream(reading.whole(incoming.whole(ends - time.monotonic())))
        incoming.most = self._most(request, EVENT)
        stream = HTTPStream(reading, incoming, idle_timeout=idle_timeout)
        stream.begin(ends, began + handover)
        incoming.watch.has_left = None  # whoever reads the stream looks for the client, too
        return stream

    def models(self, timeout: float) -> list[str]:
        """See `Provider.models`."""
        endpoint = Endpoint(self.key, self._base_url, self.protocol.MODELS_PATH, self._headers, method="GET")
        incoming, ends = self._send(endpoint, b"", ChatRequest(), timeout)
        response, reading = incoming.whole(ends - time.monotonic()), self._reading(ChatRequest())
        listed = reading.object(response).get("data")
        if not isinstance(listed, list):
            raise reading.unusable(response, UnusableReply("no list of models"))
        return [item["id"] for item in listed if isinstance(item, dict) and isinstance(item.get("id"), str)]

    def count_tokens(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> int | None:
        """See `Provider.count_tokens`. A translation would be another prompt than the one that is meant."""
        if not (self.protocol.COUNT_PATH and request.raw and request.is_verbatim(self.protocol.NAME)):
            return None
        endpoint = Endpoint(self.key, self._base_url, self.protocol.COUNT_PATH, self._headers)
        body = encoded({**request.raw.body, "model": upstream.model})
        incoming, ends = self._send(endpoint, body, request, timeout)
        response, reading = incoming.whole(ends - time.monotonic()), self._reading(request)
        counted = count(reading.object(response).get("input_tokens"))
        if counted is None:
            raise reading.unusable(response, UnusableReply("no count of tokens"))
        return counted

    def _most(self, request: ChatRequest, each: int = 0) -> int:
        """Return the bytes that an answer may have, `each` of them to a token or more."""
        least = self.protocol.LARGEST_REPLY
        if any(need.path in ASK_FOR_ALTERNATIVES for need in request.needs):
            each = ALTERNATIVES
        return max(least, min(least + each * request.max_tokens * request.n, LARGEST_OF_ALL))

    def _reading(self, request: ChatRequest) -> Reading:
        return Reading(self.protocol, self.key, request, self._secrets, self._hosts)

    def _ask(
        self, request: ChatRequest, upstream: Upstream, timeout: float, *, stream: bool = False
    ) -> tuple[Incoming, float]:
        body = self.protocol.write_request(request, upstream, host=self.endpoint.host, stream=stream)
        return self._send(self.endpoint, encoded(body), request, timeout)

    def _send(self, endpoint: Endpoint, body: bytes, request: ChatRequest, timeout: float) -> tuple[Incoming, float]:
        """Return the answer that begins, and when it must be there, on `time.monotonic()`'s scale."""
        timeout = min(timeout, self.timeout)
        ends = time.monotonic() + timeout
        incoming = self.transport.send(
            endpoint,
            body,
            headers={**self.protocol.request_headers(request), **(request.trace.headers() if request.trace else {})},
            timeout=timeout,
            connect_timeout=self.connect_timeout,
            has_left=request.has_left,
        )
        return incoming, ends


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return `body` as the bytes of JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _is_stream(incoming: Incoming) -> bool:
    """Return whether to read it piece by piece. Servers label events as anything, but no server its pages; and only
    a page in JSON may be compressed."""
    kind = incoming.headers.get("content-type", "").lower()
    packed = incoming.headers.get("content-encoding", "identity").lower() != "identity"
    return incoming.status == 200 and "html" not in kind and not ("json" in kind and packed)
