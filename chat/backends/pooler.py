"""Poolers such as PgBouncer, which stand between a server and PostgreSQL and lend it a process for a transaction."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db import Error, connection


def is_pooled(connection: Any) -> bool:
    """Return whether a pooler answers in PostgreSQL's place: it makes up the number of the process at the other end."""
    (number,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(number != connection.info.backend_pid)


def check_pooler(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """System check of the database: W015 where a pooler stands in between, and a long list would need one process of
    PostgreSQL from its first row to its last. Source: Django's manual on transaction pooling."""
    settings = connection.settings_dict
    if not databases or connection.vendor == "sqlite" or settings.get("DISABLE_SERVER_SIDE_CURSORS"):
        return []
    try:
        connection.ensure_connection()
        if not is_pooled(connection.connection):
            return []
    except Error:  # there is no database yet
        return []
    hint = "Add ?disable_server_side_cursors=true to DATABASE_URL, or have the pooler keep a process for a session."
    return [Warning("A pooler such as PgBouncer answers at DATABASE_URL.", hint=hint, id="chat.W015")]
