"""complete_chat(): the one place where the order of things is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.db import transaction

from chat import budgets, failover, reply_cache, tokens
from chat.catalogue import Model
from chat.conf import conf
from chat.exceptions import ProviderRateLimitError, ProviderTimeoutError, ProviderUnavailableError
from chat.models import Conversation, Message
from chat.providers.base import ChatMessage, ChatRequest, FinishReason, Usage
from chat.redaction import keep_private

CACHED_BECAUSE: dict[type[BaseException], str] = {
    ProviderTimeoutError: "LLM is slow, showing cached response",
    ProviderUnavailableError: "LLM is unavailable, showing cached response",
    ProviderRateLimitError: "LLM is busy, showing cached response",
}
"""The failures in which an earlier answer to the same request is served, and what the user is told."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a chat came to. `tokens_used` is what the budget was charged; `message` says why it is a cached one."""

    text: str
    usage: Usage
    finish_reason: FinishReason
    provider: str
    tokens_used: int
    cached: bool = False
    message: str = ""


def complete_chat(
    *,
    user: Any,
    model: Model,
    messages: Sequence[ChatMessage],
    temperature: float,
    max_tokens: int | None,
    request_id: str,
    conversation: Conversation | None = None,
    max_attempts: int | None = None,
) -> Answer:
    """Reserve the tokens, ask the providers, settle the bill. No transaction and no database connection is held while
    a provider is waited for.

    Raises `TokenBudgetExceededError` before anything costs money, a `ProviderError` when no provider answered (then
    nothing is charged), `django.db.Error` when the database is away.
    """
    started = time.monotonic()
    prompt = (*_history(conversation), *messages)
    keep_private(message.content for message in prompt)
    prompt_tokens = tokens.estimate_prompt(prompt, strict=conf.CHAT_TOKEN_ESTIMATE == "strict")
    identity = ChatRequest(prompt, max_tokens or model.default_output_tokens, temperature)
    reservation = budgets.reserve(
        user,
        request_id=request_id,
        model=model.name,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        default_tokens=model.default_output_tokens,
    )
    budgets.release_connection()
    request = ChatRequest(prompt, reservation.output_tokens, temperature, request_id)
    course = failover.Course(abandoned=lambda spent: budgets.add_uncharged(reservation, spent))
    try:
        reply = failover.run(
            request,
            model.routes,
            deadline=started + conf.CHAT_DEADLINE,
            max_attempts=min(conf.CHAT_MAX_ATTEMPTS, max_attempts or conf.CHAT_MAX_ATTEMPTS),
            course=course,
        )
    except BaseException as exc:
        # Whatever it was, a bug of ours or a killed worker thread included: the user got no answer and pays nothing.
        budgets.release(
            reservation,
            error=type(exc).__name__,
            provider=getattr(exc, "provider", ""),
            uncharged=course.uncharged_tokens,
        )
        answer = _cached(exc, course, reply_cache.key(user.pk, model.name, identity))
        if answer is None:
            # For the error's own line, which is written further up.
            structlog.contextvars.bind_contextvars(**_effort(course, started))
            raise
        keep_private((*(message.content for message in prompt), answer.text))
    else:
        usage = reply.usage or Usage(prompt_tokens, tokens.estimate_text(reply.text))
        keep_private((*(message.content for message in prompt), reply.text))
        budgets.settle(
            reservation,
            usage,
            provider=course.provider,
            estimated=reply.usage is None,
            uncharged=course.uncharged_tokens,
        )
        answer = Answer(reply.text, usage, reply.finish_reason, course.provider, usage.total)
        reply_cache.put(reply_cache.key(user.pk, model.name, identity), asdict(answer))
    _store(conversation, messages, answer)
    log.info(
        "chat_completed",
        model=model.name,
        provider=answer.provider,
        cached=answer.cached,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        tokens_used=answer.tokens_used,
        **_effort(course, started),
    )
    return answer


def _history(conversation: Conversation | None) -> list[ChatMessage]:
    if conversation is None:
        return []
    return [ChatMessage(role, content) for role, content in conversation.messages.values_list("role", "content")]


def _cached(exc: BaseException, course: failover.Course, key: str) -> Answer | None:
    """The last answer to an identical request, where every failure that led to `exc` is one it may stand in for."""
    message = CACHED_BECAUSE.get(type(exc))
    excused = all(type(failure) in CACHED_BECAUSE for failure in course.last_failures())
    kept = reply_cache.get(key) if message and excused else None
    if kept is None:
        return None
    kept["usage"] = Usage(*kept["usage"])
    return Answer(**kept | {"tokens_used": 0, "cached": True, "message": message})


def _store(conversation: Conversation | None, messages: Sequence[ChatMessage], answer: Answer) -> None:
    """Add the exchange to the conversation. Should that fail, the answer is paid for and still goes out.

    A content-filtered answer may be empty; with an empty turn in its history, providers would refuse every later chat.
    """
    if conversation is None or not answer.text.strip():
        return
    turns = [*messages, ChatMessage("assistant", answer.text)]
    try:
        with transaction.atomic():
            Message.objects.bulk_create(Message(conversation=conversation, **turn._asdict()) for turn in turns)
    except Exception as exc:  # whatever it is, it must not cost the user the answer
        log.error("conversation_not_stored", conversation_id=str(conversation.pk), exc_info=exc)


def _effort(course: failover.Course, started: float) -> dict[str, Any]:
    """For the log: the provider calls made, the milliseconds of waiting for them, and the milliseconds of our own."""
    total = time.monotonic() - started
    return {
        "attempts": course.attempts,
        "provider_ms": round(course.provider_seconds * 1000, 1),
        "overhead_ms": round((total - course.provider_seconds) * 1000, 1),
    }
