"""Streams of both protocols from a real server on the loopback interface: what arrives, and how each break is told."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.providers import incoming
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import ChatMessage, ChatRequest, ChatStream, Usage
from chat.providers.openai import OpenAIProvider
from chat.providers.transport import Transport
from tests.loopback import Fault, LoopbackProvider, status
from tests.loopback_faults import error
from tests.rig import eventually

TEXT = "one two three"
USAGE = Usage(9, 12)
REQUEST = ChatRequest((ChatMessage("user", "Tell me about grey geese in autumn"),), 50, 0.7, "req-1")
SHORT = 0.3
SLACK = 1.5
"""Seconds that a busy machine may add."""


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request):
    return request.param


@pytest.fixture
def server():
    with LoopbackProvider() as server:
        yield server


@pytest.fixture(params=["plain", "tls"])
def either(request):
    """The server, without TLS and with."""
    return request.getfixturevalue("server" if request.param == "plain" else "tls_server")


def make(server: LoopbackProvider, protocol: str = "openai", timeout: float = 5.0):
    kind, url = (OpenAIProvider, server.openai_url) if protocol == "openai" else (AnthropicProvider, server.url)
    transport = Transport(pool_size=2)
    return kind(
        key="acme", base_url=url, api_key="sk-test-1234", timeout=timeout, connect_timeout=2.0, transport=transport
    )


def begin(provider, fault="ok", *, timeout=5.0, idle_timeout=5.0, request=REQUEST) -> ChatStream:
    return provider.stream(request, model="m", timeout=timeout, idle_timeout=idle_timeout)


def streamed(server, fault, protocol="openai", *, timeout=5.0, idle_timeout=5.0) -> ChatStream:
    server.then(Fault(fault, text=TEXT) if isinstance(fault, str) else fault)
    return begin(make(server, protocol), timeout=timeout, idle_timeout=idle_timeout)


def rest(stream: ChatStream) -> list[str]:
    return [piece for piece in iter(lambda: stream.next(5.0), None) if piece]


def failure(server, fault, protocol="openai", **options) -> ProviderError:
    """What is raised before there is any text."""
    with pytest.raises(ProviderError) as caught:
        streamed(server, fault, protocol, **options)
    assert caught.value.provider == "acme"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def broken(server, fault, protocol="openai", **options) -> ProviderError:
    """What is raised after the first text."""
    stream = streamed(server, fault, protocol, **options)
    with pytest.raises(ProviderError) as caught:
        rest(stream)
    assert stream.finish_reason is None
    assert caught.value.provider == "acme"
    assert TEXT.split()[0] not in repr((caught.value.message, caught.value.details))
    stream.close()
    return caught.value


def so_far(protocol: str) -> Usage | None:
    """The usage known once the first text is there."""
    return Usage(9, 1) if protocol == "anthropic" else None


class TestRequest:
    def test_openai(self, server):
        request = ChatRequest(REQUEST.messages, 50, 0.7, top_p=0.9, stop=("\n", "END"))
        begin(make(server), request=request).close()
        (sent,) = server.requests
        assert sent.json["stream"] is True
        assert sent.json["stream_options"] == {"include_usage": True}
        assert (sent.json["top_p"], sent.json["stop"], sent.json["temperature"]) == (0.9, ["\n", "END"], 0.7)

    def test_anthropic(self, server):
        request = ChatRequest(REQUEST.messages, 50, 0.7, top_p=0.9, stop=("\n", " ", "END"))
        begin(make(server, "anthropic"), request=request).close()
        (sent,) = server.requests
        assert sent.json["stream"] is True
        assert "stream_options" not in sent.json
        assert sent.json["stop_sequences"] == ["END"]
        assert sent.json["top_p"] == 0.9
        assert "temperature" not in sent.json

    @pytest.mark.parametrize("top_p", [None, 1.0])
    def test_anthropic_gets_a_temperature_or_a_top_p(self, server, top_p):
        request = ChatRequest(REQUEST.messages, 50, 0.7, top_p=top_p, stop=(" ",))
        make(server, "anthropic").complete(request, model="m", timeout=5)
        (sent,) = server.requests
        assert sent.json["temperature"] == 0.7
        assert not {"top_p", "stop_sequences", "stream"} & set(sent.json)

    def test_complete_sends_them_too(self, server):
        request = ChatRequest(REQUEST.messages, 50, 0.7, top_p=0.0, stop=("END",))
        make(server).complete(request, model="m", timeout=5)
        make(server, "anthropic").complete(request, model="m", timeout=5)
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
        assert stream.next(0) == "one "
        assert rest(stream) == ["two ", "three"]
        assert (stream.finish_reason, stream.usage) == ("stop", USAGE)
        assert stream.next(0) is None
        stream.close()
        assert stream.next(0) is None

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
        assert (stream.finish_reason, stream.usage) == (finish, usage)

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
        assert (stream.finish_reason, stream.usage) == (finish, usage)

    def test_characters_of_many_bytes_and_leading_space(self, server, protocol):
        text = "\n \U0001f600 gr\u00fc\u00dfe \u65e5\u672c"
        for fault in ("stream_split", "stream_at_once"):
            assert "".join(rest(streamed(server, Fault(fault, text=text), protocol))) == text

    def test_usage_while_it_arrives(self, server, protocol):
        assert streamed(server, "stream_stall", protocol).usage == so_far(protocol)


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
            ("no_choices", USAGE),
            ("null_content", USAGE),
            ("empty_content", USAGE),
            ("tool_calls", USAGE),
            ("reasoning_only", USAGE),
            (Fault(text=" \n "), USAGE),
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
        assert failed.usage == usage

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
        ["hang", "hang_after_headers", "drip_headers", "drip_body", "stream_comments_only", "stream_pings_only"],
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
            "stream_no_finish",
            "stream_endless_line",
            "stream_endless_comments",
        ],
    )
    def test_unusable(self, either, protocol, fault):
        failed = broken(either, Fault(fault, seconds=0.0 if "endless" in fault else 0.05, text=TEXT), protocol)
        assert type(failed) is InvalidProviderResponseError
        whole = "terminator" in fault or (fault == "stream_no_finish" and protocol == "openai")
        assert failed.usage == (USAGE if whole else so_far(protocol))

    def test_anthropic_without_its_last_event(self, server):
        failed = broken(server, "stream_no_terminator", "anthropic")
        assert (type(failed), failed.usage) == (InvalidProviderResponseError, USAGE)

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
        assert failed.usage == so_far(protocol)
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
        assert failed.usage == so_far(protocol)
        assert SHORT * 0.9 <= time.monotonic() - began < SHORT + SLACK

    def test_a_stream_of_more_than_the_limit(self, server, monkeypatch):
        monkeypatch.setattr(incoming, "MAX_BODY", 5_000)
        server.then(Fault("stream_pings_after_text", text=TEXT, seconds=0.001))
        assert type(broken(server, "stream_endless_comments")) is InvalidProviderResponseError

    def test_a_failed_stream_stays_failed(self, server):
        stream = streamed(server, "stream_garbage")
        for _ in range(2):
            with pytest.raises(ProviderError):
                rest(stream)


class TestSilence:
    def test_is_told_and_does_no_harm(self, either, protocol):
        fault = Fault("stream_pauses", text=TEXT, seconds=0.15)
        stream = streamed(either, fault, protocol)
        pieces = list(iter(lambda: stream.next(0.05), None))
        assert pieces.count("") >= 2
        assert "".join(pieces) == TEXT
        assert (stream.finish_reason, stream.usage) == ("stop", USAGE)

    def test_takes_as_long_as_asked(self, either):
        stream = streamed(either, "stream_stall")
        assert stream.next(0) == "one "
        for seconds in (0.0, 0.2):
            began = time.monotonic()
            assert stream.next(seconds) == ""
            assert seconds * 0.9 <= time.monotonic() - began < seconds + SLACK / 3

    def test_what_is_there_needs_no_waiting(self, either, protocol):
        stream = streamed(either, "stream_at_once", protocol)
        time.sleep(0.05)
        assert list(iter(lambda: stream.next(0), None)) == ["one ", "two ", "three"]

    def test_single_bytes_are_silence_until_they_make_a_text(self, either, protocol):
        stream = streamed(either, Fault("drip_body", text=TEXT, seconds=0.0005), protocol, idle_timeout=1.0)
        pieces = list(iter(lambda: stream.next(0.02), None))
        assert "" in pieces
        assert "".join(pieces) == TEXT

    def test_pings_are_life_but_no_text(self, server, protocol):
        stream = streamed(
            server, Fault("stream_pings_after_text", text=TEXT, seconds=0.05), protocol, idle_timeout=SHORT
        )
        began = time.monotonic()
        while time.monotonic() - began < SHORT * 2:
            assert stream.next(0.1) is not None
        stream.close()

    def test_the_request_s_own_time_out_is_over(self, server):
        stream = streamed(server, Fault("stream_pauses", text=TEXT, seconds=0.15), timeout=0.5)
        time.sleep(0.5)
        assert "".join(rest(stream)) == TEXT


class TestThreads:
    def test_read_in_another_thread_than_opened(self, either, protocol):
        either.then(Fault("stream_pauses", text=TEXT, seconds=0.05))
        provider = make(either, protocol)
        with ThreadPoolExecutor(1) as opener:
            stream = opener.submit(begin, provider, timeout=1.0).result()
        with ThreadPoolExecutor(1) as reader:
            first = reader.submit(stream.next, 5.0).result()
        assert first + "".join(rest(stream)) == TEXT

    def test_close_wakes_a_reader(self, either):
        stream = streamed(either, "stream_stall")
        stream.next(0)
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(stream.next, 30.0)
            time.sleep(0.1)
            began = time.monotonic()
            stream.close()
            assert isinstance(reader.exception(5), ProviderError)
        assert time.monotonic() - began < SLACK
        assert either.left.wait(1)


class TestConnection:
    @pytest.mark.parametrize("fault", ["stream_stall", "stream_pauses", "stream_pings_after_text"])
    def test_close_is_noticed_by_the_provider(self, either, protocol, fault):
        stream = streamed(either, Fault(fault, text=TEXT, seconds=0.2), protocol)
        stream.next(1)
        assert not either.left.is_set()
        stream.close()
        stream.close()
        assert either.left.wait(1)
        with pytest.raises(ProviderError):
            stream.next(0)

    @pytest.mark.parametrize("fault", ["ok", "stream_at_once", "stream_one_piece", "drip_body"])
    def test_is_used_again_after_a_whole_answer(self, either, protocol, fault):
        provider = make(either, protocol)
        for _ in range(2):
            either.then(Fault(fault, text=TEXT, seconds=0.0), "ok")
            stream = begin(provider)
            assert "".join(rest(stream)) == TEXT
            assert provider.complete(REQUEST, model="m", timeout=5).text == "hello"
            stream.close()
        assert either.connections == 1

    @pytest.mark.parametrize("fault", ["stream_garbage", "stream_stall", "stream_goes_on", "stream_close"])
    def test_is_not_used_again_after_another(self, either, fault):
        provider = make(either)
        either.then(Fault(fault, text=TEXT))
        stream = begin(provider, idle_timeout=0.1)
        if fault == "stream_goes_on":
            assert "".join(rest(stream)) == TEXT
        else:
            with pytest.raises(ProviderError):
                rest(stream)
        assert begin(provider).next(0)
        assert either.connections == 2

    def test_a_last_event_is_the_end_even_if_the_body_has_none(self, server):
        stream = streamed(server, Fault("stream_pings_after_text", text=TEXT, seconds=0.01))
        stream.close()
        server.then(status(200, {"content-type": "text/event-stream", "content-length": "9999"}, WHOLE))
        stream = begin(make(server))
        began = time.monotonic()
        assert rest(stream) == ["hi"]
        assert time.monotonic() - began < SLACK

    def test_nothing_leaks(self, server, protocol):
        provider = make(server, protocol)
        broken = ["stream_cut", "stream_garbage", "stream_error", "stream_reset", "stream_stall", "html", "overloaded"]
        before = sockets()
        gc.disable()  # what is left to the collector has leaked
        try:
            for fault in ["ok", *broken, *broken, "ok"]:
                server.then(Fault(fault, text=TEXT))
                try:
                    rest(begin(provider, idle_timeout=0.05))
                except ProviderError:
                    assert fault != "ok"
            eventually(lambda: sockets() <= before + 2)  # both ends of the connection that is kept
        finally:
            gc.enable()
        assert {thread.name for thread in threading.enumerate()} <= {"loopback", "MainThread"}


def sockets() -> int:
    """How many this process has open."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(link.startswith("socket:") for link in links)


WHOLE = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
