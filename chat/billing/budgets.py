"""Budgets, in tokens or in money: reserve before a provider is asked, settle or release afterwards, reclaim what a dead
worker left.

With its statements in reservations.py this is the only writer of `BudgetPeriod` and `UsageRecord`, but for what
ledger.py prunes of the distant past. Every step is one short transaction of guarded statements, so that no count is
ever read and written back. Counts are tokens, costs whole nano-dollars, times UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from chat.billing import reservations, rollup
from chat.billing.allowance import allowance, period_end, period_start
from chat.billing.outbox import persist, write_pending
from chat.billing.prices import Ceiling, ceiling, price_of
from chat.billing.reservations import rows_of
from chat.conf import conf
from chat.exceptions import (
    DatabaseUnavailableError,
    ModelWithoutPrice,
    MoneyBudgetExceededError,
    TokenBudgetExceededError,
)
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import SMALLEST_ANSWER, Attempt, Reservation, Route, Settlement

log = structlog.get_logger(__name__)
State = UsageRecord.State


# --- reserve ----------------------------------------------------------------------------------------------------------
def payable(user: Any, routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes that the user's budget can pay for: where it is in money, those with a known price.

    Raises `ModelWithoutPrice` where there is none.
    """
    if allowance(user).cost_limit is None:
        return tuple(routes)
    now = timezone.now()
    able = tuple(route for route in routes if price_of(route, now))
    if not able:
        raise ModelWithoutPrice(user.pk, list(map(str, routes)))
    return able


def reserve(
    user: Any,
    *,
    request_id: str,
    model: str,
    prompt_tokens: int,
    max_tokens: int | None,
    default_tokens: int,
    routes: Sequence[Route] = (),
    seconds: float | None = None,
    face: str = "",
    api_key: Any = None,
) -> Reservation:
    """Set aside the tokens of prompt and answer, and what they cost on the dearest of the routes. Without `max_tokens`
    the answer is `default_tokens`, or what is left.

    A chat that is not over RESERVATION_MARGIN after `seconds` (None: CHAT_DEADLINE) is taken for dead.
    Raises `TokenBudgetExceededError` if they do not fit into the user's budget, `DatabaseUnavailableError` if the user
    is being deleted at this moment.
    """
    write_pending()
    budget, now = allowance(user), timezone.now()
    start = period_start(budget.period, now)
    costs = ceiling(routes if budget.cost_limit is None else payable(user, routes), prompt_tokens, now)
    longest = max_tokens or default_tokens
    asked = Reservation(
        0, user.pk, budget.period, start, prompt_tokens + longest, longest, cost=costs.cost(longest), at=now
    )
    expires_at = now + timedelta(seconds=(seconds or conf.CHAT_DEADLINE) + conf.RESERVATION_MARGIN)
    facts = {"request_id": request_id, "model": model, "created_at": now, "expires_at": expires_at}
    facts |= {"face": face, "api_key": api_key}
    shortest = max_tokens or min(default_tokens, SMALLEST_ANSWER)
    try:
        taken = _take(asked, budget, facts)
        if not taken:
            taken, row = _take_what_is_left(asked, shortest, costs, budget, facts)
    except (IntegrityError, BudgetPeriod.DoesNotExist) as exc:
        raise DatabaseUnavailableError(f"Perhaps the user or the period was deleted at this moment: {exc}") from exc
    if taken:
        return taken
    raise _exceeded(budget, row, prompt_tokens, shortest, costs)


def _exceeded(
    budget: TokenBudget, row: BudgetPeriod, prompt_tokens: int, shortest: int, costs: Ceiling
) -> TokenBudgetExceededError:
    """Return the refusal of a chat that needs an answer of `shortest` tokens at the least."""
    needed = prompt_tokens + shortest
    facts: dict[str, Any] = {"tokens_reserved": row.reserved, "prompt_tokens": prompt_tokens}
    facts["resets_at"] = period_end(budget.period, row.start)
    if budget.cost_limit is None:
        can_ever_fit = needed <= budget.most_tokens
        return TokenBudgetExceededError(
            row.user_id, row.used, budget.most_tokens, needed, can_ever_fit=can_ever_fit, **facts
        )
    left = max(0, budget.cost_limit - row.cost_used - row.cost_reserved)
    return MoneyBudgetExceededError(
        row.user_id,
        row.used,
        row.used + row.reserved + max(0, prompt_tokens + min(costs.output(left), shortest - 1)),
        needed,
        cost_used=row.cost_used,
        cost_limit=budget.cost_limit,
        cost_needed=costs.cost(shortest),
        cost_reserved=row.cost_reserved,
        longest_ever=costs.output(budget.cost_limit),
        can_ever_fit=costs.cost(shortest) <= budget.cost_limit,
        **facts,
    )


