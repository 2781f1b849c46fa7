"""Connections of Django's PostgreSQL pool: those that the server has closed while they lay idle, as every restart does,
and those on which it does not answer."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg.pq import TransactionStatus
from urllib3.util import wait_for_read

LONGEST_ANSWER = 10.0
"""Seconds that a server's request waits for one answer of PostgreSQL: many times what its slowest query takes."""


class Bounded(psycopg.Connection[Any]):
    """Gives up on a PostgreSQL that takes queries and answers none (a disk that hangs, a stopped process)."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, LONGEST_ANSWER if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # the answer may still come, and would be taken for that to another query
            raise


def bound_waits() -> None:
    """For a server, before its first query. A command may take its time: it migrates, audits and prunes."""
    for connection in connections.all():
        if pool := connection.settings_dict["OPTIONS"].get("pool"):
            pool["connection_class"] = Bounded


@receiver(connection_created)
def replace_if_dead(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Sent for each connection that the pool hands out, too. The pool's own check is a query each time, and waits for a
    second once it met two dead ones; to look for bytes that nobody asked for (a last error, the end) is no round trip.
    """
    if connection.settings_dict["OPTIONS"].get("pool") and wait_for_read(connection.connection, timeout=0):
        connection.connection.close()
        connection.close()  # the pool opens another in its place
        connection.connect()  # takes the next one, which comes by here as well
