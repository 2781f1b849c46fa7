"""A transport and what is asked through it: what its tests have in common."""

from __future__ import annotations

import socket
import time

import pytest

from chat.exceptions import ProviderError
from chat.protocols.payload import Response
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.pool import Transport

TOTAL = 0.3


def addresses(*ports):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def post(transport: Transport, url: str, timeout: float = 5.0, connect_timeout: float = 5.0, **options) -> Response:
    endpoint = Endpoint("acme", url, "/v1/chat/completions", {"Authorization": "Bearer sk-secret-1234"})
    ends = time.monotonic() + timeout
    incoming = transport.send(endpoint, b"{}", timeout=timeout, connect_timeout=connect_timeout, **options)
    return incoming.whole(ends - time.monotonic())


def failure(transport: Transport, url: str, **kwargs) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        post(transport, url, **kwargs)
    error = caught.value
    assert error.provider == "acme"
    assert "sk-secret" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    return error
