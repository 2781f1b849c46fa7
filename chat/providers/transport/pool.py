"""The one way out to providers: a request with a deadline, a size limit and no surprises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import requests
from urllib3.util import Timeout

from chat.exceptions import ProviderTimeoutError, ProviderUnavailableError
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.incoming import Incoming, guarded
from chat.providers.transport.sockets import DeadlineAdapter, Watch, call


class Transport:
    """Keeps connections to all providers, `pool_size` to each; make that the number of threads that may call at once.

    Safe for threads. Its first request opens it: gunicorn forks its workers before that, so no two share a connection.
    """

    def __init__(self, pool_size: int = 10) -> None:
        self.pool_size = pool_size

    @cached_property
    def _adapter(self) -> DeadlineAdapter:
        # No session around it, which would keep cookies, let a .netrc take the place of our key, and read the whole
        # body of a redirect, however long, before it returns.
        return DeadlineAdapter(self.pool_size)

    def send(
        self,
        endpoint: Endpoint,
        body: bytes,
        *,
        timeout: float,
        connect_timeout: float,
        headers: Mapping[str, str] | None = None,
        has_left: Callable[[], bool] | None = None,
    ) -> Incoming:
        """Send `body` and return the answer, whatever its status, when its headers have come.

        `timeout` is seconds from now until then; `connect_timeout` is the part of them that the name, TCP, a proxy and
        TLS may take together. `has_left` says whether the client has, and is asked each second from then on and within
        the answer. Raises `ClientLeft`, `ProviderTimeoutError`, `ProviderUnavailableError` (no connection, or it broke
        before the answer began) or `InvalidProviderResponseError` (what came is no HTTP response).
        """
        if timeout <= 0:
            raise ProviderTimeoutError(endpoint.provider, None, "no time left to ask", unsent=True)
        began = time.monotonic()
        request, watch = prepared(endpoint, body, headers or {}), Watch(endpoint.provider, has_left)

        def once(*, afresh: bool = False) -> Incoming:
            left = timeout - (time.monotonic() - began)
            with call.within(left, min(connect_timeout, left), watch, afresh=afresh):
                answer: Any = self._adapter.send(
                    request,
                    stream=True,
                    timeout=Timeout(connect=left, total=left),  # type: ignore[arg-type]  # requests takes urllib3's
                    proxies=endpoint.proxies,
                )
                return Incoming(answer, endpoint, began, watch)

        try:
            return guarded(endpoint, began, once)
        except ProviderUnavailableError:
            if not call.kept:
                raise
        # A server may close a connection that it has kept just when we use it. Nothing has been answered, so the same
        # request goes out once more, on a connection of its own.
        return guarded(endpoint, began, partial(once, afresh=True))

    def close(self) -> None:
        """Close the idle connections; the next `send` opens new ones."""
        self._adapter.close()


def prepared(endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> requests.PreparedRequest:
    """Return the request to send."""
    request = requests.PreparedRequest()
    request.method, request.url, request.body = endpoint.method, endpoint.url, body
    # Names in any case were made one by preparing; what sends them needs no more than a dict.
    request.headers = {**endpoint.headers, **headers, "Content-Length": str(len(body))}  # type: ignore[assignment]
    return request
