"""What a user may spend and has spent: reading only. All counts are tokens, all times UTC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from chat.conf import conf
from chat.models import BudgetPeriod, TokenBudget, UsageRecord

CHARGED = (UsageRecord.State.SETTLED, UsageRecord.State.TRUNCATED)


def allowance(user: Any) -> TokenBudget:
    """Return the user's budget, or (unsaved) the default one. No query where the user was loaded with it."""
    try:
        return user.token_budget  # type: ignore[no-any-return]
    except TokenBudget.DoesNotExist:
        return TokenBudget(user_id=user.pk, limit=conf.TOKEN_BUDGET_DEFAULT, period=conf.TOKEN_BUDGET_PERIOD)


def period_start(period: str, now: datetime) -> datetime:
    """When the hour, day or month that `now` lies in began."""
    start = now.replace(minute=0, second=0, microsecond=0)
    if period != "hour":
        start = start.replace(hour=0)
    return start.replace(day=1) if period == "month" else start


def period_end(period: str, start: datetime) -> datetime:
    """When the period that began at `start` ends, which is when the next one begins."""
    if period == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + (timedelta(hours=1) if period == "hour" else timedelta(days=1))


def usage_of(user: Any, days: int = 30) -> dict[str, Any]:
    """Return the user's budget, how much of it is used, and the use of each of the last `days` days, today's
    included."""
    budget, now = allowance(user), timezone.now()
    start = period_start(budget.period, now)
    row = BudgetPeriod.objects.filter(user_id=user.pk, period=budget.period, start=start).first() or BudgetPeriod()
    return {
        "limit": budget.limit,
        "used": row.used,
        "reserved": row.reserved,
        "remaining": max(0, budget.most_tokens - row.used - row.reserved),
        "period": budget.period,
        "resets_at": period_end(budget.period, start),
        "daily": list(use_by(user, "date", days=days)),
    }


def use_by(user: Any, *names: str, days: int) -> QuerySet[Any, Any]:
    """Return the user's charged chats and their tokens of the last `days` days, today's included, by `date`, `model` or
    both."""
    since = period_start("day", timezone.now()) - timedelta(days=days - 1)
    charged = UsageRecord.objects.filter(user_id=user.pk, created_at__gte=since, state__in=CHARGED)
    by: QuerySet[Any, Any] = charged.annotate(date=TruncDate("created_at")).values(*names).order_by(*names)
    summed: QuerySet[Any, Any] = by.annotate(requests=Count("pk"), tokens_used=Sum("tokens_used"))
    return summed
