"""The count of a prompt's tokens, for a client that wants to know it beforehand: it costs nobody anything."""

from __future__ import annotations

import time

import structlog

from chat.billing import tokens
from chat.conf import conf
from chat.exceptions import ProviderError
from chat.observability.redaction import keep_private
from chat.routing import attempts, cooldown, fitting, thoughts
from chat.types import Wish

LONGEST = 5.0
"""Seconds for which a provider is waited for, since our own estimate is there at once."""

log = structlog.get_logger(__name__)


def count_tokens(wish: Wish) -> int:
    """Return the tokens that the model counts for the prompt, by a provider that counts them for free; our estimate
    where there is none, or it fails."""
    keep_private(wish.request.texts())
    request, routes = thoughts.sent_home(wish.request, wish.model.routes)
    began = time.monotonic()
    for route in routes:
        try:
            provider = attempts.provider(route)
            if provider.refuses(request, route.upstream) or cooldown.state(route)["state"] != "available":
                continue
            asked = thoughts.for_route(request, route)
            counted = provider.count_tokens(asked, upstream=route.upstream, timeout=LONGEST)
        except ProviderError as exc:
            seconds = round((time.monotonic() - began) * 1000, 1)
            log.warning("tokens_not_counted", provider=route.provider.key, reason=exc.message, duration_ms=seconds)
            break
        if counted is not None:
            return counted
    words = tokens.estimate_prompt(list(request.texts()), strict=conf.CHAT_TOKEN_ESTIMATE == "strict")
    return fitting.prompt_tokens(request, routes, words)
