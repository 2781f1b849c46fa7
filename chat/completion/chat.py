"""complete_chat(): the one place where the order of things is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog
from django.utils.crypto import salted_hmac

from chat.billing import bill, budgets, tokens
from chat.completion import conversations, reply_cache
from chat.completion.arrival import ServerStopping, StreamTooLong, next_item
from chat.conf import conf
from chat.exceptions import ProviderError, ProviderRequestRejectedError, UnsupportedParameter
from chat.models import Conversation
from chat.observability.redaction import keep_private
from chat.providers.base import ChatStream
from chat.routing import failover, fitting
from chat.routing.attempts import stream_ended
from chat.types import Answer, ChatMessage, ChatReply, ChatRequest, Delta, Model, Route, Start, Tick, Usage

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
    running = _Running(chat)
    reply = running.ask()
    if isinstance(reply, Answer):
        return reply
    return running.whole(reply.text, reply)


def stream_chat(chat: Chat) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield the answer while it arrives: its `Start`, its pieces and the ticks between them, at last the `Answer`.

    Raises before the first item what `complete_chat` raises; later the `ProviderError` that broke the answer off, or
    `ServerStopping`. The bill is settled however the stream ends, by `close()` too, which says that the client has
    left: what had arrived is charged.
    """
    running = _Running(chat, stream=True)
    reply = running.ask()
    if isinstance(reply, Answer):
        yield from in_pieces(reply)
        return
    said: list[str] = []
    ends = time.monotonic() + conf.CHAT_STREAM_MAX
    try:
        yield Start(reply.usage, running.ignored(), running.budget_limit())
        while item := running.next(reply, ends):
            if isinstance(item, Delta):
                said.append(item.text)
            yield item
    except BaseException as exc:
        try:
            reply.close()
        finally:
            running.broken("".join(said), reply, None if isinstance(exc, GeneratorExit) else exc)
        raise
    yield running.whole("".join(said), reply)


def in_pieces(answer: Answer) -> Generator[Start | Delta | Tick | Answer, None, None]:
    """Yield an answer that is there already as `stream_chat` does."""
    yield Start(answer.usage, answer.ignored, answer.budget_limit, answer)
    if answer.text:
        yield Delta(answer.text)
    yield answer


def longest(stream: bool) -> float:
    """Seconds after which a chat is over, whatever happens."""
    return conf.CHAT_DEADLINE + (conf.CHAT_STREAM_MAX if stream else 0)


