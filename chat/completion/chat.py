"""complete_chat(): the one place where the order of things is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from chat.billing import bill, budgets, tokens
from chat.billing.reservations import Reservation
from chat.completion import conversations, reply_cache
from chat.completion.arrival import ServerStopping, Stopwatch, StreamTooLong, next_item
from chat.conf import conf
from chat.exceptions import ProviderError, ProviderRequestRejectedError, UnsupportedParameter
from chat.models import Conversation
from chat.observability.redaction import keep_private
from chat.routing import failover, fitting
from chat.routing.attempts import learn
from chat.types import Answer, ChatMessage, ChatRequest, Delta, Model, Outcome, Route, Start, Tick, Usage

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A checked request. `max_tokens` is the output that the client wants, `most_tokens` a bound that it would not have
    passed; without both the model's default holds. `spelling` has the client's own word for a field where that is
    another than ours. `max_attempts` is the most provider calls that it may cost, None for CHAT_MAX_ATTEMPTS; `keep` is
    called with the answer's fields, in the transaction that charges it if one does; False: do not charge."""

    user: Any
    model: Model
    messages: Sequence[ChatMessage]
    max_tokens: int | None
    request_id: str
    most_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    conversation: Conversation | None = None
    spelling: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int | None = None
    keep: Callable[[dict[str, Any]], bool] | None = None


def complete_chat(chat: Chat) -> Answer:
    """Reserve the tokens, ask the providers, settle the bill. No transaction is held while a provider is waited
    for, and no connection of PostgreSQL's pool.

    Raises `TokenBudgetExceededError` before anything costs money, a `ProviderError` when no provider answered (then
    nothing is charged), `django.db.Error` when the database is away.
    """
    asked = ask(chat)
    reply = asked.outcome.reply
    return whole(asked, reply.text) if reply else stand_in(asked)


def stream_chat(chat: Chat) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield the answer while it arrives: its `Start`, its pieces and the ticks between them, at last the `Answer`.

    Raises before the first item what `complete_chat` raises; later the `ProviderError` that broke the answer off, or
    `ServerStopping`. The bill is settled however the stream ends, by `close()` too, which says that the client has
    left: what had arrived is charged.
    """
    asked = ask(chat, stream=True)
    reply, said, waits = asked.outcome.reply, list[str](), Stopwatch()
    if not reply:
        yield from in_pieces(stand_in(asked))
        return
    ends = time.monotonic() + conf.CHAT_STREAM_MAX
    try:
        yield Start(reply.usage, asked.ignored(), asked.budget_limit())
        while True:
            with waits:
                item = next_item(reply, asked.outcome.provider, ends)
            if item is None:
                break
            if isinstance(item, Delta):
                said.append(item.text)
            yield item
    except BaseException as exc:
        try:
            reply.close()
        finally:
            charged = broken(asked.after(waits.seconds), "".join(said), exc)
        if charged and isinstance(exc, ProviderError | ServerStopping):
            raise exc.but(tokens_charged=charged) from exc
        raise
    answer = whole(asked.after(waits.seconds), "".join(said))
    asked.learn(None)
    yield answer


def in_pieces(answer: Answer) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield an answer that is there already as `stream_chat` does."""
    yield Start(answer.usage, answer.ignored, answer.budget_limit, answer)
    if answer.text:
        yield Delta(answer.text)
    yield answer


def longest(stream: bool) -> float:
    """Return the seconds after which a chat is over, whatever happens."""
    return conf.CHAT_DEADLINE + (conf.CHAT_STREAM_MAX if stream else 0)


