"""What the providers that are reached over HTTP have in common: one POST, and the same ways of going wrong."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from chat.exceptions import ProviderError
from chat.providers.base import ChatStream
from chat.providers.failures import (
    NO_ANSWER,
    NOT_ACCEPTED,
    UNEXPECTED,
    ProviderSays,
    Verdict,
    error_object,
    is_error,
    provider_error,
    read_error,
    status_meant,
    verdict_on,
)
from chat.providers.fields import ASKS_FOR_NOTHING, field_refused
from chat.providers.payload import UnusableReply, parse_object
from chat.providers.streams import Heard, HTTPStream, OnePieceStream
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.incoming import Incoming, Response
from chat.providers.transport.pool import Transport
from chat.types import ChatReply, ChatRequest, FinishReason, Upstream, Usage


class HTTPProvider(ABC):
    """One wire protocol; a subclass writes the request and reads the reply.

    `base_url` is the provider's as in its own SDK; `timeout` and `connect_timeout` are seconds. Raises `ValueError`
    where HTTP could not carry the URL or the key.
    """

    path: ClassVar[str]
    models_path: ClassVar[str]
    """Where the provider lists its models, all of them in one answer."""
    words: ClassVar[Mapping[str, Verdict]]
    phrases: ClassVar[Mapping[str, Verdict]]
    finish_reasons: ClassVar[Mapping[str, FinishReason]]
    vendor: ClassVar[str]
    """The host of the protocol's own vendor."""
    stream_fields: ClassVar[Mapping[str, Any]] = {"stream": True}
    """What `payload` has besides when a stream is asked for."""
    terminator: ClassVar[bytes | None] = None
    """The data of the event that is the last, where that is no JSON."""
    may_omit_terminator: ClassVar[bool] = False
    """Whether an answer with a finish reason is complete once its body has ended as HTTP asks."""

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        api_key: str | None,
        timeout: float,
        connect_timeout: float,
        transport: Transport,
    ) -> None:
        api_key = (api_key or "").strip()
        self.key = key
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.transport = transport
        self._base_url, self._api_key = self.root(base_url), api_key
        self.endpoint = Endpoint(key, self._base_url, self.path, self.headers(api_key))
        self._secrets = [*filter(None, [api_key]), *self.endpoint.secrets]

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """See `Provider.refuses`."""
        asked = self._asked(request, upstream)
        return next((name for name in asked if not self._may_go(name, asked, upstream)), "")

    def complete(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> ChatReply:
        """See `Provider.complete`; `timeout` can shorten the provider's own and not lengthen it."""
        incoming, ends = self._ask(self.payload(request, upstream), request, timeout)
        return self.read_whole(incoming.whole(ends - time.monotonic()), request)

    def stream(
        self, request: ChatRequest, *, upstream: Upstream, timeout: float, idle_timeout: float, handover: float
    ) -> ChatStream:
        """See `Provider.stream`; `timeout` can shorten the provider's own and not lengthen it.

        A server that knows no streams may answer in one piece. An error under a status of success means what its type
        says, wherever it comes.
        """
        began = time.monotonic()
        incoming, ends = self._ask({**self.payload(request, upstream), **self.stream_fields}, request, timeout)
        if not _is_stream(incoming):
            return OnePieceStream(self.read_whole(incoming.whole(ends - time.monotonic()), request))
        stream = HTTPStream(self, request, incoming, idle_timeout=idle_timeout)
        stream.begin(ends, began + handover)
        return stream

    def models(self, timeout: float) -> list[str]:
        """Return the names of the models that the provider lists for our key. Raises a `ProviderError`."""
        endpoint = Endpoint(self.key, self._base_url, self.models_path, self.headers(self._api_key), method="GET")
        ends = time.monotonic() + timeout
        incoming = self.transport.send(endpoint, b"", timeout=timeout, connect_timeout=self.connect_timeout)
        response, nothing = incoming.whole(ends - time.monotonic()), ChatRequest((), 0)
        data = parse_object(response.body) or {}
        listed = data.get("data")
        if not 200 <= response.status < 300 or is_error(data):
            says = read_error(response.body)
            raise self._error(response, nothing, self.meaning(response.status, says, nothing), says)
        if not isinstance(listed, list):
            raise self.unusable(response, nothing, UnusableReply("no list of models"))
        return [item["id"] for item in listed if isinstance(item, dict) and isinstance(item.get("id"), str)]

    def root(self, base_url: str) -> str:
        """The URL that `path` follows."""
        return base_url

    def request_headers(self, request: ChatRequest) -> Mapping[str, str]:
        """Headers of one request, besides those of all."""
        return {}

    @abstractmethod
    def headers(self, api_key: str) -> dict[str, str]:
        """The headers of all requests; `api_key` is "" where the server needs none."""

    @abstractmethod
    def payload(self, request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
        """The body to send."""

    @abstractmethod
    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        """Return whether `upstream` takes the field `name` beside all that is `asked`, by this protocol's rules."""

    @abstractmethod
    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> ChatReply:
        """The answer in a successful response; raises `UnusableReply`."""

    @abstractmethod
    def read_event(self, data: dict[str, Any], heard: Heard) -> str:
        """The text of one event of a stream, often ""; what else it tells goes to `heard`. Raises `UnusableReply`."""

    def optional(self, request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
        """Return the optional fields to send, by our names: the client's, and an operator's temperature without any."""
        asked = self._asked(request, upstream)
        sent = {name: value for name, value in asked.items() if self._takes(name, asked, upstream)}
        default = {"temperature": upstream.temperature}
        if upstream.temperature is None or asked.keys() & ASKS_FOR_NOTHING.keys():
            return sent
        return sent | default if self._takes("temperature", asked | default, upstream) else sent

    def pseudonym(self, request: ChatRequest, upstream: Upstream) -> str:
        """Return the user's pseudonym where the provider is to know it: so that one who abuses the vendor's service is
        stopped alone, and not our key with everybody's chats. "" elsewhere."""
        to_vendor = self.endpoint.host == self.vendor
        return request.pseudonym if (to_vendor if upstream.pseudonyms is None else upstream.pseudonyms) else ""

    def meaning(self, status: int, says: ProviderSays, request: ChatRequest) -> Verdict:
        """Return the meaning of an error: first of all, whether the error refuses one field."""
        name = field_refused(status, says)
        if name in request.optional():
            return NOT_ACCEPTED._replace(meaning=f"this upstream model does not take {name}", param=name)
        if name:
            return UNEXPECTED._replace(meaning=f"it does not take {name} as models.toml has it sent", param=name)
        return verdict_on(status, says, self.words, self.phrases, (message.content for message in request.messages))

    def finish(self, reason: Any, usage: Usage | None, request: ChatRequest) -> FinishReason:
        """Our word for the protocol's finish reason.

        An unknown or missing one comes with text that is usable; that it was cut is then told by its length alone.
        """
        known = self.finish_reasons.get(reason) if isinstance(reason, str) else None
        cut = usage is not None and usage.completion_tokens >= request.max_tokens
        return known or ("length" if cut else "stop")

    def unusable(self, response: Response, request: ChatRequest, reply: UnusableReply) -> ProviderError:
        """The exception for a successful answer, or an event of one, that is of no use."""
        says = read_error(response.body)
        if not _is_error_or_page(response):
            # Half an answer is still what was said to a user: no part of it may reach the log.
            says = says._replace(message=f"{len(response.body)} bytes of {response.headers.get('content-type')}")
        verdict = NO_ANSWER._replace(meaning=f"the answer is not usable, {reply.why}")
        return self._error(response, request, verdict, says, usage=reply.usage)

    def reported(self, response: Response, request: ChatRequest, usage: Usage | None = None) -> ProviderError:
        """The exception for an error under a status of success: what its type means, and with that type's status."""
        says = read_error(response.body)
        status = status_meant(says, self.words)
        if status is None:
            return self.unusable(response, request, UnusableReply("an error under a status of success", usage))
        meant = Response(status, response.headers, response.body)
        verdict = self.meaning(status, says, request)
        return self._error(meant, request, verdict, says, usage=usage, within=" after a 200")

    def _asked(self, request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
        return {name: value for name, value in request.optional().items() if name not in upstream.drop}

    def _takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        said = upstream.takes.get(name)
        return self.takes(name, asked, upstream) if said is None else said

    def _may_go(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        """Return whether nothing is lost of the field `name`: it is taken, or it asks for nothing."""
        return self._takes(name, asked, upstream) or asked[name] == ASKS_FOR_NOTHING.get(name)

    def _ask(self, payload: Mapping[str, Any], request: ChatRequest, timeout: float) -> tuple[Incoming, float]:
        """What comes back, and when it must be there, on `time.monotonic()`'s scale."""
        timeout = min(timeout, self.timeout)
        ends = time.monotonic() + timeout
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        incoming = self.transport.send(
            self.endpoint,
            body.encode("utf-8", "replace"),
            headers=self.request_headers(request),
            timeout=timeout,
            connect_timeout=self.connect_timeout,
        )
        return incoming, ends

    def read_whole(self, response: Response, request: ChatRequest) -> ChatReply:
        """Return the reply in a whole answer. Raises a `ProviderError`."""
        if not 200 <= response.status < 300:
            says = read_error(response.body)
            raise self._error(response, request, self.meaning(response.status, says, request), says)
        data = parse_object(response.body)
        if data is None:
            raise self.unusable(response, request, UnusableReply("no JSON object"))
        if is_error(data):
            raise self.reported(response, request)
        try:
            return self.read_reply(data, request)
        except UnusableReply as reply:
            unusable = reply
        raise self.unusable(response, request, unusable)

    def _error(
        self, response: Response, request: ChatRequest, verdict: Verdict, says: ProviderSays, **facts: Any
    ) -> ProviderError:
        contents = [message.content for message in request.messages]
        return provider_error(self.key, response, verdict, says, contents=contents, secrets=self._secrets, **facts)


def _is_stream(incoming: Incoming) -> bool:
    """Return whether to read it piece by piece. Servers label events as anything, but no server its pages; and only
    a page in JSON may be compressed."""
    kind = incoming.headers.get("content-type", "").lower()
    packed = incoming.headers.get("content-encoding", "identity").lower() != "identity"
    return incoming.status == 200 and "html" not in kind and not ("json" in kind and packed)


def _is_error_or_page(response: Response) -> bool:
    is_page = response.body[:64].lstrip().startswith(b"<")
    if "event-stream" in response.headers.get("content-type", ""):
        is_page = False  # but an event that could not be read, and perhaps what the model said
    return is_page or is_error(error_object(response.body) or {})
