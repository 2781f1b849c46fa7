"""What a user may spend and has spent: reading only. Counts are tokens, costs nano-dollars, times UTC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, FloatField, Q, QuerySet, Sum
from django.db.models.functions import Cast, Coalesce, TruncDate
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
    """Return the user's budget, how much of it is used, and the use by day and by model of the last `days` days,
    today's included."""
    budget, now = allowance(user), timezone.now()
    start, use = period_start(budget.period, now), use_by_day_and_model(user, days)
    row = BudgetPeriod.objects.filter(user_id=user.pk, period=budget.period, start=start).first() or BudgetPeriod()
    return {
        **terms_of(budget.limit, row.used, row.reserved),
        "cost": terms_of(budget.cost_limit, row.cost_used, row.cost_reserved),
        "period": budget.period,
        "resets_at": period_end(budget.period, start),
        "daily": summed(use, "date"),
        "models": summed(use, "model"),
    }


def terms_of(limit: int | None, used: int, reserved: int) -> dict[str, int | None]:
    """Return how much of a limit is taken; without a limit nothing remains of it."""
    remaining = None if limit is None else max(0, limit - used - reserved)
    return {"limit": limit, "used": used, "reserved": reserved, "remaining": remaining}


def use_by_day_and_model(user: Any, days: int) -> list[dict[str, Any]]:
    """Return the user's charged chats of the last `days` days, today's included, and their tokens and cost. The cost is
    that of the chats whose price is known, None where that is none of them."""
    since = period_start("day", timezone.now()) - timedelta(days=days - 1)
    charged = UsageRecord.objects.filter(user_id=user.pk, created_at__gte=since, state__in=CHARGED)
    by = charged.annotate(date=TruncDate("created_at")).values("date", "model").order_by("date", "model")
    return [*map(dict, by.annotate(requests=Count("pk"), tokens_used=Sum("tokens_used"), cost=Sum("cost")))]


def summed(use: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the sums of `use` by `date` or `model`."""
    sums: dict[Any, dict[str, Any]] = {}
    for row in use:
        total = sums.setdefault(row[name], {name: row[name], "requests": 0, "tokens_used": 0, "cost": None})
        total |= {count: total[count] + row[count] for count in ("requests", "tokens_used")}
        if row["cost"] is not None:
            total["cost"] = (total["cost"] or 0) + row["cost"]
    return [sums[value] for value in sorted(sums)]


def passed(period: str, start: datetime, percent: int) -> QuerySet[BudgetPeriod]:
    """Return the budget rows of a period that have used about this much of their limit, or more, the fullest first."""
    own = Q(user__token_budget__period=period)
    # Divided first, or a large limit would be too large; the few that are found too many are told apart by the caller.
    limit, cost_limit = (F(f"user__token_budget__{name}") / 100 * percent for name in ("limit", "cost_limit"))
    tokens = own & Q(user__token_budget__limit__gt=0, used__gte=limit)
    money = own & Q(user__token_budget__cost_limit__gt=0, cost_used__gte=cost_limit)
    found = tokens | money
    if period == conf.TOKEN_BUDGET_PERIOD and conf.TOKEN_BUDGET_DEFAULT:
        found |= Q(user__token_budget=None, used__gte=-(-conf.TOKEN_BUDGET_DEFAULT * percent // 100))
    used, cost_used = (Cast(name, FloatField()) for name in ("used", "cost_used"))
    most = Coalesce("user__token_budget__limit", conf.TOKEN_BUDGET_DEFAULT, output_field=FloatField())
    part = Coalesce(cost_used / F("user__token_budget__cost_limit"), used / most, output_field=FloatField())
    return BudgetPeriod.objects.filter(found, period=period, start=start).order_by(part.desc(), "pk")


def use_of(row: BudgetPeriod) -> tuple[int, int, bool]:
    """Return what is used in a period, of which limit, and whether the two are nano-dollars and not tokens; by the
    budget of its user, as it is now."""
    budget = allowance(row.user)
    if budget.cost_limit is not None:
        return row.cost_used, budget.cost_limit, True
    return row.used, budget.most_tokens, False
