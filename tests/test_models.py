"""What the stored shapes refuse."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone

from chat.models import BudgetPeriod, TokenBudget

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"limit": 0, "period": "day", "rate_limit": ""}, None),
        ({"limit": 2**63 - 1, "rate_limit": "100/5m"}, None),
        ({"limit": -1}, "limit"),
        ({"limit": 2**63}, "limit"),
        ({"limit": None}, "__all__"),
        ({"limit": None, "cost_limit": 0}, None),
        ({"limit": None, "cost_limit": 10**18}, None),
        ({"limit": None, "cost_limit": -1}, "cost_limit"),
        ({"limit": 1, "cost_limit": 1}, "__all__"),
        ({"period": "week"}, "period"),
        ({"rate_limit": "10/minute"}, "rate_limit"),
        ({"rate_limit": "10"}, "rate_limit"),
        ({"rate_limit": "0/m"}, "rate_limit"),
    ],
)
def test_a_budget_takes_only_what_makes_sense(user, values, complaint):
    budget = TokenBudget(user=user, **{"limit": 1} | values)
    if complaint is None:
        budget.full_clean()
    else:
        with pytest.raises(ValidationError) as caught:
            budget.full_clean()
        assert list(caught.value.message_dict) == [complaint]


@pytest.mark.parametrize("counts", [{"used": -1}, {"reserved": -1}, {"cost_used": -1}, {"cost_reserved": -1}])
def test_no_count_is_ever_negative(user, counts):
    with pytest.raises(IntegrityError):
        BudgetPeriod.objects.create(user=user, period="day", start=timezone.now(), **counts)


def test_a_user_has_one_row_a_period(user):
    facts = {"user": user, "period": "day", "start": timezone.now()}
    BudgetPeriod.objects.create(**facts)
    BudgetPeriod.objects.create(**facts | {"period": "hour"})
    with pytest.raises(IntegrityError):
        BudgetPeriod.objects.create(**facts)
