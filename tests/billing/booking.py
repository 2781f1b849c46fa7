"""Reservations and their ends by hand: what the tests of budgets have in common."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError

from chat.billing import budgets
from chat.exceptions import TokenBudgetExceededError
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Settlement, Usage

EXPIRY = timedelta(seconds=90)


def with_budget(user, limit, period="month"):
    """The user as the next request loads them, with that budget."""
    TokenBudget.objects.update_or_create(user=user, defaults={"limit": limit, "cost_limit": None, "period": period})
    return type(user).objects.select_related("token_budget").get(pk=user.pk)


def reserve(user, prompt=100, max_tokens=None, default=1000):
    return budgets.reserve(
        user, request_id="r", model="m", prompt_tokens=prompt, max_tokens=max_tokens, default_tokens=default
    )


def settle(reservation, prompt, completion=0, **facts):
    budgets.settle(Settlement(reservation, "settled", Usage(prompt, completion), "p", **facts))


def release(reservation, **facts):
    budgets.settle(Settlement(reservation, "released", **facts))


def spend(user, tokens):
    """Have `tokens` used in the current period."""
    settle(reserve(user, tokens - 1, max_tokens=1), tokens)


def numbers(user):
    """(used, reserved) of each of the user's periods, the oldest first."""
    return list(BudgetPeriod.objects.filter(user=user).order_by("start").values_list("used", "reserved"))


def record_of(reservation):
    return UsageRecord.objects.get(pk=reservation.record_id)


def open_reservations():
    return UsageRecord.objects.filter(state="reserved").count()


def refused(user, *args, **kwargs):
    before = numbers(user), UsageRecord.objects.count()
    with pytest.raises(TokenBudgetExceededError) as caught:
        reserve(user, *args, **kwargs)
    assert (numbers(user) or [(0, 0)], UsageRecord.objects.count()) == (before[0] or [(0, 0)], before[1])
    return caught.value


def away(*args):
    """A database that is away, for `connection.execute_wrapper`."""
    raise OperationalError("the database is away")
