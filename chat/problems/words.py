"""The words of single rows, where they depend on the exception. Nothing here quotes an exception's `message`, which is
for the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from chat import exceptions as tree
from chat.routing import catalogue
from chat.types import ALL_PROVIDERS, SIMULATOR, SMALLEST_ANSWER
from chat.types.money import shown

HELD = 5
"""Seconds after which tokens that chats in flight hold may have come back."""
LONGEST_ECHO = 200
"""Characters of the client's own input that an error repeats."""


def _who(exc: Any) -> str:
    if exc.provider == ALL_PROVIDERS:
        return "Every provider of this model"
    entry = catalogue.current().providers.get(exc.provider)
    return entry.name if entry else "The simulator" if exc.provider == SIMULATOR else "The provider"


NONE_OF_THEM = "None of this model's providers"


def of_the_provider(text: str) -> Callable[[Any], str]:
    """Return the writer of a message; of all providers, a "cannot" is that none of them can."""
    of_none = text.replace("{who} cannot", NONE_OF_THEM + " can").replace("{who} did not", NONE_OF_THEM + " did")
    return lambda exc: (of_none if exc.provider == ALL_PROVIDERS else text).format(
        who=_who(exc), bill=bill(exc), wait=max(1, math.ceil(exc.wait))
    )


def bill(exc: Any) -> str:
    """Return what the user paid, in words."""
    if exc.tokens_charged:
        return f"The answer broke off; what had arrived is charged, {exc.tokens_charged} tokens"
    return "Nothing was charged"


def is_held(exc: tree.TokenBudgetExceededError) -> bool:
    """Return whether chats in flight hold what is missing: it may come back in seconds."""
    held = _held(exc)
    needed, used, limit = exc.tokens_needed or 0, exc.tokens_used, exc.tokens_limit
    if isinstance(exc, tree.MoneyBudgetExceededError):
        needed, used, limit = exc.cost_needed, exc.cost_used, exc.cost_limit
    return exc.can_ever_fit and held > 0 and used + needed <= limit


def _held(exc: tree.TokenBudgetExceededError) -> int:
    return exc.cost_reserved if isinstance(exc, tree.MoneyBudgetExceededError) else exc.tokens_reserved


def budget_wait(exc: tree.TokenBudgetExceededError) -> float | None:
    """Return the seconds until the budget may have the tokens; None where waiting does not help."""
    if is_held(exc):
        return HELD
    if exc.resets_at is None or not exc.can_ever_fit:
        return None
    return (exc.resets_at - timezone.now()).total_seconds()


def budget_words(exc: tree.TokenBudgetExceededError) -> str:
    """Return the message of a budget that does not cover the request, with each change that would help."""
    if isinstance(exc, tree.MoneyBudgetExceededError):
        need = f"may cost {shown(exc.cost_needed)}"
        limit, left, holds = map(shown, (exc.cost_limit, exc.cost_remaining, exc.cost_reserved))
        ever = exc.longest_ever + exc.prompt_tokens
    else:
        need = f"needs {exc.tokens_needed} tokens"
        limit, left, holds = map(str, (exc.tokens_limit, exc.tokens_remaining, exc.tokens_reserved))
        ever = exc.tokens_limit
    budget = f" and your budget of {limit}"
    if not exc.can_ever_fit:
        budget = f", more than your whole budget of {limit}, which"
    held = f" (chats in flight hold {holds})" if _held(exc) else ""
    renewal = f" until it is renewed, on {exc.resets_at:%Y-%m-%d at %H:%M} UTC" if exc.resets_at else ""
    now, later = _to_fit(exc, exc.tokens_remaining), "wait until then"
    if is_held(exc):
        later = "wait until those chats are over"
    if not exc.can_ever_fit:
        change = _to_fit(exc, ever)
        later = f"{later} and {change}" if change and not now else ""
    *others, last = filter(None, (now, later, "ask for a larger budget"))
    advice = f"{', '.join(others)}, or {last}" if others else last
    return f"This request {need}{budget} has {left} left{held}{renewal}. {advice[0].upper()}{advice[1:]}."


def _to_fit(exc: tree.TokenBudgetExceededError, tokens: int) -> str:
    """Return the change after which the request would fit into `tokens`; nothing where they are too few for any
    chat."""
    if tokens - exc.prompt_tokens >= SMALLEST_ANSWER:
        return f"lower max_tokens to {tokens - exc.prompt_tokens} at most"
    return "shorten the messages" if tokens >= 2 * SMALLEST_ANSWER else ""


def fields_of(exc: Any) -> dict[str, list[str]]:
    """Return the complaints of our own and of DRF's validation errors, by field."""
    if isinstance(exc, tree.ValidationError):
        return exc.fields
    detail = exc.detail if isinstance(exc.detail, dict) else {"body": exc.detail}
    return {name: [str(item) for item in ([text] if isinstance(text, str) else text)] for name, text in detail.items()}


def fields_words(exc: Any) -> str:
    """Return the message that repeats the complaints about fields."""
    fields = fields_of(exc)
    if not fields:
        return "The request breaks a rule. Check it against GET /errors/invalid_request and send it again."
    complaints = " ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items())
    return f"The request is not valid. {complaints[:500]}"


def json_words(exc: Any) -> str:
    """Return the message about a body that is no JSON, in the parser's words."""
    why = exc.message if isinstance(exc, tree.InvalidJSON) else str(exc.detail)
    return f"The body is not valid JSON: {why.rstrip('.')}. Correct it and retry."


def too_large_words(exc: Any) -> str:
    """Return the message that names the limit which the body is over."""
    if getattr(exc, "limit_values", 0):
        return "The body has more than `limit_values` JSON values. Send fewer."
    return "The body is larger than `limit_bytes`. Shorten it."


def unsupported_words(exc: tree.UnsupportedParameter) -> str:
    """Return the message that names the parameter."""
    place, why = exc.param[:LONGEST_ECHO], "is not ignored, since the answer would not be what you asked for."
    if exc.model:
        whose = f"None of the providers of {exc.model[:LONGEST_ECHO]} takes"
        return f"{whose} the parameter {place} with this value, and it {why} Leave it out, or ask another model."
    return f"The parameter {place} is not supported here with this value, and {why} Leave it out."


REASONS = {
    "context_length": "The messages are too long for this model. Shorten them or start a new conversation.",
    "content_policy": "The provider's content policy does not allow this request. Change the messages.",
    "too_large": "The request is too large for this model's providers. Shorten the messages or lower max_tokens.",
    "invalid": "The provider does not accept this request. Change the messages or the options.",
}
