"""Anthropic's protocol: what is sent, and what each answer or error becomes."""

from __future__ import annotations

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.protocols import anthropic
from chat.providers.client import Client
from chat.providers.transport.pool import Transport
from chat.types import ChatRequest, Message, Reply, Upstream, Usage
from tests.support.loopback import status
from tests.support.loopback_faults import answer, error

USAGE = Usage(9, 12, 2, 3)
REQUEST = ChatRequest((Message.of("user", "Tell me about grey geese"),), 50, 0.7, "req-1")


@pytest.fixture
def provider(server):
    return make(server.url)


def make(base_url, api_key="sk-ant-test-abcdef"):
    return Client(
        anthropic,
        key="anthropic",
        base_url=base_url,
        api_key=api_key,
        timeout=5.0,
        connect_timeout=1.0,
        transport=Transport(pool_size=2),
    )


def ask(provider: Client, request: ChatRequest = REQUEST) -> Reply:
    return provider.complete(request, upstream=Upstream("claude-x"), timeout=5)


def failure(provider: Client, request: ChatRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, request)
    assert all(isinstance(value, str) for value in caught.value.details.values())
    return caught.value


class TestRequest:
    def test_body_and_headers(self, provider, server):
        messages = (
            Message.of("system", "Be brief."),
            Message.of("assistant", "Hello."),
            Message.of("user", "One"),
            Message.of("user", "Two"),
            Message.of("system", "Be kind."),
            Message.of("assistant", "Because \n"),
        )
        ask(provider, ChatRequest(messages, 50, 0.5))
        (sent,) = server.requests
        assert sent.path == "/v1/messages"
        assert sent.headers["x-api-key"] == "sk-ant-test-abcdef"
        assert sent.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in sent.headers
        assert sent.json == {
            "model": "claude-x",
            "max_tokens": 50,
            "temperature": 0.5,
            "system": "Be brief.\n\nBe kind.",
            "messages": [
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "One"},
                {"role": "user", "content": "Two"},
                {"role": "assistant", "content": "Because"},
            ],
        }

    def test_without_system_message(self, provider, server):
        ask(provider)
        assert "system" not in server.requests[0].json
        assert server.requests[0].json["temperature"] == 0.7

    @pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
    def test_base_url_with_or_without_version(self, server, suffix):
        ask(make(server.url + suffix))
        assert server.requests[0].path == "/v1/messages"


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        ("ok", Reply.of("hello", "stop", USAGE)),
        ("refusal", Reply.of("", "content_filter", USAGE)),
        ("usage_missing", Reply.of("hello", "stop", None)),
        ("usage_nonsense", Reply.of("hello", "stop", None)),
        ("surrogates", Reply.of("a\ufffdbc", "stop", USAGE)),
    ],
)
def test_answers(provider, server, fault, reply):
    server.then(fault)
    assert ask(provider) == reply


@pytest.mark.parametrize(
    ("changes", "text", "finish_reason", "usage"),
    [
        ({"stop_reason": "stop_sequence"}, "hello", "stop", USAGE),
        ({"stop_reason": "max_tokens"}, "hello", "length", USAGE),
        ({"stop_reason": "model_context_window_exceeded"}, "hello", "length", USAGE),
        ({"stop_reason": "refusal"}, "hello", "content_filter", USAGE),
        ({"stop_reason": "pause_turn"}, "hello", "stop", USAGE),
        ({"stop_reason": "tool_use"}, "hello", "stop", USAGE),
        ({"stop_reason": None}, "hello", "stop", USAGE),
        (
            {"stop_reason": "brand_new", "usage": {"input_tokens": 1, "output_tokens": 50}},
            "hello",
            "length",
            Usage(1, 50),
        ),
        (
            {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, 7, {"text": "no"}]},
            "a",
            "stop",
            USAGE,
        ),
        (
            {"usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": None}},
            "hello",
            "stop",
            Usage(3, 1),
        ),
        (
            {"usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": -1}},
            "hello",
            "stop",
            None,
        ),
    ],
)
def test_variants(provider, server, changes, text, finish_reason, usage):
    server.then(status(200, body=answer("anthropic", **changes)))
    assert ask(provider) == Reply.of(text, finish_reason, usage)


