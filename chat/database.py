"""Connections of Django's PostgreSQL pool that the server has closed while they lay idle, as every restart does."""

from __future__ import annotations

from typing import Any

from django.db.backends.signals import connection_created
from django.dispatch import receiver
from urllib3.util import wait_for_read


@receiver(connection_created)
def replace_if_dead(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Sent for each connection that the pool hands out, too. The pool's own check is a query each time, and waits for a
    second once it met two dead ones; to look for bytes that nobody asked for (a last error, the end) is no round trip.
    """
    if connection.settings_dict["OPTIONS"].get("pool") and wait_for_read(connection.connection, timeout=0):
        connection.connection.close()
        connection.close()  # the pool opens another in its place
        connection.connect()  # takes the next one, which comes by here as well