class _Running:
    """A chat whose tokens are reserved, until it is settled or released."""

    def __init__(self, chat: Chat, *, stream: bool = False) -> None:
        self.chat, self.stream, self.started = chat, stream, time.monotonic()
        self.prompt = (*conversations.history(chat.conversation, len(chat.messages)), *chat.messages)
        self._keep_private()
        pseudonym = salted_hmac("chat.pseudonym", str(chat.user.pk), algorithm="sha256").hexdigest()
        self.request = ChatRequest(
            self.prompt, self._wanted(), chat.temperature, chat.request_id, chat.top_p, chat.stop, pseudonym
        )
        self.routes = self._fitting_routes()
        self.prompt_tokens = tokens.estimate_prompt(self.prompt, strict=conf.CHAT_TOKEN_ESTIMATE == "strict")
        self.reservation = budgets.reserve(
            chat.user,
            request_id=chat.request_id,
            model=chat.model.name,
            prompt_tokens=self.prompt_tokens,
            max_tokens=chat.max_tokens,
            default_tokens=self._wanted(),
            seconds=longest(stream),
        )
        self.course = failover.Course(abandoned=partial(budgets.add_uncharged, self.reservation))

    def ask(self) -> Any:
        """Return the providers' reply, or the `Answer` that stands in for it; without, release and raise."""
        most = self.chat.max_attempts or conf.CHAT_MAX_ATTEMPTS
        try:
            budgets.release_connection()
            return failover.run(
                replace(self.request, max_tokens=self.reservation.output_tokens),
                self.routes,
                user=str(self.chat.user.pk),
                deadline=self.started + conf.CHAT_DEADLINE,
                max_attempts=min(conf.CHAT_MAX_ATTEMPTS, most),
                course=self.course,
                stream=self.stream,
            )
        except BaseException as exc:
            # Whatever it was, a bug of ours or a killed worker thread included: no answer, so nothing to pay.
            budgets.release(
                self.reservation,
                error=type(exc).__name__,
                provider=getattr(exc, "provider", ""),
                uncharged=self.course.uncharged_tokens,
            )
            answer = self._cached(exc)
            if isinstance(exc, ProviderRequestRejectedError) and exc.param:
                raise self._unsupported(exc.param) from exc
            if answer is None:
                # For the error's own line, which is written further up.
                structlog.contextvars.bind_contextvars(**self._effort())
                raise
        if self.chat.keep:
            self.chat.keep(answer._asdict())
        self._completed(answer)
        return answer

    def next(self, reply: ChatStream, ends: float) -> Delta | Tick | None:
        """See `next_item`; the wait is the provider's."""
        began = time.monotonic()
        try:
            return next_item(reply, self.course.provider, ends)
        finally:
            self.course.waited(time.monotonic() - began)

    def ignored(self) -> tuple[str, ...]:
        """Return the client's fields that an operator has left out for the route that answers, in its spelling."""
        if not self.course.answered:
            return ()
        dropped = fitting.left_out(self.request, self.course.answered.route)
        return tuple(self.chat.spelling.get(name, name) for name in dropped)

    def whole(self, text: str, reply: ChatReply | ChatStream) -> Answer:
        """Settle the bill of an answer that is complete, and keep what is to be kept of it."""
        self._keep_private(text)
        usage, estimated = bill.believed(reply.usage, self._counted(text), text)
        answer = self._answer(text, usage, reply.finish_reason, reply.stop_sequence)
        fields = answer._asdict()
        budgets.settle(
            self.reservation,
            usage,
            provider=self.course.provider,
            upstream_model=self.course.upstream_model,
            estimated=estimated,
            uncharged=self.course.uncharged_tokens,
            also=partial(self.chat.keep, fields) if self.chat.keep else None,
        )
        if self.stream:
            self._stream_ended(None)
        if text.strip():
            reply_cache.put(self._cache_key(), fields, conversations.name(self.chat.conversation))
        self._completed(answer)
        return answer

    def broken(self, said: str, reply: ChatStream, exc: BaseException | None) -> None:
        """Charge what had arrived of a stream when it broke: the prompt, and the tokens reported or else counted. The
        provider broke it (a `ProviderError`), our server or a bug of ours, or the client, by leaving (None)."""
        self._keep_private(said)
        if isinstance(exc, ProviderError | ServerStopping) and not said:
            self._never_came(exc, reply.usage)
            return
        counted = self._counted(said)
        usage, _ = bill.believed(reply.usage, counted, said)
        # Its first report counts no more than the first token of the answer.
        usage = usage._replace(completion_tokens=max(usage.completion_tokens, counted.completion_tokens))
        reason = type(exc).__name__ if exc else "ClientLeft"
        budgets.settle(
            self.reservation,
            usage,
            provider=self.course.provider,
            upstream_model=self.course.upstream_model,
            estimated=True,
            uncharged=self.course.uncharged_tokens,
            truncated_by=reason,
        )
        if isinstance(exc, ProviderError | ServerStopping):
            exc.tokens_charged = usage.total
        if isinstance(exc, ProviderError) and not isinstance(exc, StreamTooLong):
            self._stream_ended(exc)
        elif exc is None:  # it was answering: `began` has left it one failure short of a rest
            self._stream_ended(None)
        log.warning("chat_truncated", reason=reason, **self._facts(self._answer(said, usage, None)), **self._effort())

    def _never_came(self, exc: Exception, billed: Usage | None) -> None:
        """Release a stream that broke before any text: nothing had been delivered."""
        budgets.release(
            self.reservation,
            error=type(exc).__name__,
            provider=self.course.provider,
            uncharged=self.course.uncharged_tokens + (billed.total if billed else 0),
        )
        if isinstance(exc, ProviderError) and not isinstance(exc, StreamTooLong):
            self._stream_ended(exc)

    def _keep_private(self, *answer: str) -> None:
        keep_private((*(message.content for message in self.prompt), *answer))

    def _wanted(self) -> int:
        """Return the tokens that the answer may have where the budget allows them."""
        chat = self.chat
        bound = min(chat.most_tokens, chat.model.max_output_tokens) if chat.most_tokens else None
        return chat.max_tokens or bound or chat.model.default_output_tokens

    def budget_limit(self) -> int:
        """Return the tokens that the budget, and nobody else, limits the answer to; 0 where it does not."""
        allowed, answered = self.reservation.output_tokens, self.course.answered
        routes_own = answered.route.upstream.max_output_tokens if answered else None
        return allowed if allowed < min(self._wanted(), routes_own or allowed + 1) else 0

    def _counted(self, text: str) -> Usage:
        return bill.counted(self.prompt_tokens, text, self.reservation.output_tokens)

    def _fitting_routes(self) -> tuple[Route, ...]:
        try:
            return fitting.fit(self.request, self.chat.model.routes, self.chat.max_tokens)
        except UnsupportedParameter as exc:
            raise self._unsupported(exc.param) from None

    def _unsupported(self, name: str) -> UnsupportedParameter:
        return UnsupportedParameter(self.chat.spelling.get(name, name), model=self.chat.model.name)

    def _answer(self, text: str, usage: Usage, finish_reason: Any, stop_sequence: str = "") -> Answer:
        return Answer(
            text,
            usage,
            finish_reason,
            self.course.provider,
            usage.total,
            self.chat.model.name,
            self.chat.request_id,
            int(time.time()),
            upstream_model=self.course.upstream_model,
            ignored=self.ignored(),
            stop_sequence=stop_sequence,
            budget_limit=self.budget_limit() if finish_reason == "length" else 0,
        )

    def _cache_key(self) -> str:
        return reply_cache.key(self.chat.user.pk, self.chat.model.name, self.request)

    def _cached(self, exc: BaseException) -> Answer | None:
        """The last answer to an identical request, where every failure that led to `exc` is one it may stand in for."""
        message = reply_cache.CACHED_BECAUSE.get(type(exc))
        excused = all(type(failure) in reply_cache.CACHED_BECAUSE for failure in self.course.last_failures())
        kept = reply_cache.get(self._cache_key()) if message and excused else None
        if kept is None:
            return None
        now = {"request_id": self.chat.request_id, "created": int(time.time())}
        return Answer.restored(kept, tokens_used=0, cached=True, message=message, **now)

    def _stream_ended(self, failure: ProviderError | None) -> None:
        if self.course.answered:
            stream_ended(self.course.answered, failure)

    def _completed(self, answer: Answer) -> None:
        self._keep_private(answer.text)
        conversations.store(self.chat.conversation, self.chat.messages, answer)
        log.info("chat_completed", cached=answer.cached, **self._facts(answer), **self._effort())

    def _facts(self, answer: Answer) -> dict[str, Any]:
        return {
            "model": answer.model,
            "upstream_model": answer.upstream_model,
            "provider": answer.provider,
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "tokens_used": answer.tokens_used,
        }

    def _effort(self) -> dict[str, Any]:
        """The provider calls made, the milliseconds of waiting for them, and those of our own: of a stream, also what
        its client takes to receive it."""
        total = time.monotonic() - self.started
        return {
            "attempts": self.course.attempts,
            "provider_ms": round(self.course.provider_seconds * 1000, 1),
            "overhead_ms": round((total - self.course.provider_seconds) * 1000, 1),
        }
