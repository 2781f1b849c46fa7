"""The transport against a real server on the loopback interface: deadlines, limits, and what each fault becomes."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.exceptions import (
    ClientLeft,
    InvalidProviderResponseError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.protocols.payload import LARGEST_REPLY, Response
from chat.protocols.waits import retry_after
from chat.providers.transport import addresses as where
from chat.providers.transport import sockets
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.pool import Transport
from tests.support.loopback import Fault, LoopbackProvider, status
from tests.support.rig import SLACK, eventually

TOTAL = 0.3


@pytest.fixture
def transport():
    transport = Transport(pool_size=4)
    yield transport
    transport.close()


@pytest.fixture
def dead_port():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()[1]


@pytest.fixture
def silent_port():
    """A port where no connection comes about and none is refused, as with a host that drops packets."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def addresses(*ports):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def post(transport: Transport, url: str, timeout: float = 5.0, connect_timeout: float = 5.0, **options) -> Response:
    endpoint = Endpoint("acme", url, "/v1/chat/completions", {"Authorization": "Bearer sk-secret-1234"})
    ends = time.monotonic() + timeout
    incoming = transport.send(endpoint, b"{}", timeout=timeout, connect_timeout=connect_timeout, **options)
    return incoming.whole(ends - time.monotonic())


def failure(transport: Transport, url: str, **kwargs) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        post(transport, url, **kwargs)
    error = caught.value
    assert error.provider == "acme"
    assert "sk-secret" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    return error


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


class TestFaults:
    def test_refused_connection(self, transport, dead_port):
        error = failure(transport, f"http://127.0.0.1:{dead_port}")
        assert type(error) is ProviderUnavailableError
        assert error.unsent
        assert "127.0.0.1" in error.message
        assert "refused" in error.message

    def test_unknown_host(self, transport, monkeypatch):
        def unknown(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(where.socket, "getaddrinfo", unknown)
        error = failure(transport, "http://provider.invalid")
        assert type(error) is ProviderUnavailableError
        assert error.unsent

    def test_untrusted_certificate(self, transport, tls_server, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        error = failure(transport, tls_server.url)
        assert type(error) is ProviderUnavailableError
        assert error.unsent
        assert tls_server.requests == []

    def test_refusing_proxy(self, transport, monkeypatch):
        with LoopbackProvider(status(407)) as proxy:
            monkeypatch.setenv("https_proxy", f"http://user:hunter22@127.0.0.1:{proxy.port}")
            error = failure(transport, "https://provider.test")
        assert type(error) is ProviderUnavailableError
        assert error.unsent
        assert "hunter22" not in str(error)

    @pytest.mark.parametrize("fault", ["reset", "close"])
    def test_connection_lost_before_the_answer(self, transport, server, fault):
        error = failure(transport, server.then(fault).url)
        assert type(error) is ProviderUnavailableError
        assert not error.unsent

    @pytest.mark.parametrize(
        "fault",
        [
            "bad_status_line",
            "endless_header",
            "endless_headers",
            "close_half_way",
            "chunk_half_way",
            "huge",
            "gzip_bomb",
            "bad_gzip",
        ],
    )
    def test_not_a_whole_response(self, transport, server, fault):
        assert type(failure(transport, server.then(fault).url)) is InvalidProviderResponseError

    def test_the_connection_of_a_bad_answer_is_not_used_again(self, transport, server):
        failure(transport, server.then("huge").url)
        assert post(transport, server.url).status == 200
        assert server.connections == 2

    def test_a_gzip_bomb_does_not_fill_the_memory(self, transport, server):
        post(transport, server.url)
        tracemalloc.start()
        failure(transport, server.then("gzip_bomb").url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * LARGEST_REPLY

    def test_an_error_status_survives_a_broken_body(self, transport, server):
        server.then(status(429, {"content-length": "5000"}, "{"))
        assert post(transport, server.url, timeout=2.0).status == 429

    @pytest.mark.parametrize("code", [103, 204, 301, 307, 404, 529])
    def test_other_statuses_are_answers(self, transport, server, code):
        with LoopbackProvider() as elsewhere:
            server.then(status(code, {"location": elsewhere.url}))
            assert post(transport, server.url).status == code
            assert elsewhere.requests == []


class TestRequest:
    def test_carries_the_key_and_no_surprises(self, transport, server, tmp_path, monkeypatch):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password stolen\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        server.then(status(200, {"set-cookie": "a=b"}, "{}"))
        post(transport, server.url)
        post(transport, server.url, headers={"X-More": "1"})
        first, second = server.requests
        assert first.headers["authorization"] == "Bearer sk-secret-1234"
        assert first.headers["accept-encoding"] == "identity"
        assert "x-more" not in first.headers
        assert second.headers["x-more"] == "1"
        assert "cookie" not in second.headers

    def test_loopback_is_never_asked_through_a_proxy(self, transport, server, dead_port, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert post(transport, server.url).status == 200

    def test_others_are_asked_through_it(self, transport, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "internal.test")
        assert post(transport, "http://provider.test").status == 200
        assert server.requests[0].path == "http://provider.test/v1/chat/completions"
        assert Endpoint("acme", "http://internal.test", "/", {}).proxies == {}

    def test_base_url_with_query_and_credentials(self, transport, server):
        url = f"http://me:hunter22@127.0.0.1:{server.port}/base/?api-version=1"
        transport.send(Endpoint("acme", url, "/x", {}), b"{}", timeout=5, connect_timeout=5)
        assert server.requests[0].path == "/base/x?api-version=1"
        assert server.requests[0].headers["authorization"].startswith("Basic ")

    @pytest.mark.parametrize("url", ["", "nonsense", "http://", "ftp//x"])
    def test_unusable_base_url(self, url):
        with pytest.raises(ValueError, match="acme"):
            Endpoint("acme", url, "/", {})

    @pytest.mark.parametrize("key", ["sk-a\nb", "sk-ключ"])
    def test_unusable_key_is_refused_and_not_told(self, key):
        with pytest.raises(ValueError, match="x-api-key header of provider 'acme'") as caught:
            Endpoint("acme", "http://127.0.0.1", "/", {"x-api-key": key})
        assert key not in str(caught.value)


class TestPool:
    def test_threads_reuse_as_many_connections_as_the_pool_is_large(self, server):
        transport = Transport(pool_size=8)
        barrier = threading.Barrier(8)

        def both() -> None:
            for _ in range(2):
                barrier.wait(5)
                post(transport, server.url)

        # Slow enough that all eight are open at once.
        server.always = Fault("slow", seconds=0.05)
        threads = [threading.Thread(target=both) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        transport.close()
        assert len(server.requests) == 16
        assert server.connections == 8


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "121"}, 120),
        ({"retry-after": "86400"}, 120),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Fri, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "7"}, 7),
        ({"retry-after-ms": "junk", "retry-after": "7"}, 7),
        ({"retry-after-ms": "9999999"}, 120),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(("ahead", "seconds"), [(-3600, None), (60, pytest.approx(60, abs=5)), (3600, 120)])
def test_retry_after_as_a_date(ahead, seconds):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert retry_after({"retry-after": when}) == seconds


def test_the_loopback_provider_stops_at_once_and_leaves_no_thread(transport):
    with LoopbackProvider("hang") as server:
        failure(transport, server.url, timeout=0.05)
        began = time.monotonic()
    assert time.monotonic() - began < SLACK
    assert not [thread for thread in threading.enumerate() if thread.name == "loopback"]
