"""The facts that errors carry beside their words: what each one is, and how it is read from an exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from django.conf import settings

from chat import exceptions as tree
from chat.conf import conf
from chat.problems.words import LONGEST_ECHO, REASONS
from chat.protocols.schemas import TEXT
from chat.routing import catalogue
from chat.types.money import EXACT, exact

ABSENT = object()
"""In place of a fact that this exception does not have."""
Reader = Callable[[Any], Any]
COUNT = {"type": "integer", "minimum": 0}
SECONDS = {"type": "integer", "minimum": 1, "description": "Seconds."}
DOLLARS = {"type": "string", "pattern": EXACT}
COSTS = ("cost_used", "cost_limit", "cost_needed", "cost_remaining")
TEXTS = {"type": "array", "items": TEXT}
FACTS: dict[str, dict[str, Any]] = {
    "retry_after": SECONDS | {"description": "Seconds until trying again can help; equals Retry-After."},
    "param": TEXT | {"maxLength": LONGEST_ECHO, "description": "The place of what is not supported."},
    "field": TEXT | {"description": "The place of the fault, such as messages[0].role."},
    "received": TEXT | {"maxLength": LONGEST_ECHO},
    "example": {"type": "array", "items": {"type": "object"}, "description": "Messages that are well-formed."},
    "fields": {"type": "object", "additionalProperties": TEXTS, "description": "What is wrong, by field."},
    "requested_model": TEXT | {"maxLength": LONGEST_ECHO},
    "available_models": TEXTS,
    "limit_bytes": COUNT,
    "limit_values": COUNT,
    "tokens_used": COUNT,
    "tokens_limit": COUNT,
    "tokens_needed": {"type": ["integer", "null"], "minimum": 0},
    "tokens_remaining": COUNT,
    **dict.fromkeys(COSTS, DOLLARS | {"description": "Dollars; of a budget in money alone."}),
    "resets_at": {"type": ["string", "null"], "format": "date-time"},
    "upgrade_url": {"type": ["string", "null"]},
    "limit": COUNT,
    "reset_in": SECONDS,
    "provider": TEXT | {"description": "Its key in models.toml, or all_providers."},
    "status_page": {"type": ["string", "null"]},
    "reason": {"type": "string", "enum": list(REASONS)},
}
"""The facts that errors carry beside their words, each with one meaning wherever it appears."""

EXAMPLE_MESSAGES = [{"role": "user", "content": "Hello!"}]


def stored(*names: str) -> Mapping[str, Reader]:
    """Return readers of attributes of the same names."""
    return {name: attrgetter(name) for name in names}


def echoed(name: str) -> Reader:
    """Return a reader of the client's own input, cut short."""
    read = attrgetter(name)
    return lambda exc: read(exc)[:LONGEST_ECHO]


def in_dollars(name: str) -> Reader:
    """Return a reader of an attribute in nano-dollars, which not every exception has."""
    return lambda exc: exact(getattr(exc, name)) if hasattr(exc, name) else ABSENT


def _status_page(exc: tree.ProviderError) -> str | None:
    entry = catalogue.current().providers.get(exc.provider)
    return entry.status_page if entry else None


def _resets_at(exc: tree.TokenBudgetExceededError) -> str | None:
    return exc.resets_at.isoformat().replace("+00:00", "Z") if exc.resets_at else None


OUTAGE = {**stored("provider"), "status_page": _status_page}
TOO_LARGE: Mapping[str, Reader] = {
    "limit_bytes": lambda exc: getattr(exc, "limit_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE) or ABSENT,
    "limit_values": lambda exc: getattr(exc, "limit_values", 0) or ABSENT,
}
BUDGET: Mapping[str, Reader] = {
    **stored("tokens_used", "tokens_limit", "tokens_needed", "tokens_remaining"),
    **{name: in_dollars(name) for name in COSTS},
    "resets_at": _resets_at,
    "upgrade_url": lambda exc: conf.UPGRADE_URL,
}
FORMAT: Mapping[str, Reader] = {
    **stored("field"),
    "received": echoed("received"),
    "example": lambda exc: EXAMPLE_MESSAGES,
}
MODEL: Mapping[str, Reader] = {"requested_model": echoed("model_name"), **stored("available_models")}
