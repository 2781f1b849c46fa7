"""A mail server on TLS that drips its answers: it holds the sender no longer than a plain one."""

from __future__ import annotations

import smtplib
import ssl

import pytest
from django.core.mail import EmailMessage

from chat.management.mail import EmailBackend
from tests.support.receiver import drip, talking

READY, HELLO = b"220 ready\r\n", b"250-hello\r\n250 STARTTLS\r\n"


@pytest.fixture
def over_tls(authority, monkeypatch):
    """`over_tls(b"220 go")` makes what a server does once it has said that: it speaks TLS, and drips."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))

    def made(*words):
        def go_on(connection):
            for word in words:
                connection.sendall(word)
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.sendall(READY)
                secure.recv(1_000)
                drip(secure)

        return go_on

    return made


@pytest.mark.parametrize("way", ["STARTTLS", "TLS from the first byte"])
def test_a_server_on_tls_that_drips_is_left_in_time(over_tls, way):
    later = way == "STARTTLS"
    talk = [READY, HELLO, over_tls(b"220 go on\r\n")] if later else [over_tls()]
    with talking(*talk) as port:
        backend = EmailBackend("127.0.0.1", port, use_tls=later, use_ssl=not later, timeout=0.5)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out|deadline"):
            EmailMessage("Subject", "Text", to=["ops@example.org"], connection=backend).send()
