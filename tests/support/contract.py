"""HTTP.md's error table once more, written by hand, and what its rows have in common, for the tests to compare with."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any, NamedTuple

import structlog

from chat.models import BudgetPeriod, UsageRecord

PROBLEM = "application/problem+json"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LEAKS = re.compile(r"Traceback|Error\(|Exception|\w+Error\b|SELECT|\.py\b|site-packages|user_id|digest")


class Row(NamedTuple):
    status: int
    level: str
    should_retry: bool = False
    context: frozenset[str] = frozenset()


def row(status: int, level: str, should_retry: bool = False, context: str = "") -> Row:
    return Row(status, level, should_retry, frozenset(context.split()))


IN_MONEY = {"cost_used", "cost_limit", "cost_needed", "cost_remaining"}
"""Further facts of a spent budget that is in money."""
BUDGET = "tokens_used tokens_limit tokens_needed tokens_remaining resets_at upgrade_url"
TABLE = {
    "bad_request": row(400, "warning"),
    "invalid_json": row(400, "info"),
    "invalid_message_format": row(400, "info", context="example received field"),
    "invalid_request": row(400, "info", context="fields"),
    "unsupported_parameter": row(400, "info", context="param"),
    "not_authenticated": row(401, "info"),
    "authentication_failed": row(401, "warning"),
    "permission_denied": row(403, "warning"),
    "csrf_failed": row(403, "warning"),
    "model_not_found": row(404, "warning", context="requested_model available_models"),
    "not_found": row(404, "info"),
    "method_not_allowed": row(405, "info"),
    "not_acceptable": row(406, "info"),
    "unsupported_media_type": row(415, "info"),
    "request_too_large": row(413, "warning", context="limit_bytes"),
    "token_budget_exceeded": row(429, "warning", context=BUDGET),
    "rate_limit_exceeded": row(429, "warning", True, "retry_after limit reset_in"),
    "request_in_progress": row(409, "info", True, "retry_after"),
    "idempotency_key_reused": row(422, "warning"),
    "too_many_concurrent_requests": row(429, "warning", True, "retry_after limit"),
    "overloaded": row(503, "error", True, "retry_after"),
    "provider_rate_limited": row(503, "error", True, "retry_after provider"),
    "provider_unavailable": row(503, "error", True, "retry_after provider status_page"),
    "provider_timeout": row(504, "error", True, "retry_after provider"),
    "invalid_provider_response": row(502, "error", True, "retry_after provider"),
    "provider_rejected_request": row(400, "warning", context="provider reason"),
    "provider_error": row(503, "critical", False, "retry_after provider"),
    "service_temporarily_unavailable": row(503, "error", True, "retry_after"),
    "budget_exceeded": row(429, "error"),
    "internal_error": row(500, "error"),
}


def check_error(response: Any, code: str, *, problem: bool = False) -> dict[str, Any]:
    """Everything that the contract says of any error; returns the body."""
    expected, body = TABLE[code], json.loads(response.content)
    assert response["Content-Type"] == (PROBLEM if problem else "application/json"), response.content
    assert (response.status_code, code_of(body)) == (expected.status, code), body
    check_ids(response, None if problem else body["request_id"])
    own = ["type", "title", "status", "detail", "instance"] if problem else ["error", "message", "request_id"]
    assert list(body)[: len(own)] == own
    waits = {"retry_after"} & body.keys()
    more = IN_MONEY if "cost_limit" in body else set()
    assert body.keys() - set(own) - waits == expected.context - {"retry_after"} | more
    assert response.headers.get("Retry-After") == (str(body["retry_after"]) if waits else None)
    if waits:
        assert type(body["retry_after"]) is int
        assert body["retry_after"] >= 1
    # Of a SystemError that has no name nobody knows the end; all else that may be tried again says when.
    unknown_wait = code == "service_temporarily_unavailable" and not waits
    assert ("retry_after" in expected.context) <= bool(waits or unknown_wait)
    held = code == "token_budget_exceeded" and body.get("retry_after") == 5  # by chats in flight
    assert response["X-Should-Retry"] == str(bool(held or (expected.should_retry and not unknown_wait))).lower()
    assert ("WWW-Authenticate" in response.headers) == (expected.status == 401)
    if expected.status == 405:
        assert response["Allow"]
    message = body["detail" if problem else "message"]
    assert message[0].isupper() or message[0] == "`" or message.startswith("messages")
    assert not LEAKS.search(response.content.decode()), response.content
    return body


def check_page(response: Any, code: str) -> str:
    """Everything that the contract says of any error's page; returns its text."""
    page = unescape(response.content.decode())
    assert (response.status_code, response["Content-Type"]) == (TABLE[code].status, "text/html; charset=utf-8")
    assert f'href="/errors/{code}"' in page
    assert check_ids(response) in page
    assert response["X-Should-Retry"] in ("true", "false")
    assert "Accept" in response["Vary"]
    assert not LEAKS.search(page), page
    return page


def code_of(body: dict[str, Any]) -> str:
    return str(body["error"] if "error" in body else body["type"].rpartition("/")[2])


def check_ids(response: Any, expected: str | None = None) -> str:
    """Both headers carry the same well-formed id, `expected` if that is given."""
    request_id = response["X-Request-ID"]
    assert response["Request-Id"] == request_id
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request_id)
    assert expected in (None, request_id)
    return str(request_id)


def chat_body(content: Any = "Hello!", **changes: Any) -> dict[str, Any]:
    body = {"model": "llama-2", "messages": [{"role": "user", "content": content}]}
    return body | changes


def ask(client: Any, content: Any = "Hello!", headers: dict[str, str] | None = None, **changes: Any) -> Any:
    return client.post("/chat", chat_body(content, **changes), format="json", headers=headers)


def send(client: Any, body: bytes | str, content_type: str = "application/json", path: str = "/chat") -> Any:
    return client.generic("POST", path, body, content_type=content_type)


def ledger() -> tuple[list[Any], list[Any]]:
    """Everything that budgets have written."""
    return list(BudgetPeriod.objects.values()), list(UsageRecord.objects.exclude(state="refused").values())


@contextmanager
def nothing_reserved() -> Iterator[None]:
    before = ledger()
    yield
    assert ledger() == before


class Log:
    """The log's lines as the JSON formatter of the running site writes them."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        configured = [handler.formatter for handler in logging.getLogger().handlers]
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(
            next(item for item in configured if isinstance(item, structlog.stdlib.ProcessorFormatter))
        )

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("request_id") == request_id]
