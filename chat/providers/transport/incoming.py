"""An answer on its way in: read whole or piece by piece, against deadlines and a size limit."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

import requests
import urllib3.exceptions
from urllib3.util.wait import wait_for_read

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError, ProviderUnavailableError
from chat.observability.redaction import mask_secrets
from chat.protocols.payload import LARGEST_REPLY, Response
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.framing import Framing
from chat.providers.transport.sockets import LOOK, Watch, call

T = TypeVar("T")

MAX_ERROR_BODY = 1024 * 1024
CHUNK = 64 * 1024
LONGEST_DRAIN = 0.2
"""Seconds that the end of a body which holds nothing more is waited for, so that its connection can be used again."""


class Incoming:
    """An answer whose headers have come. Used by one thread at a time, not always the same one. What goes wrong is
    raised as a `ProviderError`."""

    def __init__(self, answer: urllib3.HTTPResponse, endpoint: Endpoint, began: float, watch: Watch) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer, self._endpoint, self._began = answer, endpoint, began
        self.watch = watch
        self.most = LARGEST_REPLY
        """Bytes of it, if it is read piece by piece."""
        self._received = 0
        self._closed = False

    @cached_property
    def framing(self) -> Framing:
        """Where the body ends, which only one who reads it piece by piece must know."""
        return Framing(chunked=bool(self._answer.chunked), length=self._answer.length_remaining)

    def whole(self, seconds: float, most: int = LARGEST_REPLY) -> Response:
        """Return all of it, decoded, `most` bytes. Of an error's body, as much as arrives: its status alone says what
        to do."""

        def read() -> Response:
            return Response(self.status, self.headers, self._all(seconds, most))

        try:
            return guarded(self._endpoint, self._began, read)
        finally:
            self.close()

    def read(self, seconds: float) -> bytes | None:
        """Return the bytes that have arrived, undecoded: b"" after `seconds` of silence, None at the end of the
        body."""
        if self._closed:
            raise InvalidProviderResponseError(self._endpoint.provider, None, "the stream was closed")
        self.watch.look()
        return guarded(self._endpoint, self._began, lambda: self._read(seconds))

    def finish(self) -> None:
        """Wait a moment for the end of a body that holds nothing more, so that its connection can be used again."""
        ends = time.monotonic() + LONGEST_DRAIN
        with suppress(ProviderError):
            while self.framing.is_told and (left := ends - time.monotonic()) > 0 and self.read(left) is not None:
                pass
        self.close()

    def close(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        self._closed = True
        self._answer.close()
        self._answer.release_conn()

    def _all(self, seconds: float, most: int) -> bytes:
        failed = self.status >= 400
        body = bytearray()
        try:
            with call.within(seconds, seconds, self.watch, connected=True):
                while chunk := self._answer.read1(CHUNK, decode_content=True):
                    body += chunk
                    if len(body) > (MAX_ERROR_BODY if failed else most):
                        break
                    if time.monotonic() > call.ends:
                        raise TimeoutError("the deadline has passed")
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            if failed:
                return bytes(body)
            raise self._broken(exc) from None
        self._check_size(len(body), most)
        return bytes(body)

    def _read(self, seconds: float) -> bytes | None:
        ends = time.monotonic() + seconds
        body = b""
        try:
            while not body and not self.framing.ended:
                piece = self._glance(max(ends - time.monotonic(), 0))
                if piece == b"":
                    return b""
                if piece is None:
                    self.framing.lose()
                else:
                    body = self.framing.take(piece)
                    self._received += len(piece)
                    self._check_size(self._received, self.most)
        except (OSError, ValueError) as exc:
            raise self._broken(exc) from None
        if not body:
            self._give_back()
        return body or None

    def _glance(self, seconds: float) -> bytes | None:
        """Bytes off the wire: b"" after `seconds` without any, None when the connection has ended.

        Bytes may lie in the socket, in TLS and in the file that `http.client` has made of them, so a look at the socket
        alone would miss some; and waiting by a time-out of the socket would end that file for good.
        """
        original: Any = self._answer._original_response
        ends = time.monotonic() + seconds
        with call.glancing():
            try:
                while not (piece := original.fp.read1(CHUNK)):
                    self.watch.look()
                    left = max(ends - time.monotonic(), 0)
                    if not wait_for_read(original.fp, min(left, LOOK)) and left <= LOOK:
                        break
            except EOFError:
                return None
        return bytes(piece)

    def _give_back(self) -> None:
        """Hand the connection to the pool, at the end of a body."""
        original: Any = self._answer._original_response
        if self.framing.is_told and self.framing.is_clean:
            original.close()
            self._answer.release_conn()

    def _broken(self, exc: Exception) -> Exception:
        if _is_timeout(exc):
            return exc
        reason = f"the answer of {self._endpoint.host} broke off or cannot be decoded ({type(exc).__name__})"
        return InvalidProviderResponseError(self._endpoint.provider, self.status, reason)

    def _check_size(self, length: int, most: int) -> None:
        if length > most:
            reason = f"the answer of {self._endpoint.host} is longer than {most} bytes"
            raise InvalidProviderResponseError(self._endpoint.provider, self.status, reason)


def guarded(endpoint: Endpoint, began: float, work: Callable[[], T]) -> T:
    """Return the result of `work`, whose exceptions become ours; it began at `began`, by `time.monotonic()`."""
    try:
        return work()
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
        failure = _failure(exc, endpoint, time.monotonic() - began)
    # Outside of the handler: the cause holds the request, and with it the key and the prompt.
    raise failure


def _failure(exc: BaseException, endpoint: Endpoint, seconds: float) -> ProviderError:
    """Return the meaning of an exception of `requests`, `urllib3` or the socket."""
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
