"""The two writes of a chat, each of both its rows or neither: tokens taken, and what became of them.

On PostgreSQL each is one statement, so one round trip and a commit of its own; elsewhere a short transaction. Only
budgets.py calls this.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet

from chat.backends.database import fetch
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Reservation, Settlement

State = UsageRecord.State

TAKE = """
    WITH taken AS (
        UPDATE chat_budgetperiod
        SET reserved = reserved + %(reserved)s, cost_reserved = cost_reserved + %(cost_reserved)s
        WHERE user_id = %(user_id)s AND period = %(period)s AND start = %(period_start)s
            AND used + reserved <= %(most_tokens)s - %(reserved)s
            AND cost_used + cost_reserved <= %(most_cost)s - %(cost_reserved)s
        RETURNING 1)
    INSERT INTO chat_usagerecord (
        user_id, period, period_start, request_id, face, api_key, model, reserved, cost_reserved, created_at,
        expires_at, state, provider, error, prompt_tokens, completion_tokens, tokens_used, uncharged_tokens, overrun,
        estimated)
    SELECT %(user_id)s, %(period)s, %(period_start)s, %(request_id)s, %(face)s, %(api_key)s, %(model)s, %(reserved)s,
        %(cost_reserved)s, %(created_at)s, %(expires_at)s, 'reserved', '', '', 0, 0, 0, 0, 0, FALSE
    FROM taken RETURNING id
"""
END = """
    WITH ended AS (
        UPDATE chat_usagerecord SET state = %(state)s, finished_at = %(finished_at)s, provider = %(provider)s,
            upstream_model = %(upstream_model)s,
            error = %(error)s, prompt_tokens = %(prompt_tokens)s, completion_tokens = %(completion_tokens)s,
            cached_tokens = %(cached_tokens)s, cache_write_tokens = %(cache_write_tokens)s,
            reasoning_tokens = %(reasoning_tokens)s, tokens_used = %(tokens_used)s, overrun = %(overrun)s,
            estimated = %(estimated)s, uncharged_tokens = uncharged_tokens + %(uncharged_tokens)s, cost = %(cost)s,
            cached = %(cached)s, duration_ms = %(duration_ms)s, first_token_ms = %(first_token_ms)s,
            attempts = %(attempts)s::jsonb
        WHERE id = %(record_id)s AND state = 'reserved'
        RETURNING user_id, period, period_start, reserved, cost_reserved)
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
    facts |= {
        "user_id": wanted.user_id,
        "period": wanted.period,
        "period_start": wanted.period_start,
        "reserved": wanted.tokens,
        "cost_reserved": wanted.cost,
    }
    if connection.vendor == "postgresql":
        most = {"most_tokens": budget.most_tokens, "most_cost": budget.most_cost}
        rows = fetch(TAKE, {"face": "", "api_key": None} | facts | most)
        return rows[0][0] if rows else None
    with transaction.atomic():
        fits = rows_of(wanted).filter(
            used__lte=budget.most_tokens - wanted.tokens - F("reserved"),
            cost_used__lte=budget.most_cost - wanted.cost - F("cost_reserved"),
        )
        changes = {"reserved": F("reserved") + wanted.tokens, "cost_reserved": F("cost_reserved") + wanted.cost}
        return int(UsageRecord.objects.create(**facts).pk) if fits.update(**changes) else None


def end(settlement: Settlement) -> bool:
    """Close a reservation: store the settlement in its record and move the numbers.

    Exactly once, however often it is called: False means that it was closed before. A charge stands even where the
    reservation was taken for dead and reclaimed, all of it an overrun then.
    """
    reservation, facts = settlement.reservation, columns(settlement)
    if connection.vendor == "postgresql":
        on_postgresql = {"record_id": reservation.record_id, "attempts": json.dumps(facts["attempts"])}
        if fetch(END, facts | on_postgresql):
            return True
    record = UsageRecord.objects.filter(pk=reservation.record_id)
    # Added, since a hedged call that was abandoned may have written its own tokens already.
    facts["uncharged_tokens"] += F("uncharged_tokens")
    with transaction.atomic():
        if record.filter(state=State.RESERVED).update(**facts):
            tokens, cost = reservation.tokens, reservation.cost
        elif settlement.state != "released" and record.filter(state=State.RECLAIMED).update(
            **facts | {"overrun": settlement.tokens_used}
        ):
            tokens = cost = 0
        else:
            return False
        rows_of(reservation).update(
            used=F("used") + settlement.tokens_used,
            reserved=F("reserved") - tokens,
            cost_used=F("cost_used") + (settlement.cost_used or 0),
            cost_reserved=F("cost_reserved") - cost,
        )
    return True


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