@pytest.mark.parametrize(
    ("fault", "usage"),
    [
        ("null_content", USAGE),
        ("html", None),
        ("broken_json", None),
        ("empty_body", None),
        ("json_list", None),
        ("redirect", None),
    ],
)
def test_unusable_answers(provider, server, fault, usage):
    server.then(fault)
    failed = failure(provider)
    assert type(failed) is InvalidProviderResponseError
    assert failed.usage == usage


SPEND_LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-09-01."
STATUS_TABLE = [
    (400, "invalid_request_error", None, "max_tokens: required", ProviderRequestRejectedError, "invalid"),
    (400, "invalid_request_error", None, SPEND_LIMIT, ProviderError, "credit"),
    (400, "invalid_request_error", None, "Your credit balance is too low to access it", ProviderError, "credit"),
    (
        400,
        "invalid_request_error",
        None,
        "prompt is too long: 208310 tokens > 200000 maximum",
        ProviderRequestRejectedError,
        "context_length",
    ),
    (
        400,
        "invalid_request_error",
        None,
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease it",
        ProviderRequestRejectedError,
        "context_length",
    ),
    (400, "invalid_request_error", None, f"messages.0: {SPEND_LIMIT}", ProviderRequestRejectedError, "invalid"),
    (401, "authentication_error", None, "invalid x-api-key", ProviderError, "key"),
    (402, "billing_error", None, "pay", ProviderError, "credit"),
    (403, "permission_error", None, "no", ProviderError, "call"),
    (404, "not_found_error", None, "model: claude-x", ProviderError, "model"),
    (409, "conflict_error", None, "again", ProviderUnavailableError, None),
    (413, "request_too_large", None, "too large", ProviderRequestRejectedError, "too_large"),
    (429, "rate_limit_error", None, "slower", ProviderRateLimitError, None),
    (429, "rate_limit_error", "ramp_limit_exceeded", "slower", ProviderRateLimitError, None),
    (429, "rate_limit_error", "enforced_spend_limit_reached", "spent", ProviderError, "credit"),
    (429, "rate_limit_error", "contract_spend_limit_reached", "spent", ProviderError, "credit"),
    (500, "api_error", None, "Internal server error", ProviderUnavailableError, None),
    (504, "timeout_error", None, "slow", ProviderTimeoutError, None),
    (529, "overloaded_error", None, "Overloaded", ProviderUnavailableError, None),
]


@pytest.mark.parametrize(("code", "kind", "word", "message", "expected", "fact"), STATUS_TABLE)
def test_errors(provider, server, code, kind, word, message, expected, fact):
    server.then(status(code, {"request-id": "req_hdr"}, error("anthropic", kind, word, message)))
    failed = failure(provider)
    assert type(failed) is expected
    assert (getattr(failed, "reason", None) or failed.details.get("kind")) == fact
    assert failed.status_code == code
    assert failed.details["error_type"] == kind
    assert failed.details.get("error_code") == word
    assert failed.details["provider_request_id"] == "req_hdr"
    assert failed.details["text"] == message


def test_request_id_from_the_body(provider, server):
    server.then(status(500, body=error("anthropic", "api_error", None)))
    assert failure(provider).details["provider_request_id"] == "req_011"


@pytest.mark.parametrize("phrase", [SPEND_LIMIT, "Prompt is too long"])
def test_an_echoed_prompt_is_not_taken_for_a_documented_phrase(provider, server, phrase):
    request = ChatRequest((Message.of("user", f"What does '{phrase}' mean?"),), 50, 0.7)
    server.then(status(400, body=error("anthropic", "invalid_request_error", None, f"{phrase} is not allowed")))
    failed = failure(provider, request)
    assert type(failed) is ProviderRequestRejectedError
    assert failed.reason == "invalid"
    assert phrase not in failed.details["text"]


def test_a_long_prompt_that_shares_words_with_the_phrase_is_still_too_long(provider, server):
    request = ChatRequest((Message.of("user", "This prompt is about a way that is too long to walk"),), 50, 0.7)
    message = "prompt is too long: 208310 tokens > 200000 maximum"
    server.then(status(400, body=error("anthropic", "invalid_request_error", None, message)))
    failed = failure(provider, request)
    assert isinstance(failed, ProviderRequestRejectedError)
    assert failed.reason == "context_length"
