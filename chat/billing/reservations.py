"""The two writes of a chat, each of both its rows or neither: tokens taken, and what became of them.

On PostgreSQL each is one statement, so one round trip and a commit of its own; elsewhere a short transaction. Only
budgets.py calls this.
"""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet

from chat.backends.database import fetch
from chat.models import BudgetPeriod, UsageRecord
from chat.types import Reservation, Settlement

State = UsageRecord.State

TAKE = """
    WITH taken AS (
        UPDATE chat_budgetperiod SET reserved = reserved + %(reserved)s
        WHERE user_id = %(user_id)s AND period = %(period)s AND start = %(period_start)s
            AND used + reserved <= %(limit)s - %(reserved)s
        RETURNING 1)
    INSERT INTO chat_usagerecord (
        user_id, period, period_start, request_id, model, reserved, created_at, expires_at, state,
        provider, upstream_model, error, prompt_tokens, completion_tokens, tokens_used, uncharged_tokens, overrun,
        estimated)
    SELECT %(user_id)s, %(period)s, %(period_start)s, %(request_id)s, %(model)s, %(reserved)s, %(created_at)s,
        %(expires_at)s, 'reserved', '', '', '', 0, 0, 0, 0, 0, FALSE
    FROM taken RETURNING id
"""
END = """
    WITH ended AS (
        UPDATE chat_usagerecord SET state = %(state)s, finished_at = %(finished_at)s, provider = %(provider)s,
            upstream_model = %(upstream_model)s,
            error = %(error)s, prompt_tokens = %(prompt_tokens)s, completion_tokens = %(completion_tokens)s,
            tokens_used = %(tokens_used)s, overrun = %(overrun)s, estimated = %(estimated)s,
            uncharged_tokens = uncharged_tokens + %(uncharged_tokens)s
        WHERE id = %(record_id)s AND state = 'reserved'
        RETURNING user_id, period, period_start, reserved)
    UPDATE chat_budgetperiod AS row SET used = used + %(tokens_used)s, reserved = row.reserved - ended.reserved
    FROM ended WHERE row.user_id = ended.user_id AND row.period = ended.period AND row.start = ended.period_start
    RETURNING 1
"""


def take(wanted: Reservation, limit: int, **facts: Any) -> int | None:
    """Reserve `wanted.tokens` if they fit into `limit`, and store a record of it with the `facts` request_id, model,
    created_at and expires_at.

    Returns the record's id; None if they do not fit, or the period has no row yet.
    """
    facts |= {
        "user_id": wanted.user_id,
        "period": wanted.period,
        "period_start": wanted.period_start,
        "reserved": wanted.tokens,
    }
    if connection.vendor == "postgresql":
        rows = fetch(TAKE, facts | {"limit": limit})
        return rows[0][0] if rows else None
    with transaction.atomic():
        fits = rows_of(wanted).filter(used__lte=limit - wanted.tokens - F("reserved"))
        if not fits.update(reserved=F("reserved") + wanted.tokens):
            return None
        return int(UsageRecord.objects.create(**facts).pk)


def end(settlement: Settlement) -> bool:
    """Close a reservation: store the settlement in its record and move the numbers.

    Exactly once, however often it is called: False means that it was closed before. A charge stands even where the
    reservation was taken for dead and reclaimed, all of it an overrun then.
    """
    reservation, facts = settlement.reservation, columns(settlement)
    charge = settlement.tokens_used
    if connection.vendor == "postgresql" and fetch(END, facts | {"record_id": reservation.record_id}):
        return True
    record = UsageRecord.objects.filter(pk=reservation.record_id)
    # Added, since a hedged call that was abandoned may have written its own tokens already.
    facts["uncharged_tokens"] += F("uncharged_tokens")
    with transaction.atomic():
        if record.filter(state=State.RESERVED).update(**facts):
            back = reservation.tokens
        elif settlement.state != "released" and record.filter(state=State.RECLAIMED).update(
            **facts | {"overrun": charge}
        ):
            back = 0
        else:
            return False
        rows_of(reservation).update(used=F("used") + charge, reserved=F("reserved") - back)
    return True


def columns(settlement: Settlement) -> dict[str, Any]:
    """Return what the record of a chat holds of its end."""
    return {
        "state": settlement.state,
        "finished_at": settlement.finished_at,
        "provider": settlement.provider,
        "upstream_model": settlement.upstream_model,
        "error": settlement.error,
        "prompt_tokens": settlement.usage.prompt_tokens,
        "completion_tokens": settlement.usage.completion_tokens,
        "tokens_used": settlement.tokens_used,
        "uncharged_tokens": settlement.uncharged,
        "overrun": max(0, settlement.tokens_used - settlement.reservation.tokens),
        "estimated": settlement.estimated,
    }


def rows_of(reservation: Reservation) -> QuerySet[BudgetPeriod]:
    """Return the budget row that admitted the chat."""
    return BudgetPeriod.objects.filter(
        user_id=reservation.user_id, period=reservation.period, start=reservation.period_start
    )