def _take_what_is_left(
    asked: Reservation, shortest: int, costs: Ceiling, budget: TokenBudget, facts: dict[str, Any]
) -> tuple[Reservation | None, BudgetPeriod]:
    """Make the period's row, settle what has expired, and take what is left under a lock: it is the period's first
    chat, or not all of it fits. Also the row, as it was then."""
    BudgetPeriod.objects.bulk_create(
        [BudgetPeriod(user_id=asked.user_id, period=asked.period, start=asked.period_start)], ignore_conflicts=True
    )
    reclaim(user_id=asked.user_id)
    prompt_tokens = asked.tokens - asked.output_tokens
    with transaction.atomic():
        row = rows_of(asked).select_for_update().get()
        tokens_left = budget.most_tokens - row.used - row.reserved
        longest_for_money = costs.output(budget.most_cost - row.cost_used - row.cost_reserved)
        longest = min(asked.output_tokens, tokens_left - prompt_tokens, longest_for_money)
        if longest < shortest:
            return None, row
        wanted = replace(asked, tokens=prompt_tokens + longest, output_tokens=longest, cost=costs.cost(longest))
        return _take(wanted, budget, facts), row


def _take(wanted: Reservation, budget: TokenBudget, facts: dict[str, Any]) -> Reservation | None:
    """Reserve exactly `wanted` if it fits."""
    record_id = reservations.take(wanted, budget, **facts)
    return replace(wanted, record_id=record_id) if record_id else None


def release_connection() -> None:
    """Give the database connection back to its pool, so that none is held while a provider is waited for."""
    database = connections[DEFAULT_DB_ALIAS]
    held = database.connection is not None and not database.in_atomic_block
    if held and database.settings_dict["OPTIONS"].get("pool"):
        database.close()


# --- refuse -----------------------------------------------------------------------------------------------------------
def refuse(user: Any, *, request_id: str, face: str, api_key: Any, model: str, error: str) -> None:
    """Store a record of a request that was refused before anything was reserved for it. Raises `django.db.Error`."""
    budget, now = allowance(user), timezone.now()
    UsageRecord.objects.create(
        user_id=user.pk,
        period=budget.period,
        period_start=period_start(budget.period, now),
        request_id=request_id,
        face=face,
        api_key=api_key,
        model=model[: UsageRecord._meta.get_field("model").max_length],
        state=State.REFUSED,
        error=error,
        reserved=0,
        cost=0,
        created_at=now,
        expires_at=now,
        finished_at=now,
    )


def refused_again(user: Any, count: int) -> None:
    """Store in the user's last refusal that so many followed it, which have no records of their own."""
    refusals = UsageRecord.objects.filter(user_id=user.pk, state=State.REFUSED).order_by("-created_at", "-pk")
    if last := refusals.only("pk").first():
        UsageRecord.objects.filter(pk=last.pk).update(repeats=count)


# --- settle -----------------------------------------------------------------------------------------------------------
def settle(settlement: Settlement) -> None:
    """Charge what the chat cost, in full even above the reservation (recorded as overrun), and give back the rest.

    Does not raise when the database is away: the settlement is kept, logged, and written once the database is back.
    """
    persist(settlement)


def add_uncharged(reservation: Reservation, attempt: Attempt) -> None:
    """Record the tokens of a call that was abandoned, which the user does not pay.

    For a thread of its own: it closes that thread's connection.
    """
    record, tokens = UsageRecord.objects.filter(pk=reservation.record_id), attempt.tokens
    try:
        record.update(uncharged_tokens=F("uncharged_tokens") + tokens)
        rollup.forget_after_commit(reservation.at)
    except Error as exc:
        log.error("uncharged_tokens_not_stored", record_id=reservation.record_id, tokens=tokens, exc_info=exc)
    finally:
        connection.close()


# --- reclaim ----------------------------------------------------------------------------------------------------------
def reclaim(user_id: Any = None) -> int:
    """Give back what expired reservations hold (their worker died), of one user or of all; returns how many.

    At most 1,000 at a call: a caller that wants them all calls until it gets 0.
    """
    expired = UsageRecord.objects.filter(state=State.RESERVED, expires_at__lte=timezone.now()).order_by("expires_at")
    if user_id is not None:
        expired = expired.filter(user_id=user_id)
    return sum(_reclaim(record) for record in expired[:1000])


def _reclaim(record: UsageRecord) -> bool:
    with transaction.atomic():
        mine = UsageRecord.objects.filter(pk=record.pk, state=State.RESERVED)
        if not mine.update(state=State.RECLAIMED, finished_at=timezone.now(), error="WorkerLost", cost=0):
            return False
        if record.user_id is not None:  # else the user is deleted, and the budget is, too
            rows = BudgetPeriod.objects.filter(user_id=record.user_id, period=record.period, start=record.period_start)
            rows.update(
                reserved=F("reserved") - record.reserved, cost_reserved=F("cost_reserved") - record.cost_reserved
            )
    log.debug("budget_reclaimed", record_id=record.pk, of_request=record.request_id, reserved=record.reserved)
    return True
