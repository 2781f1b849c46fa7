"""The last good answer to an identical request of the same user, for the time when every provider fails."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import structlog
from django.core.cache import cache

from chat.conf import conf
from chat.providers.base import ChatRequest

log = structlog.get_logger(__name__)


def key(user_id: Any, model: str, request: ChatRequest) -> str:
    """Identical means: the same user, model, messages, and all that has a say in the answer."""
    sampling = [float(request.temperature), request.top_p, request.stop]
    canonical = json.dumps([str(user_id), model, request.messages, request.max_tokens, *sampling])
    return "reply:" + hashlib.sha256(canonical.encode()).hexdigest()


def put(reply_key: str, answer: dict[str, Any]) -> None:
    """Keep `answer` for REPLY_CACHE_TTL seconds; 0 keeps nothing."""
    if conf.REPLY_CACHE_TTL <= 0:
        return
    try:
        cache.set(reply_key, answer, timeout=conf.REPLY_CACHE_TTL)
    except Exception as exc:  # the answer is paid for and goes out all the same
        log.error("reply_not_cached", exc_info=exc)


def get(reply_key: str) -> dict[str, Any] | None:
    """The kept answer, if there is one."""
    if conf.REPLY_CACHE_TTL <= 0:
        return None
    answer: dict[str, Any] | None = cache.get(reply_key)
    return answer
