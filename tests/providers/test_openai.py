"""OpenAI's protocol: what is sent, and what each answer becomes."""

from __future__ import annotations

import json

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderTimeoutError,
)
from chat.protocols import openai
from chat.providers.client import Client
from chat.types import ChatRequest, Message, Refusal, Reply, Upstream, Usage
from tests.support.loopback import status
from tests.support.loopback_faults import answer
from tests.support.openai_client import PROMPT, REQUEST, ask, failure, make

USAGE = Usage(9, 12)


def written(provider: Client, upstream: Upstream):
    return openai.write_request(REQUEST, upstream, host=provider.endpoint.host, stream=False)


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
