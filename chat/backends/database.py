"""Connections of Django's PostgreSQL pool: a statement on one of them, those that the server has closed while they lay
idle, as every restart does, and those on which it does not answer."""

from __future__ import annotations

import select
import time
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg.pq import TransactionStatus

from chat.backends.pooler import is_pooled

LONGEST_ANSWER = 10.0
"""Seconds that a server's request waits for one answer of PostgreSQL: many times what its slowest query takes. Also
those that it stands in line for a connection, which in a rush of a thousand chats takes longer than to find PostgreSQL
gone."""
RECENTLY = 0.5
"""Seconds for which an answer of PostgreSQL shows that it is there; less than the pool takes to give up."""

_answered_at = float("-inf")


class Bounded(psycopg.Connection[Any]):
    """Gives up on a PostgreSQL that takes queries and answers none (a disk that hangs, a stopped process)."""

    is_direct = False
    """Whether no pooler such as PgBouncer stands in between."""

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Any:
        """Return a new connection, which knows whether it is direct."""
        connection = super().connect(*args, **kwargs)
        connection.is_direct = not is_pooled(connection)
        return connection

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, LONGEST_ANSWER if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # the answer may still come, and would be taken for that to another query
            raise


def name() -> str:
    """Return the name of the database, for people; without its password."""
    settings = connection.settings_dict
    place = f"{settings['HOST'] or 'localhost'}:{settings['PORT'] or 5432}/" if connection.vendor != "sqlite" else ""
    return f"The database {place}{settings['NAME']} ({connection.display_name})"


def bound_waits() -> None:
    """For a server, before its first query. A command may take its time: it migrates, audits and prunes."""
    for database in connections.all():
        if pool := database.settings_dict["OPTIONS"].get("pool"):
            pool |= {"connection_class": Bounded, "timeout": LONGEST_ANSWER, "reconnect_failed": send_away}


def send_away(pool: Any) -> None:
    """Act, as the pool's callback, when a connection could not be opened. If no other works either, PostgreSQL is gone,
    and whoever stands in line is told now, not when his time is over. psycopg has this only for a pool that is
    closed."""
    if time.monotonic() - _answered_at < RECENTLY:
        return  # it only takes no more connections
    with pool._lock:
        waiting = list(pool._waiting)
        pool._waiting.clear()
    for client in waiting:
        client.fail(psycopg.OperationalError("PostgreSQL cannot be reached."))


@receiver(connection_created)
def replace_if_dead(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Sent for each connection that the pool hands out, too. The pool's own check is a query each time, and waits for a
    second once it met two dead ones; to look for bytes that nobody asked for (a last error, the end) is no round trip.
    """
    if connection.settings_dict["OPTIONS"].get("pool") and is_dead(connection.connection):
        connection.connection.close()
        connection.close()  # the pool opens another in its place
        connection.connect()  # takes the next one, which comes by here as well


def is_dead(connection: Any) -> bool:
    """Return whether bytes lie there that nobody asked for."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def fetch(sql: str, values: Any) -> list[Any]:
    """Return the rows of one statement. On PostgreSQL it is a transaction of its own, prepared, on a connection of the
    pool that goes back at once; with Django's cursor it takes twice as long, here and there. Behind a pooler nothing is
    prepared: an older PgBouncer hands a chat's next transaction to a process where the same name may stand for
    another's statement.

    Where Django holds a connection already, in a block or behind its ORM, that one is used: with all connections lent,
    to wait for a second one could be to wait for oneself.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    pool = database.pool if database.vendor == "postgresql" else None
    if pool is None or database.connection is not None or database.in_atomic_block or database.queries_logged:
        with database.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())
    with database.wrap_database_errors:
        try:
            return _rows(pool, sql, values, prepare=True)
        except psycopg.errors.FeatureNotSupported:  # a migration has changed the type of a column that it returns
            return _rows(pool, sql, values, prepare=False)


def _rows(pool: Any, sql: str, values: Any, *, prepare: bool) -> list[Any]:
    global _answered_at
    connection = borrow(pool)
    try:
        if not connection.autocommit:  # Django closed it in the middle of a block
            connection.autocommit = True
        connection.prepare_threshold = 0
        direct = isinstance(connection, Bounded) and connection.is_direct
        rows = psycopg.Cursor(connection).execute(sql, values, prepare=prepare and direct).fetchall()
        _answered_at = time.monotonic()
        return rows
    except psycopg.errors.FeatureNotSupported:
        connection.close()  # with what it has prepared
        raise
    finally:
        # With it psycopg would keep Django's own statements, and all their values, in order to count them.
        connection.prepare_threshold = None
        pool.putconn(connection)


def borrow(pool: Any) -> Any:
    """Return a live connection of the pool."""
    if pool.closed:
        pool.open()
    connection = pool.getconn()
    while is_dead(connection):
        connection.close()
        pool.putconn(connection)
        connection = pool.getconn()
    return connection
