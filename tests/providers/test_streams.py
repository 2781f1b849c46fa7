"""Streams of both protocols from a real server on the loopback interface: what is asked, and what arrives."""

from __future__ import annotations

import pytest

from chat.types import ChatRequest, Upstream
from tests.providers.streaming import (
    REQUEST,
    TEXT,
    USAGE,
    begin,
    counts,
    make,
    rest,
    said,
    so_far,
    streamed,
)
from tests.support.loopback import Fault, status


class TestRequest:
    def test_openai(self, server):
        request = ChatRequest(REQUEST.messages, 50, 0.7, top_p=0.9, stop=("\n", "END"))
        begin(make(server), request=request).close()
        (sent,) = server.requests
        assert sent.json["stream"] is True
        assert sent.json["stream_options"] == {"include_usage": True}
        assert (sent.json["top_p"], sent.json["stop"], sent.json["temperature"]) == (0.9, ["\n", "END"], 0.7)

    def test_anthropic(self, server):
        request = ChatRequest(REQUEST.messages, 50, top_p=0.9, stop=("STOP", "END"))
        begin(make(server, "anthropic"), request=request).close()
        (sent,) = server.requests
        assert sent.json["stream"] is True
        assert "stream_options" not in sent.json
        assert sent.json["stop_sequences"] == ["STOP", "END"]
        assert sent.json["top_p"] == 0.9
        assert "temperature" not in sent.json

    @pytest.mark.parametrize(
        ("temperature", "top_p", "sent"),
        [
            (0.7, 1.0, {"temperature": 0.7}),
            (1.0, 0.9, {"top_p": 0.9}),
            (1.0, 1.0, {"temperature": 1.0, "top_p": 1.0}),
            (None, 0.9, {"top_p": 0.9}),
            (0.7, None, {"temperature": 0.7}),
        ],
    )
    def test_anthropic_gets_a_temperature_or_a_top_p(self, server, temperature, top_p, sent):
        request = ChatRequest(REQUEST.messages, 50, temperature, top_p=top_p)
        provider = make(server, "anthropic")
        assert provider.refuses(request, Upstream("m")) == ""
        provider.complete(request, upstream=Upstream("m"), timeout=5)
        assert {name: server.requests[0].json.get(name) for name in sent} == sent
        assert not {"temperature", "top_p", "stop_sequences", "stream"} - sent.keys() & server.requests[0].json.keys()

    def test_complete_sends_them_too(self, server):
        request = ChatRequest(REQUEST.messages, 50, top_p=0.0, stop=("END",))
        make(server).complete(request, upstream=Upstream("m"), timeout=5)
        make(server, "anthropic").complete(request, upstream=Upstream("m"), timeout=5)
        first, second = server.requests
        assert (first.json["top_p"], first.json["stop"]) == (0.0, ["END"])
        assert (second.json["top_p"], second.json["stop_sequences"]) == (0.0, ["END"])
        assert "stream" not in first.json


GOOD = [
    "ok",
    "stream_at_once",
    "stream_split",
    "stream_loose",
    "stream_no_last_line_end",
    "stream_unframed",
    "stream_pauses",
    "stream_slow_first",
    Fault("slow", text=TEXT),
    Fault("drip_body", text=TEXT, seconds=0.0),
]


class TestAnswers:
    @pytest.mark.parametrize("fault", GOOD, ids=str)
    def test_text_usage_and_finish_reason(self, either, protocol, fault):
        stream = streamed(either, fault, protocol)
        assert stream.finish_reason is None
        assert said(stream, 0) == "one "
        assert rest(stream) == ["two ", "three"]
        assert (stream.finish_reason, counts(stream.usage)) == ("stop", USAGE)
        assert said(stream, 0) is None
        stream.close()
        assert said(stream, 0) is None

    @pytest.mark.parametrize(
        ("fault", "text", "finish", "usage"),
        [
            ("refusal", "I cannot help with that.", "content_filter", USAGE),
            ("content_filter", "", "content_filter", USAGE),
            ("usage_missing", "hello", "stop", None),
            ("usage_nonsense", "hello", "stop", None),
            ("surrogates", "a\ufffdbc", "stop", USAGE),
            ("stream_usage_with_last_choice", "hello", "stop", USAGE),
            ("stream_no_terminator", "hello", "stop", USAGE),
            ("stream_one_piece", "hello", "stop", USAGE),
        ],
    )
    def test_openai(self, server, fault, text, finish, usage):
        stream = streamed(server, Fault(fault))
        assert "".join(rest(stream)) == text
        assert (stream.finish_reason, counts(stream.usage)) == (finish, usage)

    @pytest.mark.parametrize(
        ("fault", "text", "finish", "usage"),
        [
            ("refusal", "", "content_filter", USAGE),
            ("usage_missing", "hello", "stop", None),
            ("usage_nonsense", "hello", "stop", None),
            ("surrogates", "a\ufffdbc", "stop", USAGE),
            ("stream_one_piece", "hello", "stop", USAGE),
        ],
    )
    def test_anthropic(self, server, fault, text, finish, usage):
        stream = streamed(server, Fault(fault), "anthropic")
        assert "".join(rest(stream)) == text
        assert (stream.finish_reason, counts(stream.usage)) == (finish, usage)

    def test_usage_before_the_last_chunk(self, server):
        usage = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}}\n\n'
        rest_of_it = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        stream = streamed(server, status(200, {"content-type": "text/event-stream"}, usage + rest_of_it))
        assert rest(stream) == ["hi"]
        assert counts(stream.usage) == USAGE

    def test_characters_of_many_bytes_and_leading_space(self, server, protocol):
        text = "\n \U0001f600 gr\u00fc\u00dfe \u65e5\u672c"
        for fault in ("stream_split", "stream_at_once"):
            assert "".join(rest(streamed(server, Fault(fault, text=text), protocol))) == text

    def test_usage_while_it_arrives(self, server, protocol):
        assert counts(streamed(server, "stream_stall", protocol).usage) == so_far(protocol)
