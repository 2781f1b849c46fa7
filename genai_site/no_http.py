"""The answer to what is no HTTP, or too much of it, in the shape of all others: Django never sees such a request."""

from __future__ import annotations

from typing import Any


def refusal(kind: str, peer: Any) -> bytes:
    """Return the response, and log it, to a request that the server could not read. `kind` is the name of the reason:
    the parser's words quote the request, which may be somebody's chat."""
    from django.core.exceptions import BadRequest
    from django.http import HttpRequest

    from chat.handlers import error_response
    from chat.middleware import RequestIDMiddleware

    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer[0] if peer else ""}  # a Unix socket has none
    response = RequestIDMiddleware(lambda request: error_response(BadRequest(kind), request))(request)
    response["Connection"] = "close"
    head = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n".encode("latin-1")
    return head + response.serialize_headers() + b"\r\n\r\n" + response.content
