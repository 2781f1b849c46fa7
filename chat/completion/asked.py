"""The values of one chat on its way: what is asked, and what is known once the providers have been asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from chat.billing import budgets, prices, tokens
from chat.completion import reply_cache
from chat.exceptions import ProviderError
from chat.models import Conversation
from chat.observability import metrics, tracing
from chat.observability.redaction import keep_private
from chat.routing import fitting
from chat.routing.attempts import learn
from chat.types import (
    Answer,
    ChatRequest,
    Claim,
    Ending,
    Outcome,
    Part,
    Reservation,
    Settlement,
    Trace,
    Usage,
    Wish,
)


@dataclass(frozen=True, kw_only=True)
class Chat(Wish):
    """A wish of `user`, by the API `face`, with the key whose details have the id `api_key`. `max_attempts` is the most
    provider calls that it may cost, None for CHAT_MAX_ATTEMPTS. `claim` is that of its Idempotency-Key, with which its
    answer is kept. `has_left` and `trace` are as in `ChatRequest`."""

    user: Any
    request_id: str
    face: str = ""
    api_key: Any = None
    conversation: Conversation | None = None
    max_attempts: int | None = None
    claim: Claim | None = None
    has_left: Callable[[], bool] | None = None
    trace: Trace | None = None


@dataclass(frozen=True)
class Asked:
    """A chat whose providers have been asked: what was asked and reserved, and the outcome. `request.max_tokens` are
    those that the answer may have where the budget allows them. `first` is when the first piece of a stream came, on
    the scale of `started`."""

    chat: Chat
    request: ChatRequest
    prompt_tokens: int
    reservation: Reservation
    started: float
    outcome: Outcome
    first: float | None = None

    def after(self, seconds: float, first: float | None) -> Asked:
        """Return the same after so many more seconds of waiting for the provider."""
        return replace(self, outcome=replace(self.outcome, seconds=self.outcome.seconds + seconds), first=first)

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
        each = allowed // self.request.n
        return each if each < min(self.request.max_tokens, routes_own or each + 1) else 0

    def keep_private(self, answer: str) -> None:
        """Keep the words of the chat out of the log."""
        keep_private((*self.request.texts(), *(text for _, text in self.request.unread()), answer))

    def counted(self, text: str) -> Usage:
        return tokens.counted(self.prompt_tokens, text, self.reservation.output_tokens)

    def cache_key(self) -> str:
        return reply_cache.key(self.chat.user.pk, self.chat.model.name, self.request)

    def earlier_answer(self) -> Answer | None:
        """Return the last answer to an identical request, if it may stand in for what came of this one."""
        failure = self.outcome.failure
        message = reply_cache.may_stand_in(failure, self.outcome.attempts) if failure else ""
        kept = reply_cache.get(self.cache_key()) if message else None
        now = {"request_id": self.chat.request_id, "created": int(time.time()), "cost": 0}
        return Answer.restored(kept, tokens_used=0, cached=True, message=message, **now) if kept else None

    def claim(self, answer: Answer | None) -> Claim | None:
        """Return the claim of the Idempotency-Key with the answer to keep, if there are both."""
        return replace(self.chat.claim, answer=answer.kept()) if self.chat.claim and answer else None

    def settle(self, state: Ending, **facts: Any) -> Settlement:
        """Write how the chat ended, count it and tell of it. Raises nothing."""
        chat, ended = self.chat, self.settlement(state, **facts)
        budgets.settle(ended)
        metrics.count(chat.model.name, chat.face, ended)
        tracing.tell(
            chat.trace,
            ended,
            self.outcome.attempts,
            self.started,
            model=chat.model.name,
            face=chat.face,
            request_id=chat.request_id,
            stream=chat.stream,
        )
        return ended

    def settlement(self, state: Ending, **facts: Any) -> Settlement:
        outcome = self.outcome
        facts = {"uncharged": outcome.uncharged} | facts
        return Settlement(
            self.reservation,
            state,
            provider=outcome.provider,
            upstream_model=outcome.upstream_model,
            attempts=[attempt.told(self.started) for attempt in outcome.attempts],
            duration_ms=self.milliseconds(time.monotonic()),
            first_token_ms=None if self.first is None else self.milliseconds(self.first),
            **facts,
        )

    def milliseconds(self, moment: float) -> int:
        """Return the milliseconds from the chat's beginning to `moment`."""
        return round((moment - self.started) * 1000)

    def answer(self, parts: tuple[Part, ...], usage: Usage) -> Answer:
        reply = self.outcome.reply
        return Answer(
            parts,
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
            raw=getattr(reply, "raw", None),
            stop_reason=getattr(reply, "stop_reason", ""),
            cost=prices.cost(self.outcome.route, usage, self.reservation.at),
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
