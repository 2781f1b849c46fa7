"""SMTP over sockets that keep a deadline.

The timeout of `smtplib` bounds each wait for bytes, so a mail server that drips its answers holds a thread for ever.
Here it is the total of a session, from the look-up of the name to the goodbye.
"""

from __future__ import annotations

import smtplib
import socket
import time

from chat.providers.transport.addresses import NEVER, connect
from chat.providers.transport.sockets import DeadlineSocket


class DeadlineSMTP(smtplib.SMTP):
    """An SMTP session on a deadline socket; one that is made TLS by an `ssl_context` of ours goes on with the rest."""

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return connect(host, port, NEVER if timeout is None else time.monotonic() + timeout, None, DeadlineSocket)


class DeadlineSMTPS(smtplib.SMTP_SSL, DeadlineSMTP):
    """The same, with TLS from its first byte."""