@dataclass(frozen=True)
class Asked:
    """A chat whose providers have been asked: what was asked and reserved, and the outcome. `request.max_tokens` are
    those that the answer may have where the budget allows them."""

    chat: Chat
    request: ChatRequest
    prompt_tokens: int
    reservation: Reservation
    started: float
    outcome: Outcome

    def after(self, seconds: float) -> Asked:
        """Return the same after so many more seconds of waiting for the provider."""
        return replace(self, outcome=replace(self.outcome, seconds=self.outcome.seconds + seconds))

    def learn(self, failure: ProviderError | None) -> None:
        """Tell the route's cooldown how the stream ended."""
        if self.outcome.route:
            learn(self.outcome.route, str(self.chat.user.pk), failure)

    def ignored(self) -> tuple[str, ...]:
        """Return the client's fields that an operator has left out for the route that answers, in its spelling."""
        dropped = fitting.left_out(self.request, self.outcome.route) if self.outcome.route else ()
        return tuple(self.chat.spelling.get(name, name) for name in dropped)

    def budget_limit(self) -> int:
        """Return the tokens that the budget, and nobody else, limits the answer to; 0 where it does not."""
        allowed, route = self.reservation.output_tokens, self.outcome.route
        routes_own = route.upstream.max_output_tokens if route else None
        return allowed if allowed < min(self.request.max_tokens, routes_own or allowed + 1) else 0

    def keep_private(self, answer: str) -> None:
        """Keep the words of the chat out of the log."""
        keep_private((*(message.content for message in self.request.messages), answer))

    def counted(self, text: str) -> Usage:
        return bill.counted(self.prompt_tokens, text, self.reservation.output_tokens)

    def cache_key(self) -> str:
        return reply_cache.key(self.chat.user.pk, self.chat.model.name, self.request)

    def answer(self, text: str, usage: Usage) -> Answer:
        reply = self.outcome.reply
        return Answer(
            text,
            usage,
            reply.finish_reason,
            self.outcome.provider,
            usage.total,
            self.chat.model.name,
            self.chat.request_id,
            int(time.time()),
            upstream_model=self.outcome.upstream_model,
            ignored=self.ignored(),
            stop_sequence=reply.stop_sequence,
            budget_limit=self.budget_limit() if reply.finish_reason == "length" else 0,
        )

    def effort(self) -> dict[str, Any]:
        """Return the provider calls made, the milliseconds of waiting for them, and those of our own: of a stream, also
        what its client takes to receive it."""
        ours = time.monotonic() - self.started - self.outcome.seconds
        return {
            "attempts": self.outcome.calls,
            "provider_ms": round(self.outcome.seconds * 1000, 1),
            "overhead_ms": round(ours * 1000, 1),
        }


def ask(chat: Chat, *, stream: bool = False) -> Asked:
    """Reserve the tokens of a chat and ask the providers: the history goes first, and only those routes are asked that
    can do what the request asks."""
    started = time.monotonic()
    request = request_of(chat)
    routes = fitting_routes(chat, request)
    prompt_tokens = tokens.estimate_prompt(request.messages, strict=conf.CHAT_TOKEN_ESTIMATE == "strict")
    reservation = budgets.reserve(
        chat.user,
        request_id=chat.request_id,
        model=chat.model.name,
        prompt_tokens=prompt_tokens,
        max_tokens=chat.max_tokens,
        default_tokens=request.max_tokens,
        seconds=longest(stream),
    )
    budgets.release_connection()
    outcome = failover.route(
        replace(request, max_tokens=reservation.output_tokens),
        routes,
        user=str(chat.user.pk),
        deadline=started + conf.CHAT_DEADLINE,
        max_attempts=min(conf.CHAT_MAX_ATTEMPTS, chat.max_attempts or conf.CHAT_MAX_ATTEMPTS),
        late=partial(budgets.add_uncharged, reservation),
        stream=stream,
    )
    return Asked(chat, request, prompt_tokens, reservation, started, outcome)


def request_of(chat: Chat) -> ChatRequest:
    """Return the request with the conversation's history before it. Raises `ValidationError` where that is full."""
    messages = (*conversations.history(chat.conversation, len(chat.messages)), *chat.messages)
    keep_private(message.content for message in messages)
    bound = min(chat.most_tokens, chat.model.max_output_tokens) if chat.most_tokens else None
    return ChatRequest(
        messages,
        chat.max_tokens or bound or chat.model.default_output_tokens,
        chat.temperature,
        chat.request_id,
        chat.top_p,
        chat.stop,
    )


