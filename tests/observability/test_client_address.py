"""The client's address behind proxies: theirs to tell, never the client's to choose."""

from __future__ import annotations

import socket
from uuid import uuid4

import pytest

from chat.observability.client_address import client_ip

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("hops", "header", "client"),
    [
        (0, "", PEER),
        (0, "203.0.113.7", PEER),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (2, "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (2, "6.6.6.6,203.0.113.7,10.0.0.2", "203.0.113.7"),
        (3, "203.0.113.7, 10.0.0.3, 10.0.0.2", "203.0.113.7"),
    ],
)
def test_as_many_entries_from_the_right_as_there_are_proxies(hops, header, client):
    assert client_ip(PEER, header, hops) == client


@pytest.mark.parametrize(
    ("entry", "client"),
    [
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[::1]:80", "::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
        ("\t1.2.3.4  ", "1.2.3.4"),
    ],
)
def test_every_spelling_of_an_address(entry, client):
    assert client_ip(PEER, f"6.6.6.6, {entry}", 1) == client


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("header", ["", " ", ",", ",,,,"])
def test_an_empty_header_leaves_the_peer(header, hops):
    assert client_ip(PEER, header, hops) == PEER


@pytest.mark.parametrize("header", ["6.6.6.6", "6.6.6.6, 6.6.6.7"])
def test_too_few_entries_did_not_come_through_the_proxies_so_the_peer_it_is(header):
    assert client_ip(PEER, header, 3) == PEER


MALFORMED = [
    "unknown",
    "localhost",
    "_hidden",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.04",
    "1.2.3.4:",
    "1.2.3.4:http",
    "1.2.3.4:123456",
    "[1.2.3.4",
    "::1]:80",
    "fe80::1%eth0",
    '"[::1]"',
    "1.2.3.4 6.6.6.6",
    "",
    "١.2.3.4",
    "16909060",
    "for=1.2.3.4",
]


@pytest.mark.parametrize("entry", MALFORMED)
def test_a_malformed_entry_never_makes_room_for_a_forged_one(entry):
    assert client_ip(PEER, f"6.6.6.6, {entry}", 1) == PEER
    assert client_ip(PEER, f"6.6.6.6, {entry}, 10.0.0.2", 2) == "10.0.0.2"
    assert client_ip(PEER, f"6.6.6.6, 203.0.113.7, {entry}", 2) == "203.0.113.7"


def logged(server, log, *headers: str) -> set[str]:
    """The client_ip of every log line of a request with these header lines, sent over a socket."""
    with socket.create_connection((server.thread.host, server.thread.port), timeout=5) as client:
        request_id = uuid4().hex
        headers = ("Host: localhost", "Connection: close", f"X-Request-ID: {request_id}", *headers)
        lines = ["GET /health HTTP/1.1", *headers, "", ""]
        client.sendall("\r\n".join(lines).encode())
        while client.recv(4096):
            pass
    return {line["client_ip"] for line in log.of(request_id)}


def test_over_a_socket(live_server, log, settings):
    forged = "X-Forwarded-For: 6.6.6.6"
    assert logged(live_server, log, forged) == {"127.0.0.1"}
    settings.TRUSTED_PROXY_HOPS = 1
    assert logged(live_server, log) == {"127.0.0.1"}
    assert logged(live_server, log, "X-Forwarded-For: 6.6.6.6, 203.0.113.7") == {"203.0.113.7"}
    assert logged(live_server, log, forged, "X-Forwarded-For: [2001:db8::1]:443") == {"2001:db8::1"}
    assert logged(live_server, log, forged, "X-Forwarded-For: unknown") == {"127.0.0.1"}
    settings.TRUSTED_PROXY_HOPS = 2
    assert logged(live_server, log, forged) == {"127.0.0.1"}
    assert logged(live_server, log, forged, "x-forwarded-for: 203.0.113.7", "X-Forwarded-For: 10.0.0.2") == {
        "203.0.113.7"
    }
    assert logged(live_server, log, "X_Forwarded_For: 6.6.6.6, 6.6.6.7") == {"127.0.0.1"}
