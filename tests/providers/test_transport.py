"""The transport against a real server on the loopback interface: limits, and what each fault becomes."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderUnavailableError,
)
from chat.protocols.payload import LARGEST_REPLY
from chat.protocols.waits import retry_after
from chat.providers.transport import addresses as where
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.pool import Transport
from tests.providers.sending import failure, post
from tests.support.loopback import Fault, LoopbackProvider, status
from tests.support.rig import SLACK


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

    @pytest.mark.parametrize("code", [101, 204, 301, 307, 404, 529])
    def test_other_statuses_are_answers(self, transport, server, code):
        with LoopbackProvider() as elsewhere:
            server.then(status(code, {"location": elsewhere.url}))
            assert post(transport, server.url).status == code
            assert elsewhere.requests == []

    def test_an_answer_that_is_announced_goes_to_nobody_else(self, transport, server):
        server.then(Fault("informational", seconds=0.2, text="for the first"), Fault(text="for the second"))
        first, second = (post(transport, server.url) for _ in range(2))
        assert (first.status, b"for the first" in first.body) == (200, True)
        assert (second.status, b"for the second" in second.body) == (200, True)
        assert server.connections == 1

    @pytest.mark.parametrize("code", [101, 204, 304])
    def test_after_an_answer_without_a_body_nothing_is_believed_of_its_connection(self, transport, server, code):
        assert post(transport, server.then(status(code)).url).status == code
        post(transport, server.url)
        assert server.connections == 2


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
