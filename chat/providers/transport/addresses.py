"""A TCP connection to a host by any of its addresses, within a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

NEVER = float("inf")
SHORTEST_TRY = 1.0
"""Seconds that a single address gets at least, however many there are, as long as the connect timeout allows."""


def connect(
    host: str, port: int, ends: float, options: Any, make: Callable[..., socket.socket] = socket.socket
) -> socket.socket:
    """Return a socket of `make`'s kind that is connected. Raises `OSError`.

    Tries each address of `host` in turn, each with its fair share of the time, so that one dead address (an IPv6
    route to nowhere) cannot use up what another would need.
    """
    addresses = _resolve(host.strip("[]"), port, ends)
    failure: OSError = OSError("the name has no address")
    for tried, (family, kind, proto, _, address) in enumerate(addresses):
        left = ends - time.monotonic()
        sock = make(family, kind, proto)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            share = max(left / (len(addresses) - tried), min(left, SHORTEST_TRY), 0.001)
            sock.settimeout(None if left == NEVER else share)
            sock.connect(address)
        except OSError as exc:
            sock.close()
            failure = exc
            if ends <= time.monotonic():
                break
            continue
        sock.settimeout(None if ends == NEVER else max(ends - time.monotonic(), 0.001))
        return sock
    raise failure


def _resolve(host: str, port: int, ends: float) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            found.append(exc if isinstance(exc, OSError) else socket.gaierror(f"not a host name: {host!r}"))

    # The resolver takes no timeout, and a dead name server would hold this thread for half a minute.
    thread = threading.Thread(target=look_up, name=f"resolve {host}", daemon=True)
    thread.start()
    thread.join(None if ends == NEVER else max(ends - time.monotonic(), 0))
    if not found:
        raise TimeoutError(f"no answer for the name {host}")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])
