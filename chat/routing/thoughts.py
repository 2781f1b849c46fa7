"""A model's thoughts go back to the route that made them, and to no other: their signatures are the vendor's own, and
many a server refuses thoughts that it has no word for. A history that a vendor has shortened and encrypted cannot be
left out as thoughts can, so the chat goes to that provider alone.

Source: the vendors' guides to extended thinking and to encrypted reasoning; a foreign signature is refused with 400.
DeepSeek's guide to thinking mode: the thoughts of a turn that called a tool must come back, or the answer is 400.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.core.cache import cache

from chat.protocols.registry import PROTOCOLS
from chat.types import ChatRequest, Message, Opaque, Part, Route, Thinking

REMEMBERED = 86_400
"""Seconds for which it is remembered which route made a part."""


def remember(route: Route | None, parts: Iterable[Part]) -> None:
    """Remember that `route` has made the thoughts, and what else is encrypted, in `parts`."""
    made = {_key(proof): str(route) for part in parts if (proof := _proof(part))}
    if made and route:
        cache.set_many(made, REMEMBERED)


def sent_home(request: ChatRequest, routes: Sequence[Route]) -> tuple[ChatRequest, tuple[Route, ...]]:
    """Return the request and its routes, with the one first that made the last thoughts, or what else is encrypted, in
    the history: where nobody remembers it, the first that speaks the client's protocol."""
    parts = [part for message in request.messages for part in message.parts]
    made = [part for part in parts if isinstance(part, Thinking) or _proof(part)]
    able = [route for route in routes if request.raw and route.protocol == request.raw.protocol]
    if not made or not able:
        return request, tuple(routes)
    if bound := _maker([part for part in made if isinstance(part, Opaque)], able):
        routes = able = [route for route in able if route.provider.key == bound.provider.key]
    home = _maker(made, able) or able[0]
    others = [route for route in routes if route is not home]
    return replace(request, thinker=str(home)), (home, *others)


def _maker(parts: Sequence[Part], routes: Iterable[Route]) -> Route | None:
    """Return the route that made the last part with a proof, None where nobody remembers it or it is not offered."""
    last = next(filter(None, map(_proof, reversed(parts))), "")
    maker = cache.get(_key(last)) if last else None
    return next((route for route in routes if str(route) == maker), None)


def for_route(request: ChatRequest, route: Route) -> ChatRequest:
    """Return the request as `route` may have it: without any thoughts, where it is not the one that made them."""
    if request.thinker == str(route) or not any(_thinks(message) for message in request.messages):
        return request
    messages = (
        message._replace(parts=tuple(part for part in message.parts if not isinstance(part, Thinking)))
        for message in request.messages
    )
    raw = request.raw and replace(request.raw, body=PROTOCOLS[request.raw.protocol].without_thoughts(request.raw.body))
    return replace(request, messages=tuple(message for message in messages if message.parts), raw=raw)


def _thinks(message: Message) -> bool:
    return any(isinstance(part, Thinking) for part in message.parts)


def _proof(part: Part) -> str:
    """Return the words by which a part's maker is known again, none where anybody could have made it."""
    if isinstance(part, Thinking):
        return part.signature or part.text
    return part.signature if isinstance(part, Opaque) else ""


def _key(proof: str) -> str:
    return f"thought:{hashlib.sha256(proof.encode('utf-8', 'replace')).hexdigest()}"
