"""Streams of both protocols while nothing arrives, in several threads, and what becomes of their connections."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from chat.exceptions import ProviderError
from chat.types import Upstream
from tests.providers.streaming import REQUEST, SHORT, TEXT, USAGE, begin, counts, make, rest, said, streamed
from tests.support.loopback import Fault, status
from tests.support.rig import SLACK, eventually


class TestSilence:
    def test_is_told_and_does_no_harm(self, either, protocol):
        fault = Fault("stream_pauses", text=TEXT, seconds=0.15)
        stream = streamed(either, fault, protocol)
        pieces = list(iter(lambda: said(stream, 0.05), None))
        assert pieces.count("") >= 2
        assert "".join(pieces) == TEXT
        assert (stream.finish_reason, counts(stream.usage)) == ("stop", USAGE)

    def test_takes_as_long_as_asked(self, either):
        stream = streamed(either, "stream_stall")
        assert said(stream, 0) == "one "
        for seconds in (0.0, 0.2):
            began = time.monotonic()
            assert said(stream, seconds) == ""
            assert seconds * 0.9 <= time.monotonic() - began < seconds + SLACK

    def test_what_is_there_needs_no_waiting(self, either, protocol):
        stream = streamed(either, "stream_at_once", protocol)
        time.sleep(0.05)
        assert list(iter(lambda: said(stream, 0), None)) == ["one ", "two ", "three"]

    def test_what_has_come_meanwhile_needs_none_either(self, either, protocol):
        stream = streamed(either, Fault("stream_pauses", text=TEXT, seconds=0.02), protocol)
        assert said(stream, 0) == "one "
        time.sleep(0.5)
        # TLS hands over one record at a time, and not each has text.
        assert [piece for piece in (said(stream, 0) for _ in range(20)) if piece] == ["two ", "three"]
        assert said(stream, 0) is None

    def test_single_bytes_are_silence_until_they_make_a_text(self, either, protocol):
        stream = streamed(either, Fault("drip_body", text=TEXT, seconds=0.0005), protocol, idle_timeout=1.0)
        pieces = list(iter(lambda: said(stream, 0.02), None))
        assert "" in pieces
        assert "".join(pieces) == TEXT

    def test_pings_are_life_but_no_text(self, server, protocol):
        stream = streamed(
            server, Fault("stream_pings_after_text", text=TEXT, seconds=0.05), protocol, idle_timeout=SHORT
        )
        began = time.monotonic()
        while time.monotonic() - began < SHORT * 2:
            assert said(stream, 0.1) is not None
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
            stream = opener.submit(begin, provider, timeout=5.0).result()
        with ThreadPoolExecutor(1) as reader:
            first = reader.submit(said, stream, 5.0).result()
        assert first + "".join(rest(stream)) == TEXT


class TestConnection:
    @pytest.mark.parametrize("fault", ["stream_stall", "stream_pauses", "stream_pings_after_text"])
    def test_close_is_noticed_by_the_provider(self, either, protocol, fault):
        stream = streamed(either, Fault(fault, text=TEXT, seconds=0.2), protocol)
        said(stream, 1)
        assert not either.left.is_set()
        stream.close()
        stream.close()
        assert either.left.wait(5)
        with pytest.raises(ProviderError):
            said(stream, 0)

    @pytest.mark.parametrize("fault", ["ok", "stream_at_once", "stream_one_piece", "drip_body"])
    def test_is_used_again_after_a_whole_answer(self, either, protocol, fault):
        provider = make(either, protocol)
        for _ in range(2):
            either.then(Fault(fault, text=TEXT, seconds=0.0), "ok")
            stream = begin(provider)
            assert "".join(rest(stream)) == TEXT
            assert provider.complete(REQUEST, upstream=Upstream("m"), timeout=5).text == "hello"
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
        assert said(begin(provider), 0)
        assert either.connections == 2

    def test_a_last_event_is_the_end_even_if_the_body_has_none(self, server):
        stream = streamed(server, Fault("stream_pings_after_text", text=TEXT, seconds=0.01))
        stream.close()
        server.then(status(200, {"content-type": "text/event-stream", "content-length": "9999"}, WHOLE))
        stream = begin(make(server))
        began = time.monotonic()
        assert rest(stream) == ["hi"]
        assert time.monotonic() - began < SLACK

    def test_bytes_after_the_end_spoil_it(self, server):
        headers = {"content-type": "text/event-stream", "content-length": str(len(WHOLE))}
        server.then(status(200, headers, WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), "ok")
        provider = make(server)
        assert rest(begin(provider)) == ["hi"]
        assert provider.complete(REQUEST, upstream=Upstream("m"), timeout=5).text == "hello"
        assert server.connections == 2

    def test_nothing_leaks(self, server, protocol):
        provider, threads = make(server, protocol), {thread.name for thread in threading.enumerate()}
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
        assert {thread.name for thread in threading.enumerate()} <= threads | {"loopback"}


def sockets() -> int:
    """How many this process has open."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(link.startswith("socket:") for link in links)


WHOLE = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
