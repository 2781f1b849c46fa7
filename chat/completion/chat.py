"""complete_chat(): the one place where the order of things is written."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from chat.billing import budgets, tokens
from chat.completion import conversations, reply_cache
from chat.completion.arrival import next_item
from chat.completion.asked import Asked, Chat
from chat.conf import conf
from chat.exceptions import (
    ProviderError,
    ProviderRequestRejectedError,
    ServerStopping,
    StreamTooLong,
    UnsupportedParameter,
)
from chat.observability import metrics
from chat.observability.redaction import keep_private
from chat.routing import failover, fitting, thoughts
from chat.routing.attempts import Stopwatch
from chat.types import (
    Answer,
    Attempt,
    ChatRequest,
    Delta,
    Part,
    Piece,
    Reservation,
    Route,
    Start,
    Tick,
    Usage,
    joined,
    written_of,
)

log = structlog.get_logger(__name__)


def complete_chat(chat: Chat) -> Answer:
    """Reserve the tokens, ask the providers, settle the bill. No transaction is held while a provider is waited
    for, and no connection of PostgreSQL's pool.

    Raises `TokenBudgetExceededError` before anything costs money, a `ProviderError` when no provider answered (then
    nothing is charged), `django.db.Error` when the database is away.
    """
    asked = ask(chat)
    reply = asked.outcome.reply
    return whole(asked, reply.parts) if reply else stand_in(asked)


def stream_chat(chat: Chat) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield the answer while it arrives: its `Start`, its pieces and the ticks between them, at last the `Answer`.

    Raises before the first item what `complete_chat` raises; later the `ProviderError` that broke the answer off, or
    `ServerStopping`. The bill is settled however the stream ends, by `close()` too, which says that the client has
    left: what had arrived is charged.
    """
    asked = ask(chat, stream=True)
    reply, said, waits = asked.outcome.reply, list[Piece](), Stopwatch()
    first: float | None = None
    if not reply:
        yield from in_pieces(stand_in(asked))
        return
    ends = time.monotonic() + conf.CHAT_STREAM_MAX
    try:
        usage = reply.usage or Usage(asked.prompt_tokens, 0)
        yield Start(usage, asked.ignored(), asked.budget_limit(), verbatim=reply.verbatim)
        while True:
            with waits:
                item = next_item(reply, asked.outcome.provider, ends)
            if item is None:
                break
            if isinstance(item, Delta):
                said.extend(item.pieces)
                first = first or (time.monotonic() if item.pieces else None)
            yield item
    except BaseException as exc:
        try:
            reply.close()
        finally:
            charged = broken(asked.after(waits.seconds, first), joined(said), exc)
        if charged and isinstance(exc, ProviderError | ServerStopping):
            raise exc.but(tokens_charged=charged) from exc
        raise
    answer = whole(asked.after(waits.seconds, first), joined(said))
    asked.learn(None)
    yield answer


def in_pieces(answer: Answer) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield an answer that is there already as `stream_chat` does."""
    yield Start(answer.usage, answer.ignored, answer.budget_limit, answer)
    yield from (Delta((Piece(number, part),)) for number, part in enumerate(answer.parts))
    yield answer


def longest(stream: bool) -> float:
    """Return the seconds after which a chat is over, whatever happens."""
    return conf.CHAT_DEADLINE + (conf.CHAT_STREAM_MAX if stream else 0)


def ask(chat: Chat, *, stream: bool = False) -> Asked:
    """Reserve the tokens of a chat and ask the providers: the history goes first, and only those routes are asked that
    can do what the request asks."""
    started = time.monotonic()
    request = request_of(chat)
    request, routes = thoughts.sent_home(request, fitting_routes(chat, request))
    words = tokens.estimate_prompt(list(request.texts()), strict=conf.CHAT_TOKEN_ESTIMATE == "strict")
    prompt_tokens = fitting.prompt_tokens(request, routes, words)
    reservation = budgets.reserve(
        chat.user,
        request_id=chat.request_id,
        model=chat.model.name,
        prompt_tokens=prompt_tokens,
        max_tokens=chat.max_tokens and chat.max_tokens * request.n,
        default_tokens=request.max_tokens * request.n,
        routes=routes,
        seconds=longest(stream),
        face=chat.face,
        api_key=chat.api_key,
    )
    budgets.release_connection()
    outcome = failover.route(
        replace(request, max_tokens=reservation.output_tokens // request.n),
        routes,
        user=str(chat.user.pk),
        deadline=started + conf.CHAT_DEADLINE,
        max_attempts=min(conf.CHAT_MAX_ATTEMPTS, chat.max_attempts or conf.CHAT_MAX_ATTEMPTS),
        late=partial(late, chat.model.name, reservation),
        stream=stream,
    )
    return Asked(chat, request, prompt_tokens, reservation, started, outcome)


def late(model: str, reservation: Reservation, attempt: Attempt) -> None:
    """Record and count the tokens of a call that was abandoned. For a thread of its own, as `budgets.add_uncharged`."""
    metrics.count_uncharged(model, attempt)
    budgets.add_uncharged(reservation, attempt)


def request_of(chat: Chat) -> ChatRequest:
    """Return the request with the conversation's history before it. Raises `ValidationError` where that is full."""
    wish = chat.request
    if chat.conversation:
        wish = replace(wish, messages=(*conversations.history(chat.conversation, len(wish.messages)), *wish.messages))
    keep_private(wish.texts())
    bound = min(chat.most_tokens, chat.model.max_output_tokens) if chat.most_tokens else None
    most = chat.max_tokens or bound or chat.model.default_output_tokens
    return replace(wish, max_tokens=most, request_id=chat.request_id, has_left=chat.has_left, trace=chat.trace)


