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

from chat.billing import budgets, outbox, prices
from chat.billing.allowance import allowance
from chat.billing.reservations import rows_of
from chat.exceptions import MoneyBudgetExceededError, TokenBudgetExceededError
from chat.models import BudgetPeriod, UsageRecord
from chat.types import Settlement, Usage
from tests.billing.booking import settle, with_budget
from tests.billing.test_money import DEAR, priced_route, with_money

names = count()
tokens = st.integers(0, 150)
cheap, dear = priced_route(), priced_route(DEAR)
offers = st.sampled_from([(cheap,), (dear,), (cheap, dear)])
which = st.integers(0, 1000)


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(time_machine.travel(datetime(2028, 2, 29, 12, tzinfo=UTC), tick=False))
        self.user = with_budget(get_user_model().objects.create(username=f"user{next(names)}"), 300)
        self.reservations = []
        self.highest, self.highest_cost, self.late = {}, {}, set()

    def teardown(self):
        self.stack.close()

    def rows(self):
        return BudgetPeriod.objects.filter(user=self.user)

    @rule(
        prompt=st.integers(0, 120),
        max_tokens=st.none() | st.integers(1, 150),
        default=st.integers(1, 200),
        routes=offers,
    )
    def reserve(self, prompt, max_tokens, default, routes):
        budget = allowance(self.user)
        shortest = max_tokens or min(default, 16)
        try:
            reservation = budgets.reserve(
                self.user,
                request_id="r",
                model="m",
                prompt_tokens=prompt,
                max_tokens=max_tokens,
                default_tokens=default,
                routes=routes,
            )
        except TokenBudgetExceededError as exc:
            costs = prices.ceiling(routes, prompt, self.now())
            self.check_refusal(exc, prompt + shortest, costs.cost(shortest), budget)
            return
        self.reservations.append((reservation, routes))
        row = rows_of(reservation).get()
        assert row.used + row.reserved <= budget.most_tokens, "admitted though it does not fit"
        assert row.cost_used + row.cost_reserved <= budget.most_cost, "admitted though it may cost too much"
        assert prompt + shortest <= reservation.tokens <= prompt + (max_tokens or default)
        dearest = max(prices.cost(route, Usage(prompt, reservation.output_tokens), self.now()) for route in routes)
        assert reservation.cost == dearest
        assert reservation.tokens == prompt + reservation.output_tokens
        assert max_tokens in (None, reservation.output_tokens)
        key = (reservation.period, reservation.period_start)
        self.highest[key] = max(budget.most_tokens, self.highest.get(key, 0))
        self.highest_cost[key] = max(budget.most_cost, self.highest_cost.get(key, 0))

    def now(self):
        return datetime.now(UTC)

    def check_refusal(self, exc, smallest, cost, budget):
        assert isinstance(exc, MoneyBudgetExceededError) == (budget.cost_limit is not None)
        if budget.cost_limit is None:
            assert smallest > budget.limit - exc.tokens_used - exc.tokens_reserved, "refused though it would fit"
            assert exc.can_ever_fit == (smallest <= budget.limit)
        else:
            assert cost > budget.cost_limit - exc.cost_used - exc.cost_reserved, "refused though it could be paid"
            assert exc.can_ever_fit == (cost <= budget.cost_limit)
            assert exc.cost_needed == cost > exc.cost_remaining
        assert exc.tokens_needed > exc.tokens_remaining >= 0

    @precondition(lambda self: self.reservations)
    @rule(which=which, prompt=tokens, completion=tokens)
    def settle(self, which, prompt, completion):
        reservation, routes = self.reservations[which % len(self.reservations)]
        answered = routes[which % len(routes)]
        cost = prices.cost(answered, Usage(prompt, completion), reservation.at)
        if UsageRecord.objects.get(pk=reservation.record_id).state == "reclaimed":
            self.late.add(reservation.record_id)
        settle(reservation, prompt, completion, cost=cost)

    @precondition(lambda self: self.reservations)
    @rule(which=which)
    def release(self, which):
        reservation, _ = self.reservations[which % len(self.reservations)]
        budgets.settle(Settlement(reservation, "released", error="E"))

    @rule(mine=st.booleans())
    def reclaim(self, mine):
        budgets.reclaim(user_id=self.user.pk if mine else None)
        assert not UsageRecord.objects.filter(
            user=self.user, state="reserved", expires_at__lte=datetime.now(UTC)
        ).exists()

    @rule(limit=st.integers(0, 600), period=st.sampled_from(["hour", "day", "month"]))
    def another_budget(self, limit, period):
        self.user = with_budget(self.user, limit, period)

    @rule(nano=st.integers(0, 6_000), period=st.sampled_from(["hour", "day", "month"]))
    def a_budget_in_money(self, nano, period):
        self.user = with_money(self.user, nano, period)

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
    def the_money_is_true(self):
        for row in self.rows():
            records = UsageRecord.objects.filter(user=self.user, period=row.period, period_start=row.start)
            assert row.cost_used == sum(record.cost or 0 for record in records)
            assert row.cost_reserved == sum(record.cost_reserved for record in records if record.state == "reserved")
            # A prompt that was longer than its estimate, or an answer that came after its reservation was given back.
            kept = {record.pk: 0 if record.pk in self.late else record.cost_reserved for record in records}
            over = sum(max(0, (record.cost or 0) - kept[record.pk]) for record in records)
            assert row.cost_used - over + row.cost_reserved <= self.highest_cost.get((row.period, row.start), 0)

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
