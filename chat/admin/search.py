"""The search for requests by a piece of their ids, in bounded time.

No index finds a piece from the middle of a text but one of trigrams, and that would make each chat's writes dearer.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest

from chat.admin.lists import is_narrow
from chat.models import UsageRecord

SEARCHABLE = 8
"""Characters of a request id that are enough to look for it everywhere."""
MOST_FOUND = 1_000
"""Ids that a search goes through."""
LONGEST = 2_000
"""Milliseconds that a search may take on PostgreSQL."""
QUERY_CANCELED = "57014"
"""PostgreSQL's code for a statement that took too long. Source: its manual, appendix A."""
TOO_LONG = "Looking through the ids took too long: give the whole id, or a day or a user as well."


def by_request_id(request: HttpRequest, rows: Any, typed: str) -> Any:
    """Return the records of an id, or of ids with these characters, among `rows`. Of one user or one day they are
    looked through; else all ids are, once, and no row beside them. Where that takes too long, the operator is told."""
    term = typed.strip()
    if not term:
        return rows
    narrow = is_narrow(request)
    if not narrow and len(term) < SEARCHABLE:
        return rows.filter(request_id=term)
    ids = (rows if narrow else UsageRecord.objects).order_by().values_list("request_id", flat=True)
    found = _in_time(ids.filter(request_id__contains=term)[:MOST_FOUND])
    if found is None:
        messages.warning(request, TOO_LONG)
        found = [term]
    return rows.filter(request_id__in=found)


def _in_time(ids: Any) -> list[str] | None:
    """Return the ids, or None where PostgreSQL gave up. SQLite has no such limit, and no table of that size."""
    if connection.vendor != "postgresql":
        return list(ids)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {LONGEST}")
            found = list(ids)
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")  # this transaction may be part of another
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != QUERY_CANCELED:
            raise
        return None
    return found
