"""A transport and a client, and servers for them: plain, with TLS, both in turn, or none at all."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack

import pytest

from chat.providers.transport.pool import Transport
from tests.support.loopback import LoopbackProvider
from tests.support.openai_client import make


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


@pytest.fixture
def server():
    with LoopbackProvider() as server:
        yield server


@pytest.fixture
def provider(server):
    """A client of the server, in OpenAI's protocol."""
    return make(server.openai_url)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, as (certificate, key) paths."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make a certificate")
    where = tmp_path_factory.mktemp("tls")
    certificate, key = where / "certificate.pem", where / "key.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *made, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def tls_server(authority, monkeypatch):
    certificate, key = authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with LoopbackProvider(tls=context) as server:
        yield server


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request):
    return request.param


@pytest.fixture(params=["plain", "tls"])
def either(request):
    """The server, without TLS and with."""
    return request.getfixturevalue("server" if request.param == "plain" else "tls_server")
