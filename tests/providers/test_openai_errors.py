"""OpenAI's protocol: what each error becomes."""

from __future__ import annotations

import json

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.types import Reply
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import error
from tests.support.openai_client import PROMPT, ask, failure

INVALID = "invalid_request_error"
STATUS_TABLE = [
    (400, INVALID, None, ProviderRequestRejectedError, "invalid"),
    (400, INVALID, "invalid_value", ProviderRequestRejectedError, "invalid"),
    (400, INVALID, "unsupported_parameter", ProviderRequestRejectedError, "invalid"),
    (400, INVALID, "context_length_exceeded", ProviderRequestRejectedError, "context_length"),
    (400, "exceed_context_size_error", 400, ProviderRequestRejectedError, "context_length"),
    (400, INVALID, "content_policy_violation", ProviderRequestRejectedError, "content_policy"),
    (400, None, "content_filter", ProviderRequestRejectedError, "content_policy"),
    (400, INVALID, "invalid_prompt", ProviderRequestRejectedError, "content_policy"),
    (400, INVALID, "billing_hard_limit_reached", ProviderError, "credit"),
    (401, INVALID, "invalid_api_key", ProviderError, "key"),
    (402, None, None, ProviderError, "credit"),
    (403, "request_forbidden", "unsupported_country_region_territory", ProviderError, "call"),
    (404, INVALID, "model_not_found", ProviderError, "model"),
    (405, None, None, ProviderError, "other"),
    (408, None, None, ProviderTimeoutError, None),
    (409, None, None, ProviderUnavailableError, None),
    (413, None, None, ProviderRequestRejectedError, "too_large"),
    (418, None, None, ProviderError, "other"),
    (422, None, None, ProviderRequestRejectedError, "invalid"),
    (429, "requests", "rate_limit_exceeded", ProviderRateLimitError, None),
    (429, "tokens", "rate_limit_exceeded", ProviderRateLimitError, None),
    (429, "rate_limit_error", "slow_down", ProviderRateLimitError, None),
    (429, "insufficient_quota", "insufficient_quota", ProviderError, "credit"),
    (429, "insufficient_quota", None, ProviderError, "credit"),
    (429, None, "credit_balance_exhausted", ProviderError, "credit"),
    (429, None, "organization_spend_limit_exceeded", ProviderError, "credit"),
    (429, None, "project_spend_limit_exceeded", ProviderError, "credit"),
    (429, None, "organization_usage_limit_exceeded", ProviderError, "credit"),
    (429, None, "billing_hard_limit_reached", ProviderError, "credit"),
    (429, None, "billing_not_active", ProviderError, "credit"),
    (500, "server_error", None, ProviderUnavailableError, None),
    (500, "server_error", "insufficient_quota", ProviderUnavailableError, None),
    (502, None, None, ProviderUnavailableError, None),
    (503, "service_unavailable_error", "server_is_overloaded", ProviderUnavailableError, None),
    (504, None, None, ProviderTimeoutError, None),
    (529, None, None, ProviderUnavailableError, None),
    (301, None, None, InvalidProviderResponseError, None),
    (304, None, None, InvalidProviderResponseError, None),
]


@pytest.mark.parametrize(("code", "kind", "word", "expected", "fact"), STATUS_TABLE)
def test_errors(provider, server, code, kind, word, expected, fact):
    headers = {"retry-after": "7", "x-request-id": "req_abc"}
    server.then(status(code, headers, error("openai", kind, word, f"Cannot serve '{PROMPT}' today")))
    failed = failure(provider)
    assert type(failed) is expected
    assert failed.status_code == code
    assert failed.retry_after == 7
    assert failed.provider == "acme"
    assert not failed.unsent
    assert (getattr(failed, "reason", None) or failed.details.get("kind")) == fact
    assert str(code) in failed.message
    assert failed.details["provider_request_id"] == "req_abc"
    if code != 304:
        assert failed.details["text"] == "Cannot serve '[…]' today"
        assert failed.details.get("error_code", "") == str(word or "")
        assert failed.details.get("error_type", "") == (kind or "")


def test_every_status_of_http_becomes_a_provider_error(provider, server):
    for code in [102, *range(203, 600, 7), 600, 999]:
        server.then(status(code, body="[]"))
        assert isinstance(failure(provider), ProviderError), code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"[1, 2]",
        b"null",
        b'"oops"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"error": "just text"}',
        b'{"error": null}',
        b'{"error": ["a"]}',
        b'{"error": {"message": {"a": [1]}, "type": 5, "code": true, "details": []}}',
        b'{"error": {"message": "\\ud800\\u0000", "code": "\\ud800"}}',
        b'{"message": "no envelope", "type": "BadRequestError", "code": 400}',
        b'{"detail": [{"loc": ["body"], "msg": "Field required"}]}',
        b'{"error": {"message": "' + b"x" * 3_000_000 + b'"}}',
    ],
)
@pytest.mark.parametrize(("code", "expected"), [(429, ProviderRateLimitError), (502, ProviderUnavailableError)])
def test_error_bodies_of_any_shape(provider, server, body, code, expected):
    server.then(status(code, body=body))
    failed = failure(provider)
    assert type(failed) is expected
    assert len(failed.details.get("text", "")) <= 500
    json.dumps(failed.details, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "just text"}', "just text"),
        (b'{"message": "no envelope", "code": 400}', "no envelope"),
        (b"<html>502 Bad Gateway</html>", "<html>502 Bad Gateway</html>"),
        (b'{"error": {"message": "Incorrect API key provided: sk-ab***yz. See"}}', "Incorrect API key provided: ***"),
        (b'{"error": {"message": "Bad key sk-test-abcdef given"}}', "Bad key *** given"),
    ],
)
def test_text_kept_of_an_error(provider, server, body, text):
    server.then(status(500, body=body))
    assert failure(provider).details["text"].startswith(text)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("terminal_429", ProviderError),
        ("rate_limit", ProviderRateLimitError),
        ("bad_key", ProviderError),
        ("overloaded", ProviderUnavailableError),
        ("unavailable", ProviderUnavailableError),
        ("reset", ProviderUnavailableError),
        ("close_half_way", InvalidProviderResponseError),
        (Fault("slow", seconds=0.01), None),
    ],
)
def test_named_faults(provider, server, fault, expected):
    server.then(fault)
    assert (type(failure(provider)) if expected else type(ask(provider))) is (expected or Reply)
