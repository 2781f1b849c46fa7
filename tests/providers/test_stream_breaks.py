"""Streams of both protocols from a real server on the loopback interface: how each break is told."""

from __future__ import annotations

import json
import time

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
from tests.providers.streaming import (
    SHORT,
    TEXT,
    USAGE,
    begin,
    broken,
    counts,
    failure,
    make,
    rest,
    so_far,
    streamed,
)
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import error
from tests.support.rig import SLACK


class TestBeforeTheFirstText:
    @pytest.mark.parametrize(
        ("fault", "usage"),
        [
            ("html", None),
            ("broken_json", None),
            ("empty_body", None),
            ("json_list", None),
            ("bad_gzip", None),
            ("huge", None),
            ("close_half_way", None),
            ("chunk_half_way", None),
            ("redirect", None),
            ("stream_empty", None),
            (status(200, {"content-type": "text/event-stream", "content-encoding": "gzip"}, b"data"), None),
            (status(200, {"content-type": "text/event-stream"}, "data: [1]\n\n"), None),
            (status(200, {"content-type": "text/event-stream"}, 'data: {"error": {"message": "odd"}}\n\n'), None),
            (status(200, {"content-type": "text/event-stream"}, "<html>Welcome</html>"), None),
            (status(200, {"content-type": "text/plain"}, "data: {}\n\n" * 3), None),
        ],
        ids=str,
    )
    def test_unusable(self, server, protocol, fault, usage):
        failed = failure(server, fault, protocol)
        assert type(failed) is InvalidProviderResponseError
        assert counts(failed.usage) == usage

    @pytest.mark.parametrize(
        ("fault", "expected", "code"),
        [
            ("rate_limit", ProviderRateLimitError, 429),
            ("bad_key", ProviderError, 401),
            ("terminal_429", ProviderError, 429),
            ("unavailable", ProviderUnavailableError, 503),
            ("overloaded", ProviderUnavailableError, 529),
            ("reset", ProviderUnavailableError, None),
        ],
    )
    def test_errors_are_those_of_complete(self, server, protocol, fault, expected, code):
        failed = failure(server, fault, protocol)
        assert (type(failed), failed.status_code) == (expected, code)
        assert failed.retry_after == (7 if fault == "rate_limit" else None)

    @pytest.mark.parametrize(
        "fault",
        ["hang", "hang_after_headers", "drip_headers"],
    )
    def test_time_out(self, either, protocol, fault):
        began = time.monotonic()
        failed = failure(either, Fault(fault, seconds=0.02, text=TEXT), protocol, timeout=SHORT)
        assert type(failed) is ProviderTimeoutError
        assert failed.status_code is None
        assert SHORT * 0.9 <= time.monotonic() - began < SHORT + SLACK

    def test_the_providers_own_time_out(self, server):
        server.then("hang")
        with pytest.raises(ProviderTimeoutError, match=r"after 0\.[3-9] s"):
            begin(make(server, timeout=SHORT))

    def test_an_error_as_the_first_event(self, server, protocol):
        page = {"openai": "data: %s\n\ndata: [DONE]\n\n", "anthropic": "event: error\ndata: %s\n\n"}[protocol]
        overload = '{"error": {"type": "overloaded_error", "message": "Busy"}}'
        failed = failure(server, status(200, {"content-type": "text/event-stream"}, page % overload), protocol)
        assert (type(failed), failed.status_code) == (ProviderUnavailableError, 529)

    def test_an_error_in_one_piece(self, server, protocol):
        failed = failure(server, status(200, {}, error(protocol, "rate_limit_error", None)), protocol)
        assert (type(failed), failed.status_code) == (ProviderRateLimitError, 429)

    def test_a_slow_start_is_no_idle_time(self, server):
        stream = streamed(server, Fault("stream_slow_first", seconds=0.3, text=TEXT), idle_timeout=0.1)
        assert "".join(rest(stream)) == TEXT


