"""OpenAI's protocol: what is sent, and what each answer or error becomes."""

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
from chat.protocols import openai
from chat.providers.client import Client
from chat.providers.transport.pool import Transport
from chat.types import ChatRequest, Message, Refusal, Reply, Upstream, Usage
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer, error

USAGE = Usage(9, 12)
PROMPT = "Tell me about the migration of grey geese in autumn"
REQUEST = ChatRequest(
    messages=(Message.of("system", "Be brief."), Message.of("user", PROMPT)),
    max_tokens=50,
    temperature=0.7,
    request_id="req-1",
)


@pytest.fixture
def provider(server):
    return make(server.openai_url)


def make(base_url, api_key="sk-test-abcdef", **options):
    common = {"timeout": 5.0, "connect_timeout": 1.0, "transport": Transport(pool_size=2)}
    return Client(openai, key="acme", base_url=base_url, api_key=api_key, **common | options)


def ask(provider: Client, request: ChatRequest = REQUEST) -> Reply:
    return provider.complete(request, upstream=Upstream("gpt-x"), timeout=5)


def written(provider: Client, upstream: Upstream):
    return openai.write_request(REQUEST, upstream, host=provider.endpoint.host, stream=False)


def failure(provider: Client, request: ChatRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, request)
    assert all(isinstance(value, str) for value in caught.value.details.values())
    return caught.value


class TestRequest:
    def test_body_and_headers(self, provider, server):
        ask(provider)
        (sent,) = server.requests
        assert sent.path == "/v1/chat/completions"
        assert sent.headers["authorization"] == "Bearer sk-test-abcdef"
        assert sent.headers["content-type"] == "application/json"
        assert sent.headers["x-client-request-id"] == "req-1"
        assert sent.json == {
            "model": "gpt-x",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
            "max_tokens": 50,
            "temperature": 0.7,
        }

    @pytest.mark.parametrize("key", [None, "", "  \n"])
    def test_no_key(self, server, key):
        ask(make(server.openai_url + "/", api_key=key))
        assert "authorization" not in server.requests[0].headers
        assert server.requests[0].path == "/v1/chat/completions"

    @pytest.mark.parametrize(
        ("base_url", "field"),
        [
            ("https://api.openai.com/v1", "max_completion_tokens"),
            ("https://eu.api.openai.com/v1", "max_completion_tokens"),
            ("https://me.openai.azure.com/openai/v1", "max_completion_tokens"),
            ("https://me.services.ai.azure.com/openai/v1", "max_completion_tokens"),
            ("https://me.cognitiveservices.azure.com:443/openai/v1", "max_completion_tokens"),
            ("https://openai.com.example.org/v1", "max_tokens"),
            ("http://localhost:11434/v1", "max_tokens"),
        ],
    )
    def test_name_of_the_limit(self, base_url, field):
        assert written(make(base_url), Upstream("m"))[field] == 50

    @pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
    def test_an_operator_names_the_limit(self, field):
        for base_url in ("https://api.openai.com/v1", "http://localhost:11434/v1"):
            payload = written(make(base_url), Upstream("m", limit_field=field))
            assert [name for name in payload if name.startswith("max_")] == [field]

    @pytest.mark.parametrize("request_id", ["", "с-русски", "a b", "a\r\nX-Evil: 1", "x" * 600])
    def test_request_id_that_no_header_can_carry(self, provider, server, request_id):
        ask(provider, ChatRequest(REQUEST.messages, 5, 0.0, request_id))
        assert "x-client-request-id" not in server.requests[0].headers
        assert "x-evil" not in server.requests[0].headers

    def test_any_text_survives_the_way(self, provider, server):
        text = 'Grüße 😀 \u2028 "quoted" \\ \ud800'
        ask(provider, ChatRequest((Message.of("user", text),), 5, 0.0))
        assert server.requests[0].json["messages"][0]["content"] == text.replace("\ud800", "?")

    @pytest.mark.parametrize(("own", "given"), [(0.2, 5.0), (5.0, 0.2)])
    def test_the_shorter_timeout_counts(self, server, own, given):
        server.then("hang")
        with pytest.raises(ProviderTimeoutError, match=r"after 0\.[2-9] s"):
            make(server.openai_url, timeout=own).complete(REQUEST, upstream=Upstream("m"), timeout=given)


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        ("ok", Reply.of("hello", "stop", USAGE)),
        ("refusal", Reply((Refusal("I cannot help with that."),), "content_filter", USAGE)),
        ("content_filter", Reply.of("", "content_filter", USAGE)),
        ("usage_missing", Reply.of("hello", "stop", None)),
        ("usage_nonsense", Reply.of("hello", "stop", None)),
        ("surrogates", Reply.of("a\ufffdbc", "stop", USAGE)),
    ],
)
def test_answers(provider, server, fault, reply):
    server.then(fault)
    assert ask(provider) == reply


