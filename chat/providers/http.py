"""What the providers that are reached over HTTP have in common: one POST, and the same ways of going wrong."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from chat.exceptions import ProviderError
from chat.providers.base import ChatReply, ChatRequest, FinishReason, Usage
from chat.providers.failures import (
    NO_ANSWER,
    ProviderSays,
    Verdict,
    provider_error,
    read_error,
    verdict_on,
)
from chat.providers.payload import parse_object
from chat.providers.transport import Endpoint, Response, Transport


class UnusableReply(Exception):
    """A successful answer says nothing usable. `why` is for the log; `usage` is what it cost nevertheless."""

    def __init__(self, why: str, usage: Usage | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.usage = usage


class HTTPProvider(ABC):
    """One wire protocol; a subclass writes the request and reads the reply.

    `base_url` is the provider's as in its own SDK; `timeout` and `connect_timeout` are seconds. Raises `ValueError`
    where HTTP could not carry the URL or the key.
    """

    path: ClassVar[str]
    words: ClassVar[Mapping[str, Verdict]]
    finish_reasons: ClassVar[Mapping[str, FinishReason]]

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
        self.endpoint = Endpoint(key, self.root(base_url), self.path, self.headers(api_key))
        self._secrets = [*filter(None, [api_key]), *self.endpoint.secrets]

    def complete(self, request: ChatRequest, *, model: str, timeout: float) -> ChatReply:
        """See `Provider.complete`; `timeout` can shorten the provider's own and not lengthen it."""
        payload = json.dumps(self.payload(request, model), ensure_ascii=False, separators=(",", ":"))
        response = self.transport.post(
            self.endpoint,
            payload.encode("utf-8", "replace"),
            headers=self.request_headers(request),
            timeout=min(timeout, self.timeout),
            connect_timeout=self.connect_timeout,
        )
        if not 200 <= response.status < 300:
            raise self._error(response, request)
        data = parse_object(response.body)
        if data is None:
            raise self._unusable(response, request, UnusableReply("no JSON object"))
        if data.get("error"):
            raise self._unusable(response, request, UnusableReply("an error under a status of success"))
        try:
            return self.read_reply(data, request)
        except UnusableReply as reply:
            unusable = reply
        raise self._unusable(response, request, unusable)

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
    def payload(self, request: ChatRequest, model: str) -> dict[str, Any]:
        """The body to send."""

    @abstractmethod
    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> ChatReply:
        """The answer in a successful response; raises `UnusableReply`."""

    def judge(self, status: int, says: ProviderSays, request: ChatRequest) -> Verdict:
        """What an error means."""
        return verdict_on(status, says, self.words)

    def finish(self, reason: Any, usage: Usage | None, request: ChatRequest) -> FinishReason:
        """Our word for the protocol's finish reason.

        An unknown or missing one comes with text that is usable; that it was cut is then told by its length alone.
        """
        known = self.finish_reasons.get(reason) if isinstance(reason, str) else None
        cut = usage is not None and usage.completion_tokens >= request.max_tokens
        return known or ("length" if cut else "stop")

    def _error(self, response: Response, request: ChatRequest) -> ProviderError:
        says = read_error(response.body)
        contents = [message.content for message in request.messages]
        verdict = self.judge(response.status, says, request)
        return provider_error(self.key, response, verdict, says, contents=contents, secrets=self._secrets)

    def _unusable(self, response: Response, request: ChatRequest, reply: UnusableReply) -> ProviderError:
        says = read_error(response.body)
        if not _is_error_or_page(response.body):
            # Half an answer is still what was said to a user: no part of it may reach the log.
            says = says._replace(message=f"{len(response.body)} bytes of {response.headers.get('content-type')}")
        contents = [message.content for message in request.messages]
        verdict = NO_ANSWER._replace(meaning=f"the answer is not usable, {reply.why}")
        return provider_error(
            self.key, response, verdict, says, contents=contents, secrets=self._secrets, usage=reply.usage
        )


def _is_error_or_page(body: bytes) -> bool:
    start = body[:64].lstrip()
    return start.startswith(b"<") or bool((parse_object(body) or {}).get("error"))
