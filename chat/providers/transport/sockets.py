"""Sockets that keep a deadline.

`requests` and `urllib3` bound each wait for bytes, so a server that sends one byte a second holds a thread for as long
as it likes. Here a `Call` bounds all that one request does, from the look-up of the name to the last byte, whoever is
reading: the status line, headers, a proxy's CONNECT, the TLS handshake or the body.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import certifi
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from chat.exceptions import ClientLeft
from chat.providers.transport.addresses import NEVER, connect
from chat.providers.transport.head import FinalResponse

T = TypeVar("T")

SLACK = 0.005
"""Seconds by which a socket may miss its deadline."""
POOLS_KEPT = 32
LOOK = 1.0
"""Seconds between two looks at whether the client is still there."""


class Watch:
    """Looks now and then whether the client is still there that an answer of `provider` is for."""

    def __init__(self, provider: str = "", has_left: Callable[[], bool] | None = None) -> None:
        self.provider, self.has_left = provider, has_left
        self.looked = time.monotonic()

    def look(self) -> None:
        """Look, unless it is too early. Raises `ClientLeft`."""
        if self.has_left and time.monotonic() - self.looked >= LOOK:
            self.looked = time.monotonic()
            if self.has_left():
                raise ClientLeft(self.provider)


UNWATCHED = Watch()


class Call(threading.local):
    """What the request that this thread is sending may still take. Times are `time.monotonic()` seconds.

    A thread serves one request at a time, and urllib3 has no way to hand a deadline down to a connection's handshake
    or to a pooled socket; hence thread-local.
    """

    ends: float = NEVER
    connect_timeout: float = NEVER
    connected: bool = False
    kept: bool = False
    """Whether the request went out on a connection that had served another before."""
    afresh: bool = False
    glances: bool = False
    watch: Watch = UNWATCHED

    @contextmanager
    def within(
        self, timeout: float, connect_timeout: float, watch: Watch, *, connected: bool = False, afresh: bool = False
    ) -> Iterator[None]:
        """Bound everything this thread does on our sockets to `timeout` seconds from now. `afresh` is to take no
        connection that has served before. `watch` is looked at while an answer is waited for."""
        self.watch, self.kept, self.afresh = watch, False, afresh
        self.ends, self.connect_timeout, self.connected = time.monotonic() + timeout, connect_timeout, connected
        try:
            yield
        finally:
            self.ends = self.connect_timeout = NEVER
            self.watch = UNWATCHED

    @contextmanager
    def glancing(self) -> Iterator[None]:
        """Let this thread's reads return at once: with no bytes where there are none, with `EOFError` at the end."""
        self.glances = self.connected = True
        try:
            yield
        finally:
            self.glances = False


call = Call()


class DeadlineMixin:
    """Makes a socket's timeout a total since the last `settimeout()`, and never later than the end of the call."""

    _ends: float = NEVER
    _armed: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._ends = NEVER if value is None else time.monotonic() + value
        if self._armed is None:  # to connect, and for the handshake of TLS; whatever comes later arms it by itself
            self._arm(value)

    def gettimeout(self) -> float | None:
        """Return the seconds left, so that a TLS socket made from this one inherits the deadline and not a fresh
        timeout."""
        ends = min(self._ends, call.ends)
        return None if ends == NEVER else max(ends - time.monotonic(), 0.001)

    def _arm(self, seconds: float | None) -> None:
        """To set a time-out is a call of the system, at which other threads cut in: not for a few milliseconds."""
        armed = self._armed
        if armed is None or seconds is None or abs(armed - seconds) > min(SLACK, seconds / 10):
            super().settimeout(seconds)  # type: ignore[misc]
            self._armed = seconds

    def _in_time(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return the result of `work`, which waits for the other side: a second at a time, so that the time-out stays
        the same, and somebody can look whether the client is still there."""
        while True:
            call.watch.look()
            left = min(self._ends, call.ends) - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline has passed")
            self._arm(min(left, LOOK))
            with suppress(TimeoutError):
                return work(*args, **kwargs)

    def _receive(self, receive: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if not call.glances:
            return self._in_time(receive, *args, **kwargs)
        self._arm(0.0)
        try:
            received = receive(*args, **kwargs)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            # The one error that Python's files over sockets take for "nothing yet"; a time-out would end them for good.
            raise BlockingIOError(errno.EAGAIN, "nothing yet") from None
        if not received:
            raise EOFError
        return received

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        return self._receive(super().recv_into, *args, **kwargs)  # type: ignore[misc, no-any-return]

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        return self._receive(super().recv, *args, **kwargs)  # type: ignore[misc, no-any-return]

    def send(self, *args: Any, **kwargs: Any) -> int:
        return self._in_time(super().send, *args, **kwargs)  # type: ignore[misc, no-any-return]

    def sendall(self, data: Any, *args: Any) -> None:
        left = memoryview(data)
        while left:
            left = left[self.send(left, *args) :]


class DeadlineSocket(DeadlineMixin, socket.socket):
    """A plain socket with a deadline."""


class DeadlineSSLSocket(DeadlineMixin, ssl.SSLSocket):
    """A TLS socket with a deadline."""


class ConnectionMixin:
    """Connects within the call's connect timeout, which covers name, TCP, CONNECT and TLS together."""

    response_class: Any = FinalResponse
    _held: bytes | None = None
    _has_served = False

    def _new_conn(self: Any) -> socket.socket:
        ends = min(time.monotonic() + call.connect_timeout, call.ends)
        try:
            return connect(self._dns_host, self.port, ends, self.socket_options, DeadlineSocket)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, "connecting took too long") from exc
        except OSError as exc:
            raise NewConnectionError(self, f"no connection: {exc}") from exc

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        call.connected = True
        self.sock.settimeout(self.timeout)

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None and self._has_served:
            if call.afresh:
                self.close()
            else:
                call.connected = call.kept = True
        self._has_served = True
        self._held = b""
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            held, self._held = self._held, None
        self.send(held)

    def send(self: Any, data: Any) -> None:
        """Send `data`. The head waits for the body, since the system takes as long over one packet as over two."""
        if self._held is None or not isinstance(data, bytes):
            super().send(data)  # type: ignore[misc]
        else:
            self._held += data


class DeadlineHTTPConnection(ConnectionMixin, HTTPConnection):
    """An HTTP connection on a deadline socket."""


class DeadlineHTTPSConnection(ConnectionMixin, HTTPSConnection):
    """An HTTPS connection on a deadline socket."""


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = DeadlineHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = DeadlineHTTPSConnection


POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """A `requests` adapter whose connections keep the deadline of the `Call` they are used in."""

    def __init__(self, pool_size: int) -> None:
        self.tls = _tls_context()
        self._pools: dict[str, Any] = {}
        super().__init__(pool_connections=POOLS_KEPT, pool_maxsize=pool_size)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self.tls, proxy_ssl_context=self.tls, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Return the pool of the request's URL. Our few URLs never change, so each is looked at once."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        pool = self._pools.get(request.url)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, cert=cert)
            self._pools[request.url] = pool
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, request: Any, raw: Any) -> Any:
        """Return the answer as urllib3 has it: nobody here reads the cookies and the second set of headers that
        `requests` would make."""
        return raw

    def close(self) -> None:
        self._pools.clear()
        super().close()

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: our context verifies already, and `requests` would load all authorities again per connection."""


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    named = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    authorities = next(filter(None, named), certifi.where())
    if os.path.isdir(authorities):
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    context.sslsocket_class = DeadlineSSLSocket
    return context