def fitting_routes(chat: Chat, request: ChatRequest) -> tuple[Route, ...]:
    """Return the routes that can do what is asked, and that the user's budget can pay for. Raises
    `UnsupportedParameter` or `ModelWithoutPrice` where there is none."""
    try:
        return budgets.payable(chat.user, fitting.fit(request, chat.model.routes, chat.max_tokens))
    except UnsupportedParameter as exc:
        raise unsupported(chat, exc.param) from None


def unsupported(chat: Chat, name: str) -> UnsupportedParameter:
    return UnsupportedParameter(chat.spelling.get(name, name), model=chat.model.name)


def whole(asked: Asked, parts: tuple[Part, ...]) -> Answer:
    """Settle the bill of an answer that is complete, and keep what is to be kept of it."""
    chat, outcome, written = asked.chat, asked.outcome, written_of(parts)
    asked.keep_private(written)
    usage, estimated = tokens.believed(outcome.reply.usage, asked.counted(written), written)
    answer = asked.answer(parts, usage)
    asked.settle("settled", usage=usage, cost=answer.cost, estimated=estimated, claim=asked.claim(answer))
    thoughts.remember(outcome.route, parts)
    if reply_cache.may_keep(answer):
        neutral = answer._replace(raw=None, stop_reason="")  # a client of another API may get it
        reply_cache.put(asked.cache_key(), neutral.kept(), conversations.name(chat.conversation))
    return completed(asked, answer)


def stand_in(asked: Asked) -> Answer:
    """Give the tokens back, and return the last answer to an identical request where every failure is one that it may
    stand in for. Raises the failure where there is none."""
    chat, failure, answer = asked.chat, asked.outcome.failure, asked.earlier_answer()
    assert failure
    error = type(failure).__name__
    asked.settle("released", error=error, cached=answer is not None, claim=asked.claim(answer))
    if answer:
        asked.keep_private(answer.text)
        return completed(asked, answer)
    if isinstance(failure, ProviderRequestRejectedError) and failure.param and not failure.vendor:
        raise unsupported(chat, failure.param) from failure
    # For the error's own line, which is written further up.
    structlog.contextvars.bind_contextvars(**asked.effort())
    raise failure


def broken(asked: Asked, said: tuple[Part, ...], exc: BaseException) -> int:
    """Settle the bill of a stream that broke off, and return the tokens charged: the prompt, and the tokens reported or
    else counted of what had arrived. The provider broke it (a `ProviderError`), our server or a bug of ours, or the
    client, by leaving (`GeneratorExit`)."""
    reported, left = asked.outcome.reply.usage, isinstance(exc, GeneratorExit)
    reason = "ClientLeft" if left else type(exc).__name__
    written = written_of(said)
    asked.keep_private(written)
    if isinstance(exc, ProviderError | ServerStopping) and not said:  # nothing had been delivered
        wasted = asked.outcome.uncharged + (reported.total if reported else 0)
        settlement = asked.settle("released", error=reason, uncharged=wasted)
    else:
        counted = asked.counted(written)
        usage, _ = tokens.believed(reported, counted, written)
        # Its first report counts no more than the first token of the answer.
        usage = usage._replace(completion_tokens=max(usage.completion_tokens, counted.completion_tokens))
        answer = asked.answer(said, usage)
        log.warning("chat_truncated", reason=reason, **facts(answer), **asked.effort())
        settlement = asked.settle("truncated", usage=usage, cost=answer.cost, estimated=True, error=reason)
    if left:  # it was answering: `began` has left it one failure short of a rest
        asked.learn(None)
    elif isinstance(exc, ProviderError) and not isinstance(exc, StreamTooLong):
        asked.learn(exc)
    return settlement.tokens_used


def completed(asked: Asked, answer: Answer) -> Answer:
    """Store the exchange in its conversation, log the end of the chat, and return the answer."""
    conversations.store(asked.chat.conversation, asked.chat.request.messages, answer)
    log.info("chat_completed", cached=answer.cached, **facts(answer), **asked.effort())
    return answer


def facts(answer: Answer) -> dict[str, Any]:
    """Return the facts of an answer that the log has."""
    return {
        "model": answer.model,
        "upstream_model": answer.upstream_model,
        "provider": answer.provider,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "tokens_used": answer.tokens_used,
        "cost": answer.cost,
    }
