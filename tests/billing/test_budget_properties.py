"""Whatever happens in whatever order, the budget rows stay true: random lives of one user, checked after every step."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db.models import F, Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chat.billing import budgets, outbox
from chat.billing.allowance import allowance
from chat.billing.reservations import rows_of
from chat.exceptions import TokenBudgetExceededError
from chat.models import BudgetPeriod, UsageRecord
from chat.types import Settlement
from tests.billing.test_budgets import settle, with_budget

names = count()
tokens = st.integers(0, 150)
which = st.integers(0, 1000)


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(time_machine.travel(datetime(2028, 2, 29, 12, tzinfo=UTC), tick=False))
        self.user = with_budget(get_user_model().objects.create(username=f"user{next(names)}"), 300)
        self.reservations = []
        self.highest = {}

    def teardown(self):
        self.stack.close()

    def rows(self):
        return BudgetPeriod.objects.filter(user=self.user)

    @rule(prompt=st.integers(0, 120), max_tokens=st.none() | st.integers(1, 150), default=st.integers(1, 200))
    def reserve(self, prompt, max_tokens, default):
        limit = allowance(self.user).limit
        smallest = prompt + (max_tokens or min(default, 16))
        try:
            reservation = budgets.reserve(
                self.user,
                request_id="r",
                model="m",
                prompt_tokens=prompt,
                max_tokens=max_tokens,
                default_tokens=default,
            )
        except TokenBudgetExceededError as exc:
            self.check_refusal(exc, smallest, limit)
            return
        self.reservations.append(reservation)
        row = rows_of(reservation).get()
        assert row.used + row.reserved <= limit, "admitted though it does not fit"
        assert smallest <= reservation.tokens <= prompt + (max_tokens or default)
        assert reservation.tokens == prompt + reservation.output_tokens
        assert max_tokens in (None, reservation.output_tokens)
        key = (reservation.period, reservation.period_start)
        self.highest[key] = max(limit, self.highest.get(key, 0))

    def check_refusal(self, exc, smallest, limit):
        assert smallest > limit - exc.tokens_used - exc.tokens_reserved, "refused though it would fit"
        assert exc.can_ever_fit == (smallest <= limit)
        assert exc.tokens_needed > exc.tokens_remaining

    @precondition(lambda self: self.reservations)
    @rule(which=which, prompt=tokens, completion=tokens)
    def settle(self, which, prompt, completion):
        settle(self.reservations[which % len(self.reservations)], prompt, completion)

    @precondition(lambda self: self.reservations)
    @rule(which=which)
    def release(self, which):
        budgets.settle(Settlement(self.reservations[which % len(self.reservations)], "released", error="E"))

    @rule(mine=st.booleans())
    def reclaim(self, mine):
        budgets.reclaim(user_id=self.user.pk if mine else None)
        assert not UsageRecord.objects.filter(
            user=self.user, state="reserved", expires_at__lte=datetime.now(UTC)
        ).exists()

    @rule(limit=st.integers(0, 600), period=st.sampled_from(["hour", "day", "month"]))
    def another_budget(self, limit, period):
        self.user = with_budget(self.user, limit, period)

    @rule(seconds=st.sampled_from([1, 60, 91, 3600, 86_400]))
    def time_passes(self, seconds):
        self.clock.shift(seconds)

    @invariant()
    def the_rows_are_true(self):
        for row in self.rows():
            records = UsageRecord.objects.filter(user=self.user, period=row.period, period_start=row.start)
            sums = records.aggregate(used=Sum("tokens_used", default=0), overrun=Sum("overrun", default=0))
            held = records.filter(state="reserved").aggregate(held=Sum("reserved", default=0))["held"]
            assert (row.used, row.reserved) == (sums["used"], held)
            assert row.used >= 0
            assert row.reserved >= 0
            assert row.used - sums["overrun"] + row.reserved <= self.highest.get((row.period, row.start), 0)

    @invariant()
    def every_charge_is_explained(self):
        records = UsageRecord.objects.filter(user=self.user)
        assert not records.filter(tokens_used__gt=F("reserved") + F("overrun")).exists()
        assert not records.exclude(state="settled").exclude(tokens_used=0).exists()
        assert not records.filter(finished_at=None).exclude(state="reserved").exists()


@pytest.mark.django_db
def test_no_order_of_events_makes_a_budget_lie():
    few = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Life, settings=few)
    assert not outbox.pending