class TestBreaks:
    @pytest.mark.parametrize(
        "fault",
        [
            "stream_cut",
            "stream_close",
            "stream_reset",
            "stream_garbage",
            "stream_bad_utf8",
            "stream_no_terminator_unframed",
            "stream_no_terminator_close",
            "stream_no_finish",
            "stream_endless_line",
            "stream_endless_comments",
        ],
    )
    def test_unusable(self, either, protocol, fault):
        failed = broken(either, Fault(fault, seconds=0.0 if "endless" in fault else 0.05, text=TEXT), protocol)
        assert type(failed) is InvalidProviderResponseError
        whole = "terminator" in fault or (fault == "stream_no_finish" and protocol == "openai")
        assert counts(failed.usage) == (USAGE if whole else so_far(protocol))

    def test_anthropic_without_its_last_event(self, server):
        failed = broken(server, "stream_no_terminator", "anthropic")
        assert (type(failed), counts(failed.usage)) == (InvalidProviderResponseError, USAGE)

    @pytest.mark.parametrize(
        ("kind", "code", "expected", "status_code"),
        [
            ("overloaded_error", None, ProviderUnavailableError, 529),
            ("api_error", None, ProviderUnavailableError, 500),
            ("server_error", None, ProviderUnavailableError, 500),
            ("rate_limit_error", None, ProviderRateLimitError, 429),
            ("timeout_error", None, ProviderTimeoutError, 504),
            ("authentication_error", None, ProviderError, 401),
            ("invalid_request_error", None, ProviderRequestRejectedError, 400),
            ("request_too_large", None, ProviderRequestRejectedError, 413),
            ("weather", None, InvalidProviderResponseError, 200),
        ],
    )
    def test_error_events(self, server, protocol, kind, code, expected, status_code):
        failed = broken(server, Fault("stream_error", text=TEXT, body=error(protocol, kind, code)), protocol)
        assert (type(failed), failed.status_code) == (expected, status_code)
        assert counts(failed.usage) == so_far(protocol)
        assert failed.details["error_type"] == kind
        assert failed.details["text"] == "Something is wrong."

    @pytest.mark.parametrize(
        ("body", "expected", "status_code", "fact"),
        [
            (error("openai", "", "context_length_exceeded"), ProviderRequestRejectedError, 400, "context_length"),
            (error("openai", "x", "insufficient_quota"), ProviderError, 429, "credit"),
            (error("openai", "BadRequestError", 400), ProviderRequestRejectedError, 400, "invalid"),
            (error("openai", "", 502), ProviderUnavailableError, 502, None),
            ({"error": "it broke"}, InvalidProviderResponseError, 200, None),
            (
                {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
                InvalidProviderResponseError,
                200,
                None,
            ),
        ],
    )
    def test_error_events_of_compatible_servers(self, server, body, expected, status_code, fact):
        failed = broken(server, Fault("stream_error", text=TEXT, body=body))
        assert (type(failed), failed.status_code) == (expected, status_code)
        assert (getattr(failed, "reason", None) or failed.details.get("kind")) == fact

    @pytest.mark.parametrize("fault", ["stream_stall", "stream_stall_in_framing"])
    def test_silence_beyond_the_idle_time(self, either, protocol, fault):
        began = time.monotonic()
        failed = broken(either, fault, protocol, idle_timeout=SHORT)
        assert (type(failed), failed.status_code) == (ProviderTimeoutError, None)
        assert counts(failed.usage) == so_far(protocol)
        assert SHORT * 0.9 <= time.monotonic() - began < SHORT + SLACK

    def test_a_stream_of_more_than_the_limit(self, server, monkeypatch):
        monkeypatch.setattr(openai, "LARGEST_REPLY", 5_000)
        server.then(Fault("stream_pings_after_text", text=TEXT, seconds=0.001))
        assert type(broken(server, "stream_endless_comments")) is InvalidProviderResponseError

    def test_what_was_said_stays_out_of_the_log(self, server):
        body = 'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: <b>the secret answer\n\n'
        failed = broken(server, status(200, {"content-type": "text/event-stream"}, body))
        assert "secret" not in repr((failed.message, failed.details))
        assert failed.details["text"] == "20 bytes of text/event-stream"

    @pytest.mark.parametrize(
        "event",
        [
            "{}",
            '{"choices": {"0": 1}, "usage": [1], "type": ["message_delta"], "delta": 5}',
            '{"choices": [null], "type": "message_delta", "delta": {"stop_reason": ["end_turn"]}, "usage": {"a": [1]}}',
            '{"choices": [{"delta": "text", "finish_reason": {"a": 1}}], "type": "content_block_delta", "delta": []}',
            '{"choices": [{"delta": {"content": 7, "refusal": []}}], "type": "message_start", "message": "x"}',
            '{"choices": [], "type": "content_block_start", "content_block": {"type": "text", "text": null}}',
        ],
    )
    def test_events_of_any_shape_are_no_crash(self, server, protocol, event):
        failed = broken(server, Fault("stream_event", text=TEXT, body=json.loads(event)), protocol)
        assert "it ended without" in failed.message

    def test_a_failed_stream_stays_failed(self, server):
        stream = streamed(server, "stream_garbage")
        for _ in range(2):
            with pytest.raises(ProviderError):
                rest(stream)