def fitting_routes(chat: Chat, request: ChatRequest) -> tuple[Route, ...]:
    """Return the routes that can do what is asked. Raises `UnsupportedParameter` where there is none."""
    try:
        return fitting.fit(request, chat.model.routes, chat.max_tokens)
    except UnsupportedParameter as exc:
        raise unsupported(chat, exc.param) from None


def unsupported(chat: Chat, name: str) -> UnsupportedParameter:
    return UnsupportedParameter(chat.spelling.get(name, name), model=chat.model.name)


def whole(asked: Asked, text: str) -> Answer:
    """Settle the bill of an answer that is complete, and keep what is to be kept of it."""
    chat, outcome = asked.chat, asked.outcome
    asked.keep_private(text)
    usage, estimated = bill.believed(outcome.reply.usage, asked.counted(text), text)
    answer = asked.answer(text, usage)
    fields = answer._asdict()
    budgets.settle(
        asked.reservation,
        usage,
        provider=outcome.provider,
        upstream_model=outcome.upstream_model,
        estimated=estimated,
        uncharged=outcome.uncharged,
        also=partial(chat.keep, fields) if chat.keep else None,
    )
    if text.strip():
        reply_cache.put(asked.cache_key(), fields, conversations.name(chat.conversation))
    return completed(asked, answer)


def stand_in(asked: Asked) -> Answer:
    """Give the tokens back, and return the last answer to an identical request where every failure is one that it may
    stand in for. Raises the failure where there is none."""
    chat, outcome, failure = asked.chat, asked.outcome, asked.outcome.failure
    assert failure
    budgets.release(
        asked.reservation, error=type(failure).__name__, provider=outcome.provider, uncharged=outcome.uncharged
    )
    message = reply_cache.may_stand_in(failure, outcome.attempts)
    kept = reply_cache.get(asked.cache_key()) if message else None
    now = {"request_id": chat.request_id, "created": int(time.time())}
    answer = Answer.restored(kept, tokens_used=0, cached=True, message=message, **now) if kept else None
    if answer is None:
        if isinstance(failure, ProviderRequestRejectedError) and failure.param:
            raise unsupported(chat, failure.param) from failure
        # For the error's own line, which is written further up.
        structlog.contextvars.bind_contextvars(**asked.effort())
        raise failure
    if chat.keep:
        chat.keep(answer._asdict())
    asked.keep_private(answer.text)
    return completed(asked, answer)


def broken(asked: Asked, said: str, exc: BaseException) -> int:
    """Settle the bill of a stream that broke off, and return the tokens charged: the prompt, and the tokens reported or
    else counted of what had arrived. The provider broke it (a `ProviderError`), our server or a bug of ours, or the
    client, by leaving (`GeneratorExit`)."""
    outcome, reported = asked.outcome, asked.outcome.reply.usage
    left = isinstance(exc, GeneratorExit)
    reason = "ClientLeft" if left else type(exc).__name__
    asked.keep_private(said)
    if isinstance(exc, ProviderError | ServerStopping) and not said:  # nothing had been delivered
        wasted = outcome.uncharged + (reported.total if reported else 0)
        budgets.release(asked.reservation, error=reason, provider=outcome.provider, uncharged=wasted)
        charged = None
    else:
        counted = asked.counted(said)
        usage, _ = bill.believed(reported, counted, said)
        # Its first report counts no more than the first token of the answer.
        charged = usage._replace(completion_tokens=max(usage.completion_tokens, counted.completion_tokens))
        budgets.settle(
            asked.reservation,
            charged,
            provider=outcome.provider,
            upstream_model=outcome.upstream_model,
            estimated=True,
            uncharged=outcome.uncharged,
            truncated_by=reason,
        )
        log.warning("chat_truncated", reason=reason, **facts(asked.answer(said, charged)), **asked.effort())
    if left:  # it was answering: `began` has left it one failure short of a rest
        asked.learn(None)
    elif isinstance(exc, ProviderError) and not isinstance(exc, StreamTooLong):
        asked.learn(exc)
    return charged.total if charged else 0


def completed(asked: Asked, answer: Answer) -> Answer:
    """Store the exchange in its conversation, log the end of the chat, and return the answer."""
    conversations.store(asked.chat.conversation, asked.chat.messages, answer)
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
    }
