"""What of a chat not every route can do: which fields go out, and which stand against a route."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from chat.types import HINT, LISTED, STORED, ChatRequest, Need, Upstream

ASKS_FOR_NOTHING: Mapping[str, Any] = {"temperature": 1, "top_p": 1}
"""The vendors' own defaults. A field with this value may be left out where a model does not take the field."""


HIDDEN = 4
"""Characters that count as a token: about as many as of plain text."""
HIDDEN_AUDIO = 256
"""Characters of base64 that count as a token of audio: a second has ten tokens, and 5,000 characters at the least."""


class Takes(typing.Protocol):
    """See `Protocol.takes`."""

    def __call__(self, name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool: ...


class Ability(typing.Protocol):
    """What decides whether a route can do what is asked: a `Protocol`, or a provider that has none."""

    @property
    def NAME(self) -> str: ...

    @property
    def CARRIES(self) -> frozenset[str]: ...

    @property
    def takes(self) -> Takes: ...


def refused(request: ChatRequest, upstream: Upstream, protocol: Ability) -> str:
    """Return the first field of `request` that `upstream` cannot take, or ""."""
    asked = _asked(request, upstream) | {"max_tokens": request.max_tokens}
    verbatim = request.is_verbatim(protocol.NAME)
    for name, value in asked.items():
        if not _takes(name, asked, upstream, protocol.takes, verbatim) and value != ASKS_FOR_NOTHING.get(name):
            return name
    return _unmet(request, upstream, protocol, verbatim) if request.needs else ""


def _unmet(request: ChatRequest, upstream: Upstream, protocol: Ability, verbatim: bool) -> str:
    """Return the path of the first need that `upstream` cannot meet, or ""."""
    for need in request.needs:
        if need.kind == HINT or (need.name in upstream.drop and _can_drop(need, verbatim)):
            continue
        if need.kind == STORED:
            met = upstream.allow_stored
        elif upstream.takes.get(need.name):
            met = True
        else:
            met = need.kind != LISTED and (verbatim or need.kind in protocol.CARRIES)
        if not met:
            return need.path
    return ""


def hidden_tokens(request: ChatRequest) -> int:
    """Return about the tokens of what goes on in the client's own body and nobody reads here."""
    return sum(-(-len(text) // (HIDDEN_AUDIO if kind == "audio" else HIDDEN)) for kind, text in request.unread())


def _can_drop(need: Need, verbatim: bool) -> bool:
    """Return whether an operator's word leaves it out: of the client's own body that goes for whole fields only."""
    return not verbatim or need.path == need.name


def accepted(request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
    """Return the fields of another protocol that an operator says `upstream` takes under the same names."""
    named = {need.path: need for need in request.needs if need.path == need.name}
    return {name: need.value for name, need in named.items() if upstream.takes.get(name)}


def to_send(request: ChatRequest, upstream: Upstream, takes: Takes, *, verbatim: bool) -> dict[str, Any]:
    """Return the optional fields to send, by our names: the client's, and an operator's temperature without any."""
    asked = _asked(request, upstream)
    sent = {name: value for name, value in asked.items() if _takes(name, asked, upstream, takes, verbatim)}
    default = {"temperature": upstream.temperature}
    if upstream.temperature is None or asked.keys() & ASKS_FOR_NOTHING.keys():
        return sent
    return sent | default if _takes("temperature", asked | default, upstream, takes, verbatim) else sent


def passed_on(
    request: ChatRequest, upstream: Upstream, sent: Mapping[str, Any], spelling: Mapping[str, str]
) -> dict[str, Any]:
    """Return the client's own body as a new one, without what an operator leaves out and what this model does not take
    of the fields that ask for nothing. `sent` is what `to_send` says; `spelling` has the format's words for our names.
    """
    assert request.raw
    asked = {spelling.get(name, name) for name in request.optional()} - {spelling.get(name, name) for name in sent}
    left_out = {spelling.get(name, name) for name in upstream.drop} | asked
    return {name: value for name, value in request.raw.body.items() if name not in left_out and value is not None}


def _asked(request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
    asked = request.optional()
    return {name: value for name, value in asked.items() if name not in upstream.drop} if upstream.drop else asked


def _takes(name: str, asked: Mapping[str, Any], upstream: Upstream, takes: Takes, verbatim: bool) -> bool:
    said = upstream.takes.get(name)
    return takes(name, asked, upstream, verbatim=verbatim) if said is None else said
