"""The user's allowance does not cover the request."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chat.exceptions.base import GenAIException


class BudgetError(GenAIException):
    """The user's allowance does not cover the request."""


class TokenBudgetExceededError(BudgetError):
    """The request needs more tokens than the user's budget has left. All counts are tokens.

    `tokens_reserved` is what chats in flight hold, `prompt_tokens` the prompt's part of the need, `resets_at` when the
    period ends; `can_ever_fit` is False where the request is larger than the whole budget.
    """

    def __init__(
        self,
        user_id: Any,
        tokens_used: int,
        tokens_limit: int,
        tokens_needed: int | None = None,
        *,
        tokens_reserved: int = 0,
        prompt_tokens: int = 0,
        resets_at: datetime | None = None,
        can_ever_fit: bool = True,
    ) -> None:
        message = f"Token budget exceeded. User {user_id} has used {tokens_used}/{tokens_limit} tokens."
        if tokens_needed is not None:
            message += f" Current request needs {tokens_needed} more."
        super().__init__(message)
        self.user_id = user_id
        self.tokens_used = tokens_used
        self.tokens_limit = tokens_limit
        self.tokens_needed = tokens_needed
        self.tokens_reserved = tokens_reserved
        self.prompt_tokens = prompt_tokens
        self.resets_at = resets_at
        self.can_ever_fit = can_ever_fit

    @property
    def tokens_remaining(self) -> int:
        """Return the tokens that a request could still reserve; never negative, also after the limit was lowered."""
        return max(0, self.tokens_limit - self.tokens_used - self.tokens_reserved)


class MoneyBudgetExceededError(TokenBudgetExceededError):
    """The request may cost more than the user's budget has left. Costs are nano-dollars.

    The tokens are a translation: those used in the period, and as the limit what else the money that is left would pay
    for of this very request. `longest_ever` is the longest answer that the whole budget would pay for.
    """

    def __init__(
        self,
        *args: Any,
        cost_used: int,
        cost_limit: int,
        cost_needed: int,
        cost_reserved: int = 0,
        longest_ever: int = 0,
        **facts: Any,
    ) -> None:
        super().__init__(*args, **facts)
        self.message = f"Budget exceeded. User {self.user_id} has used {cost_used}/{cost_limit} nano-dollars."
        self.cost_used = cost_used
        self.cost_limit = cost_limit
        self.cost_needed = cost_needed
        self.cost_reserved = cost_reserved
        self.longest_ever = longest_ever

    @property
    def cost_remaining(self) -> int:
        """Return the money that a request could still reserve; never negative."""
        return max(0, self.cost_limit - self.cost_used - self.cost_reserved)


class ModelWithoutPrice(BudgetError):
    """The user's budget is in money, and none of the model's routes has a known price."""

    def __init__(self, user_id: Any, routes: list[str]) -> None:
        super().__init__(f"User {user_id} has a budget in money, and there is no price of {', '.join(routes)}.")
        self.user_id = user_id
        self.routes = routes


class RateLimitExceededError(BudgetError):
    """More than `limit` requests in this window, which ends in `reset_in` seconds."""

    def __init__(self, limit: int, reset_in: int, user_id: Any = None) -> None:
        super().__init__(f"Rate limit of {limit} requests exceeded by user {user_id}; resets in {reset_in} s.")
        self.limit = limit
        self.reset_in = reset_in
        self.user_id = user_id


class TooManyAttempts(RateLimitExceededError):
    """Too many passwords or keys were tried from one address or for one name."""


class TooManyConcurrentRequests(BudgetError):
    """The user has `limit` chats in flight, which is as many as they may."""

    def __init__(self, limit: int) -> None:
        super().__init__("The user has CHAT_MAX_IN_FLIGHT_PER_USER chats in flight.")
        self.limit = limit
