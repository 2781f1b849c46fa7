"""The one way out to providers: a POST with a deadline, a size limit and no surprises."""

from __future__ import annotations

import http.client
import ipaddress
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3.exceptions
from requests.utils import get_environ_proxies
from urllib3.util import Timeout

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.providers.sockets import DeadlineAdapter, call
from chat.redaction import mask_secrets

MAX_BODY = 10 * 1024 * 1024
"""Bytes of an answer, after decompression."""
MAX_ERROR_BODY = 1024 * 1024
CHUNK = 64 * 1024

COMMON_HEADERS = {
    "Accept": "application/json",
    # Compression buys nothing on a few kilobytes and lets a hostile server send a bomb.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "genai-chat",
}


@dataclass(frozen=True, slots=True)
class Response:
    """A provider's whole answer. `headers` may be looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """Where a provider is asked, and the headers that never change; prepared once, since preparing is what costs.

    Raises `ValueError` for a URL or a header that HTTP cannot carry; its text holds neither.
    """

    def __init__(self, provider: str, base_url: str, path: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(base_url.strip())
        url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))
        self.provider = provider
        self.host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.secrets = tuple(filter(None, [parts.password]))
        try:
            self.template = requests.Request("POST", url, headers=COMMON_HEADERS).prepare()
        except (requests.RequestException, UnicodeError):
            raise ValueError(f"The base URL of provider {provider!r} is not usable.") from None
        # After preparing, because credentials in the URL would otherwise take the place of our key.
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"The {name} header of provider {provider!r} holds characters that HTTP cannot carry.")
            self.template.headers[name] = value
        self.proxies = {} if _is_loopback(parts.hostname) else get_environ_proxies(url)

    def request(self, body: bytes, headers: Mapping[str, str]) -> requests.PreparedRequest:
        prepared = self.template.copy()
        prepared.headers.update(headers)
        prepared.headers["Content-Length"] = str(len(body))
        prepared.body = body
        return prepared


class Transport:
    """Keeps connections to all providers, `pool_size` to each; make that the number of threads that may call at once.

    Safe for threads, and for a process that forks: a child opens connections of its own.
    """

    def __init__(self, pool_size: int = 10) -> None:
        self.pool_size = pool_size
        self._sessions: dict[int, requests.Session] = {}

    def post(
        self,
        endpoint: Endpoint,
        body: bytes,
        *,
        timeout: float,
        connect_timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send `body` and return the answer, whatever its status.

        `timeout` is seconds from now to the last byte; `connect_timeout` is the part of them that the name, TCP, a
        proxy and TLS may take together. Raises `ProviderTimeoutError`, `ProviderUnavailableError` (no connection, or
        it broke before the answer began) or `InvalidProviderResponseError` (what came is not a whole HTTP response).
        """
        began = time.monotonic()
        request = endpoint.request(body, headers or {})
        try:
            if timeout <= 0:
                raise ProviderTimeoutError(endpoint.provider, None, "no time left to ask", unsent=True)
            with call.within(timeout, min(connect_timeout, timeout)):
                return self._exchange(request, endpoint, timeout)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            failure = _failure(exc, endpoint, time.monotonic() - began)
        # Outside of the handler: the cause holds the request, and with it the key and the prompt.
        raise failure

    def close(self) -> None:
        """Close this process's idle connections; the next `post` opens new ones."""
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def _exchange(self, request: requests.PreparedRequest, endpoint: Endpoint, timeout: float) -> Response:
        # The adapter and not `session.send`, which keeps cookies, and reads the whole body of a redirect, however
        # long, before it returns.
        adapter: Any = self._session().get_adapter(str(request.url))
        response: requests.Response = adapter.send(
            request,
            stream=True,
            timeout=Timeout(connect=timeout, total=timeout),
            proxies=endpoint.proxies,
        )
        try:
            return Response(response.status_code, response.headers, _read(response, endpoint))
        finally:
            response.close()

    def _session(self) -> requests.Session:
        pid = os.getpid()
        session = self._sessions.get(pid)
        if session is None:
            for parent in set(self._sessions) - {pid}:
                self._sessions.pop(parent, None)
            # Threads that come at once may each make one, but all use the first; a lock could be held during a fork.
            session = self._sessions.setdefault(pid, self._open())
        return session

    def _open(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # a .netrc would take the place of our key
        adapter = DeadlineAdapter(self.pool_size)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def _read(response: requests.Response, endpoint: Endpoint) -> bytes:
    """The body, decompressed. Of an error's body, as much as arrives: its status alone says what to do."""
    failed = response.status_code >= 400
    body = bytearray()
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=True):
            body += chunk
            if len(body) > (MAX_ERROR_BODY if failed else MAX_BODY):
                break
            if time.monotonic() > call.ends:
                raise TimeoutError("the deadline has passed")
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        if failed:
            return bytes(body)
        if _is_timeout(exc):
            raise
        reason = f"the answer of {endpoint.host} broke off or cannot be decoded ({type(exc).__name__})"
        raise InvalidProviderResponseError(endpoint.provider, response.status_code, reason) from None
    if len(body) > MAX_BODY:
        reason = f"the answer of {endpoint.host} is longer than {MAX_BODY} bytes"
        raise InvalidProviderResponseError(endpoint.provider, response.status_code, reason)
    return bytes(body)


def _failure(exc: BaseException, endpoint: Endpoint, seconds: float) -> ProviderError:
    """What an exception of `requests`, `urllib3` or the socket means."""
    provider, host, unsent = endpoint.provider, endpoint.host, not call.connected
    if _is_timeout(exc):
        missing = "no connection to" if unsent else "no complete answer from"
        return ProviderTimeoutError(provider, None, f"{missing} {host} after {seconds:.1f} s", unsent=unsent)
    causes = list(_causes(exc))
    broken = [c for c in causes if isinstance(c, http.client.HTTPException | urllib3.exceptions.InvalidHeader)]
    if broken and not any(isinstance(c, ConnectionError) for c in causes):
        # Its text may be whatever the server sent, so only its name is told.
        reason = f"{host} did not answer with valid HTTP ({type(broken[0]).__name__})"
        return InvalidProviderResponseError(provider, None, reason)
    happened = "no connection to" if unsent else "connection lost while waiting for"
    root = next((c for c in reversed(causes) if isinstance(c, OSError)), exc)
    why = mask_secrets(str(getattr(root, "strerror", None) or type(root).__name__), endpoint.secrets)
    return ProviderUnavailableError(provider, None, f"{happened} {host}: {why[:200]}", unsent=unsent)


def _is_timeout(exc: BaseException) -> bool:
    refused = urllib3.exceptions.NewConnectionError  # counts as a ConnectTimeoutError in urllib3 2
    kinds = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    return any(isinstance(cause, kinds) and not isinstance(cause, refused) for cause in _causes(exc))


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """`exc` and all that it wraps, outermost first: the libraries wrap by `args`, by `reason` and by `__cause__`."""
    pending, seen = [exc], set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        wrapped = [*current.args, getattr(current, "reason", None), current.__cause__]
        pending += [inner for inner in wrapped if isinstance(inner, BaseException)]


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
