"""What an official package is to meet: how each error is brought about."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError

from tests.support.contract import TABLE, row
from tests.support.loopback import status

ROWS = TABLE | {"unsupported_parameter": row(400, "info", context="param")}
"""That row is none of POST /chat's."""


def crash(*args: Any) -> Any:
    raise RuntimeError("a bug")


def lose_the_database(*args: Any) -> Any:
    raise OperationalError("gone")


# The code, what brings it about, and the parameter at fault.
REFUSED: list[tuple[str, Any, str | None]] = [
    ("model_not_found", lambda sdk: {"model": "nowhere"}, "model"),
    ("invalid_request", lambda sdk: {"extra_body": {"temperature": sdk.first_bad_temperature}}, "temperature"),
    ("invalid_message_format", lambda sdk: {"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
    ("unsupported_parameter", lambda sdk: {"extra_body": {"store": True}}, "store"),
]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("request_too_large", {"DATA_UPLOAD_MAX_MEMORY_SIZE": 10}),
    ("token_budget_exceeded", {"TOKEN_BUDGET_DEFAULT": 10}),
    ("too_many_concurrent_requests", {"CHAT_MAX_IN_FLIGHT_PER_USER": 1}),
    ("overloaded", {"CHAT_MAX_IN_FLIGHT": 1}),
]
REJECTED = {"error": {"message": "no", "type": "invalid_request_error", "code": "content_policy_violation"}}
PROVIDERS = {
    "provider_rate_limited": "rate_limit",
    "provider_unavailable": "unavailable",
    "provider_timeout": "hang",
    "invalid_provider_response": "html",
    "provider_error": "bad_key",
    "provider_rejected_request": status(422, body=REJECTED),
}
OURS = {"internal_error": crash, "service_temporarily_unavailable": lose_the_database}