@pytest.mark.parametrize(
    ("changes", "reply"),
    [
        ({"finish_reason": "length"}, Reply.of("hello", "length", USAGE)),
        ({"finish_reason": "tool_calls"}, Reply.of("hello", "stop", USAGE)),
        ({"finish_reason": None}, Reply.of("hello", "stop", USAGE)),
        ({"finish_reason": ["stop"]}, Reply.of("hello", "stop", USAGE)),
        (
            {"finish_reason": "eos", "usage": {"prompt_tokens": 1, "completion_tokens": 50}},
            Reply.of("hello", "length", Usage(1, 50)),
        ),
        ({"message": {"content": [{"type": "text", "text": "a"}, 7, {"type": "text", "text": "b"}]}}, "ab"),
        (
            {"message": {"content": [{"type": "refusal", "refusal": "No."}]}},
            Reply((Refusal("No."),), "content_filter", USAGE),
        ),
        ({"error": None}, "hello"),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, Reply.of("hello", "stop", None)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 10_000_001}}, Reply.of("hello", "stop", None)),
        ({"usage": {"prompt_tokens": 9.0, "completion_tokens": 1}}, Reply.of("hello", "stop", None)),
        ({"usage": {"prompt_tokens": float("nan"), "completion_tokens": True}}, Reply.of("hello", "stop", None)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": True}}, Reply.of("hello", "stop", None)),
        ({"usage": [1]}, Reply.of("hello", "stop", None)),
    ],
)
def test_variants(provider, server, changes, reply):
    server.then(status(200, body=answer("openai", **changes)))
    expected = Reply.of(reply, "stop", USAGE) if isinstance(reply, str) else reply
    assert ask(provider) == expected


@pytest.mark.parametrize(
    ("fault", "usage"),
    [
        ("no_choices", USAGE),
        ("html", None),
        ("broken_json", None),
        ("empty_body", None),
        ("json_list", None),
        ("not_utf8", None),
        ("deep_json", None),
        ("redirect", None),
        (status(204), None),
        (status(200, body={}), None),
        (status(200, body={"choices": {"0": 1}}), None),
        (status(200, body={"choices": [None]}), None),
        (status(200, body={"choices": [{"message": "hello"}]}), None),
        (status(200, body=answer("openai", " \n", finish_reason=None)), USAGE),
        (status(200, body=answer("openai", "half an ans", finish_reason="error")), USAGE),
        (status(200, body=b'{"choices": ' + b"1" * 5000 + b"}"), None),
        (status(101), None),
    ],
)
def test_unusable_answers(provider, server, fault, usage):
    server.then(fault)
    failed = failure(provider)
    assert type(failed) is InvalidProviderResponseError
    assert failed.usage == usage


def test_half_an_answer_stays_out_of_the_log(provider, server):
    server.then(status(200, body=json.dumps(answer("openai", "the secret answer"))[:-5]))
    failed = failure(provider)
    assert "secret answer" not in repr((failed.message, failed.details))
    assert "bytes" in failed.details["text"]


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
