"""The last good answer to an identical request of the same user, for the time when every provider fails.

Answers are written by a thread of their own, many at a time: nobody waits for that, and a chat costs one round trip
to Redis less.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import structlog
from django.core.cache import cache, caches

from chat.conf import conf
from chat.exceptions import ProviderRateLimitError, ProviderTimeoutError, ProviderUnavailableError
from chat.types import Answer, Attempt, ChatRequest, Text

GATHER = 0.05
"""Seconds for which answers are gathered before they are written. Those of a process that is killed are lost."""

CACHED_BECAUSE: dict[type[BaseException], str] = {
    ProviderTimeoutError: "LLM is slow, showing cached response",
    ProviderUnavailableError: "LLM is unavailable, showing cached response",
    ProviderRateLimitError: "LLM is busy, showing cached response",
}
"""The failures in which an earlier answer to the same request is served, and what the user is told."""

log = structlog.get_logger(__name__)
_unwritten: SimpleQueue[tuple[str, dict[str, Any], str]] = SimpleQueue()
_awaited = threading.Event()
_writing = threading.Lock()
_writer: threading.Thread | None = None


def key(user_id: Any, model: str, request: ChatRequest) -> str:
    """Identical means: the same user, model, messages, and all that has a say in the answer."""
    temperature = None if request.temperature is None else float(request.temperature)
    sampling = [temperature, request.top_p, request.stop]
    further = [request.tools, request.choice, request.format, request.effort, request.n, request.needs]
    asked = [str(user_id), model, request.messages, request.max_tokens, *sampling, *(further if any(further) else ())]
    canonical = json.dumps(asked)
    return f"reply:{user_id}:" + hashlib.sha256(canonical.encode()).hexdigest()


def may_keep(answer: Answer) -> bool:
    """Return whether an answer may stand in later: one that says something, and nothing but text. A call that is made
    again would be carried out again."""
    return bool(answer.text.strip()) and all(isinstance(part, Text) for part in answer.parts)


def may_stand_in(failure: BaseException, attempts: Iterable[Attempt]) -> str:
    """Return what to tell the user with an earlier answer; "" where none may stand in, since some attempt failed in
    another way."""
    names = {kind.__name__ for kind in CACHED_BECAUSE}
    return CACHED_BECAUSE.get(type(failure), "") if all(attempt.reason in names for attempt in attempts) else ""


def put(reply_key: str, answer: dict[str, Any], conversation_id: str = "") -> None:
    """Keep `answer` for REPLY_CACHE_TTL seconds, or until its conversation is forgotten; 0 seconds keep nothing."""
    if conf.REPLY_CACHE_TTL <= 0:
        return
    _unwritten.put((reply_key, answer, conversation_id))
    if _writer is None or not _writer.is_alive():  # a process that has just forked has none, either
        _begin()
    if not _awaited.is_set():
        _awaited.set()


def get(reply_key: str) -> dict[str, Any] | None:
    """Return the kept answer, if there is one."""
    if conf.REPLY_CACHE_TTL <= 0:
        return None
    flush()
    answer: dict[str, Any] | None = caches["replies"].get(reply_key)
    return answer


def flush() -> None:
    """Write what this process has not written yet."""
    with _writing:
        answers, owned = {}, []
        try:
            while True:
                reply_key, answer, conversation_id = _unwritten.get_nowait()
                answers[reply_key] = answer
                owned += [(conversation_id, reply_key)] if conversation_id else []
        except Empty:
            pass
        if not answers:
            return
        try:
            for conversation_id, reply_key in owned:
                _note(conversation_id, reply_key)
            caches["replies"].set_many(answers, timeout=conf.REPLY_CACHE_TTL)
        except Exception as exc:  # whose words may quote an answer, and this thread knows none of its chat's secrets
            log.error("reply_not_cached", reason=type(exc).__name__)


def forget(*conversation_ids: str) -> None:
    """Delete the answers that were given in these conversations."""
    flush()
    counters = cache.get_many(map(_counter, conversation_ids))
    entries = [f"{counter}:{number}" for counter, last in counters.items() for number in range(1, last + 1)]
    if counters:
        caches["replies"].delete_many(cache.get_many(entries).values())
        cache.delete_many([*counters, *entries])


def of_user(user_id: Any) -> Iterator[dict[str, Any]]:
    """Yield a user's answers that are in Redis, going through all that is in it."""
    if "redis" in caches.settings:
        redis: Any = caches["redis"]
        yield from filter(None, map(redis.get, redis.iter_keys(f"reply:{user_id}:*")))


def forget_user(user_id: Any) -> None:
    """Delete a user's answers from Redis, going through all that is in it. Where there is none, each server's memory
    forgets them with time."""
    flush()
    if "redis" in caches.settings:
        redis: Any = caches["redis"]
        redis.delete_pattern(f"reply:{user_id}:*")


def _note(conversation_id: str, reply_key: str) -> None:
    """Add the key to the conversation's, which are numbered: processes that write at once take a number each."""
    counter = _counter(conversation_id)
    cache.add(counter, 0, timeout=conf.REPLY_CACHE_TTL)
    cache.touch(counter, timeout=conf.REPLY_CACHE_TTL)
    cache.set(f"{counter}:{cache.incr(counter)}", reply_key, timeout=conf.REPLY_CACHE_TTL)


def _counter(conversation_id: str) -> str:
    return f"replies-of:{conversation_id}"


def _begin() -> None:
    global _writer
    with _writing:
        if _writer is None or not _writer.is_alive():
            _writer = threading.Thread(target=_write, name="reply cache", daemon=True)
            _writer.start()


def _write() -> None:
    while _awaited.wait():
        _awaited.clear()
        time.sleep(GATHER)
        flush()
