"""The fields of a chat that not every model takes: which of them go out, and which stand against a route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chat.types import ChatRequest, Upstream

ASKS_FOR_NOTHING: Mapping[str, Any] = {"temperature": 1, "top_p": 1}
"""The vendors' own defaults. A field with this value may be left out where a model does not take the field."""

Takes = Callable[[str, Mapping[str, Any], Upstream], bool]
"""See `Protocol.takes`."""


def refused(request: ChatRequest, upstream: Upstream, takes: Takes) -> str:
    """Return the first field of `request` that `upstream` cannot take, or ""."""
    asked = _asked(request, upstream)
    lost = (
        n for n, value in asked.items() if not _takes(n, asked, upstream, takes) and value != ASKS_FOR_NOTHING.get(n)
    )
    return next(lost, "")


def to_send(request: ChatRequest, upstream: Upstream, takes: Takes) -> dict[str, Any]:
    """Return the optional fields to send, by our names: the client's, and an operator's temperature without any."""
    asked = _asked(request, upstream)
    sent = {name: value for name, value in asked.items() if _takes(name, asked, upstream, takes)}
    default = {"temperature": upstream.temperature}
    if upstream.temperature is None or asked.keys() & ASKS_FOR_NOTHING.keys():
        return sent
    return sent | default if _takes("temperature", asked | default, upstream, takes) else sent


def _asked(request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
    return {name: value for name, value in request.optional().items() if name not in upstream.drop}


def _takes(name: str, asked: Mapping[str, Any], upstream: Upstream, takes: Takes) -> bool:
    said = upstream.takes.get(name)
    return takes(name, asked, upstream) if said is None else said
