"""The two writes of a chat, each of both its rows or neither: tokens taken, and what became of them.

On PostgreSQL each is one statement, so one round trip and a commit of its own; elsewhere two in a short transaction.
Written out, since the ORM takes longer to compose them than the database to run them. Only budgets.py calls this.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from chat.backends.database import fetch
from chat.billing import rollup
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Reservation, Settlement

State = UsageRecord.State

ADMIT = """
    UPDATE chat_budgetperiod
    SET reserved = reserved + %(reserved)s, cost_reserved = cost_reserved + %(cost_reserved)s
    WHERE user_id = %(user_id)s AND period = %(period)s AND start = %(period_start)s
        AND used + reserved <= %(most_tokens)s - %(reserved)s
        AND cost_used + cost_reserved <= %(most_cost)s - %(cost_reserved)s
"""
RECORD = """
    INSERT INTO chat_usagerecord (
        user_id, period, period_start, request_id, face, api_key, model, reserved, cost_reserved, created_at,
        expires_at, state, provider, error, prompt_tokens, completion_tokens, tokens_used, uncharged_tokens, overrun,
        estimated)
    SELECT %(user_id)s, %(period)s, %(period_start)s, %(request_id)s, %(face)s, %(api_key)s, %(model)s, %(reserved)s,
        %(cost_reserved)s, %(created_at)s, %(expires_at)s, 'reserved', '', '', 0, 0, 0, 0, 0, FALSE
"""
TAKE = f"WITH taken AS ({ADMIT} RETURNING 1) {RECORD} FROM taken RETURNING id"

# The uncharged tokens are added: a hedged call that was abandoned may have written its own already.
CLOSE = """
    UPDATE chat_usagerecord SET state = %(state)s, finished_at = %(finished_at)s, provider = %(provider)s,
        upstream_model = %(upstream_model)s,
        error = %(error)s, prompt_tokens = %(prompt_tokens)s, completion_tokens = %(completion_tokens)s,
        cached_tokens = %(cached_tokens)s, cache_write_tokens = %(cache_write_tokens)s,
        reasoning_tokens = %(reasoning_tokens)s, tokens_used = %(tokens_used)s, overrun = %(overrun)s,
        estimated = %(estimated)s, uncharged_tokens = uncharged_tokens + %(uncharged_tokens)s, cost = %(cost)s,
        cached = %(cached)s, duration_ms = %(duration_ms)s, first_token_ms = %(first_token_ms)s,
        attempts = %(attempts)s
    WHERE id = %(record_id)s AND state = %(open_state)s
"""
CHARGE = """
    UPDATE chat_budgetperiod SET used = used + %(tokens_used)s, reserved = reserved - %(reserved)s,
        cost_used = cost_used + COALESCE(%(cost)s, 0), cost_reserved = cost_reserved - %(cost_reserved)s
    WHERE user_id = %(user_id)s AND period = %(period)s AND start = %(period_start)s
"""
END = f"""
    WITH ended AS ({CLOSE} RETURNING user_id, period, period_start, reserved, cost_reserved)
    UPDATE chat_budgetperiod AS row SET used = used + %(tokens_used)s, reserved = row.reserved - ended.reserved,
        cost_used = cost_used + COALESCE(%(cost)s, 0), cost_reserved = row.cost_reserved - ended.cost_reserved
    FROM ended WHERE row.user_id = ended.user_id AND row.period = ended.period AND row.start = ended.period_start
    RETURNING 1
"""


def take(wanted: Reservation, budget: TokenBudget, **facts: Any) -> int | None:
    """Reserve `wanted` if it fits into `budget`, and store a record of it with the `facts` request_id, model,
    created_at and expires_at, and perhaps face and api_key.

    Returns the record's id; None if it does not fit, or the period has no row yet.
    """
    most = {"most_tokens": budget.most_tokens, "most_cost": budget.most_cost}
    facts = {"face": "", "api_key": None} | facts | held_by(wanted) | most
    if connection.vendor == "postgresql":
        rows = fetch(TAKE, facts)
        return rows[0][0] if rows else None
    values = adapted(facts)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ADMIT, values)
        if not cursor.rowcount:
            return None
        cursor.execute(RECORD, values)
        return int(cursor.lastrowid)


def end(settlement: Settlement) -> bool:
    """Close a reservation: store the settlement in its record and move the numbers.

    Exactly once, however often it is called: False means that it was closed before. A charge stands even where the
    reservation was taken for dead and reclaimed, all of it an overrun then.
    """
    facts = columns(settlement)
    facts |= held_by(settlement.reservation) | {"record_id": settlement.reservation.record_id, "open_state": "reserved"}
    facts["attempts"] = json.dumps(facts["attempts"])
    if fetch(END, facts) if connection.vendor == "postgresql" else _end_in_two(facts):
        return True
    reclaimed = {"open_state": "reclaimed", "reserved": 0, "cost_reserved": 0, "overrun": settlement.tokens_used}
    late = settlement.state != "released" and _end_in_two(facts | reclaimed)
    if late:
        rollup.forget_after_commit(settlement.reservation.at)
    return late


def _end_in_two(facts: dict[str, Any]) -> bool:
    """Close the record that is in `open_state`, and charge its period. Return False where it is in another."""
    values = adapted(facts)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLOSE, values)
        closed = bool(cursor.rowcount)
        if closed:
            cursor.execute(CHARGE, values)
    return closed


def adapted(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the values as the database's driver takes them; SQLite's knows neither times with a zone nor UUIDs."""
    if connection.vendor == "postgresql":
        return facts
    times = {
        name: str(connection.ops.adapt_datetimefield_value(value))
        for name, value in facts.items()
        if isinstance(value, datetime)
    }
    ids = {name: value.hex for name, value in facts.items() if isinstance(value, UUID)}
    return facts | times | ids


def held_by(reservation: Reservation) -> dict[str, Any]:
    """Return what a chat holds, and of which budget row, by the names of the columns."""
    return {
        "user_id": reservation.user_id,
        "period": reservation.period,
        "period_start": reservation.period_start,
        "reserved": reservation.tokens,
        "cost_reserved": reservation.cost,
    }


def columns(settlement: Settlement) -> dict[str, Any]:
    """Return what the record of a chat holds of its end."""
    usage = settlement.usage
    return {
        "state": settlement.state,
        "finished_at": settlement.finished_at,
        "provider": settlement.provider,
        "upstream_model": settlement.upstream_model,
        "error": settlement.error,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "tokens_used": settlement.tokens_used,
        "uncharged_tokens": settlement.uncharged,
        "overrun": max(0, settlement.tokens_used - settlement.reservation.tokens),
        "estimated": settlement.estimated,
        "cost": settlement.cost_used,
        "cached": settlement.cached,
        "duration_ms": settlement.duration_ms,
        "first_token_ms": settlement.first_token_ms,
        "attempts": list(settlement.attempts),
    }


def rows_of(reservation: Reservation) -> QuerySet[BudgetPeriod]:
    """Return the budget row that admitted the chat."""
    return BudgetPeriod.objects.filter(
        user_id=reservation.user_id, period=reservation.period, start=reservation.period_start
    )
