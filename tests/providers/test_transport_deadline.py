"""The transport's deadline against a real server on the loopback interface: nothing outlives it."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from chat.exceptions import ClientLeft, ProviderTimeoutError
from chat.providers.transport import addresses as where
from chat.providers.transport import sockets
from chat.providers.transport.endpoint import Endpoint
from tests.providers.sending import TOTAL, addresses, failure, post
from tests.support.loopback import Fault, LoopbackProvider
from tests.support.rig import SLACK, eventually


class TestWatch:
    FAULTS = [Fault("slow", seconds=0.2), Fault("drip_headers", seconds=0.002), Fault("drip_body", seconds=0.002)]

    @pytest.fixture(autouse=True)
    def often(self, monkeypatch):
        monkeypatch.setattr(sockets, "LOOK", 0.02)

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
    def test_a_client_that_stays_is_looked_for_and_gets_the_answer(self, transport, either, fault):
        either.then(fault)
        looks = []
        response = post(transport, either.url, has_left=lambda: bool(looks.append(1)))
        assert (response.status, b"hello" in response.body, len(looks) > 2) == (200, True, True)

    @pytest.mark.parametrize("fault", ["hang", "hang_after_headers", *FAULTS], ids=str)
    def test_one_that_has_left_ends_the_call_and_its_connection(self, transport, either, fault):
        either.then("ok", fault)
        assert post(transport, either.url, has_left=lambda: False).status == 200
        assert type(failure(transport, either.url, has_left=lambda: True)) is ClientLeft
        assert post(transport, either.url).status == 200
        assert either.connections == 2

    def test_a_deadline_is_no_later_for_it(self, transport, either):
        either.then("hang")
        began = time.monotonic()
        assert type(failure(transport, either.url, timeout=TOTAL, has_left=lambda: False)) is ProviderTimeoutError
        assert TOTAL <= time.monotonic() - began < TOTAL + SLACK


class TestDeadline:
    @pytest.mark.parametrize(
        "fault",
        ["drip_body", "drip_headers", "hang", "hang_after_headers", "endless_continue"],
    )
    @pytest.mark.parametrize("warm", [False, True])
    def test_is_for_the_whole_exchange(self, transport, server, fault, warm):
        if warm:
            post(transport, server.url)
        server.then(fault)
        began = time.monotonic()
        error = failure(transport, server.url, timeout=TOTAL)
        assert type(error) is ProviderTimeoutError
        assert TOTAL * 0.9 <= time.monotonic() - began < TOTAL + SLACK
        assert not error.unsent
        eventually(lambda: server.connections)  # on a busy machine it may be late to accept the first
        assert server.connections == 1

    @pytest.mark.parametrize("fault", ["drip_body", "drip_headers", "hang"])
    def test_holds_under_tls(self, transport, tls_server, fault):
        tls_server.then("ok", fault)
        assert post(transport, tls_server.url).status == 200
        began = time.monotonic()
        assert type(failure(transport, tls_server.url, timeout=TOTAL)) is ProviderTimeoutError
        assert time.monotonic() - began < TOTAL + SLACK
        assert tls_server.connections == 1

    def test_a_tls_handshake_that_hangs_is_a_connect_timeout(self, transport):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            began = time.monotonic()
            url = f"https://127.0.0.1:{mute.getsockname()[1]}"
            error = failure(transport, url, timeout=5, connect_timeout=TOTAL)
        assert type(error) is ProviderTimeoutError
        assert error.unsent
        assert time.monotonic() - began < TOTAL + SLACK

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_proxy_that_hangs(self, transport, monkeypatch, scheme):
        with LoopbackProvider("drip_headers") as proxy:
            monkeypatch.setenv(f"{scheme}_proxy", f"http://user:hunter22@127.0.0.1:{proxy.port}")
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            began = time.monotonic()
            error = failure(transport, f"{scheme}://provider.test", timeout=TOTAL)
            assert type(error) is ProviderTimeoutError
            assert "hunter22" not in str(error)
            assert time.monotonic() - began < TOTAL + SLACK
            eventually(lambda: proxy.connections == 1)

    def test_each_use_of_a_pooled_connection_has_its_own(self, transport, server):
        server.always = Fault("slow", seconds=0.3)
        for _ in range(3):
            assert post(transport, server.url, timeout=0.8).status == 200
        assert server.connections == 1

    def test_a_body_that_is_not_read_by_the_server(self, transport):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            endpoint = Endpoint("acme", f"http://127.0.0.1:{deaf.getsockname()[1]}", "/", {})
            began = time.monotonic()
            with pytest.raises(ProviderTimeoutError) as caught:
                transport.send(endpoint, b" " * 20_000_000, timeout=TOTAL, connect_timeout=TOTAL / 6)
            # A long prompt may take longer to send than a connection takes to open.
            assert TOTAL * 0.9 <= time.monotonic() - began < TOTAL + SLACK
            assert not caught.value.unsent

    def test_connect_timeout_bounds_all_addresses_together(self, transport, silent_port, monkeypatch):
        monkeypatch.setattr(where, "_resolve", lambda *args: addresses(*[silent_port] * 20))
        began = time.monotonic()
        error = failure(transport, "http://provider.test", timeout=5, connect_timeout=TOTAL)
        assert type(error) is ProviderTimeoutError
        assert error.unsent
        assert time.monotonic() - began < TOTAL + SLACK

    def test_dead_addresses_leave_time_for_the_next(self, transport, server, dead_port, silent_port, monkeypatch):
        monkeypatch.setattr(where, "_resolve", lambda *args: addresses(dead_port, silent_port, server.port))
        monkeypatch.setattr(where, "SHORTEST_TRY", 0.01)
        assert post(transport, "http://provider.test", connect_timeout=TOTAL).status == 200

    def test_a_name_server_that_is_silent(self, transport, monkeypatch):
        silent = threading.Event()
        real = socket.getaddrinfo

        def look_up(host, *args, **kwargs):
            if not kwargs.get("flags"):
                silent.wait(10)
            return real(host, *args, **kwargs)

        monkeypatch.setattr(where.socket, "getaddrinfo", look_up)
        began = time.monotonic()
        error = failure(transport, "http://provider.test", connect_timeout=TOTAL)
        silent.set()
        assert type(error) is ProviderTimeoutError
        assert error.unsent
        assert time.monotonic() - began < TOTAL + SLACK

    def test_no_time_left_asks_nobody(self, transport, server):
        assert failure(transport, server.url, timeout=0).unsent
        assert server.connections == 0
