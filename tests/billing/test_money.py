"""Budgets in money: what may be spent, what is set aside for it on the dearest route, and what it did cost."""

from __future__ import annotations

import pytest

from chat.billing import budgets
from chat.billing.allowance import usage_of
from chat.exceptions import ModelWithoutPrice, MoneyBudgetExceededError
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types import Price, ProviderEntry, Rates, Route, Settlement, Upstream, Usage
from tests.billing.booking import record_of, settle, with_budget

pytestmark = pytest.mark.django_db
PRICE = Price(Rates(input=1_000, output=10_000, cached=100, written=1_000, written_long=1_000))
"""A nano-dollar for a token of the prompt, ten for one of the answer."""
DEAR = Price(Rates(input=3_000, output=20_000, cached=300, written=3_000, written_long=3_000))


def priced_route(price=PRICE):
    return Route(ProviderEntry("p", "openai", "p"), Upstream("m", price=price))


def with_money(user, nano, period="month"):
    """The user as the next request loads them, with a budget of so many nano-dollars."""
    TokenBudget.objects.update_or_create(user=user, defaults={"limit": None, "cost_limit": nano, "period": period})
    return type(user).objects.select_related("token_budget").get(pk=user.pk)


def reserve(user, prompt=100, max_tokens=None, default=1000, routes=None):
    return budgets.reserve(
        user,
        request_id="r",
        model="m",
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        default_tokens=default,
        routes=[priced_route()] if routes is None else routes,
    )


def money(user):
    """(used, reserved) of each of the user's periods in nano-dollars, the oldest first."""
    return list(BudgetPeriod.objects.filter(user=user).order_by("start").values_list("cost_used", "cost_reserved"))


def refused(user, *args, **kwargs):
    with pytest.raises(MoneyBudgetExceededError) as caught:
        reserve(user, *args, **kwargs)
    return caught.value


def test_money_is_set_aside_and_then_charged(user):
    user = with_money(user, 10_000)
    reservation = reserve(user, prompt=100, max_tokens=50)
    assert (reservation.cost, money(user), record_of(reservation).cost) == (600, [(0, 600)], None)
    settle(reservation, 90, 30, cost=390)
    assert (money(user), record_of(reservation).cost, record_of(reservation).cost_reserved) == ([(390, 0)], 390, 600)
    told = usage_of(user)
    assert (told["limit"], told["remaining"], told["used"]) == (None, None, 120)
    assert told["cost"] == {"limit": 10_000, "used": 390, "reserved": 0, "remaining": 9_610}


def test_the_dearest_route_decides_what_is_set_aside(user):
    user = with_money(user, 10_000)
    assert reserve(user, 100, 50, routes=[priced_route(), priced_route(DEAR)]).cost == 1_300


@pytest.mark.parametrize(
    ("nano", "prompt", "max_tokens", "default", "output"),
    [
        (10_100, 100, None, 1000, 1000),
        (10_099, 100, None, 1000, 999),
        (260, 100, None, 1000, 16),
        (259, 100, None, 1000, None),
        (1_100, 100, 100, 1000, 100),
        (1_099, 100, 100, 1000, None),  # what the client asked for is not cut
        (99, 100, None, 1000, None),
        (0, 0, None, 1000, None),
    ],
)
def test_the_answer_may_be_as_long_as_the_money_lasts(user, nano, prompt, max_tokens, default, output):
    user = with_money(user, nano)
    if output is None:
        refused(user, prompt, max_tokens, default)
        assert money(user) == [(0, 0)]
    else:
        reservation = reserve(user, prompt, max_tokens, default)
        assert (reservation.output_tokens, money(user)) == (output, [(0, prompt + 10 * output)])


def test_a_refusal_says_what_was_missing_in_money_and_in_tokens_of_this_request(user):
    user = with_money(user, 10_000)
    settle(reserve(user, 100, 50), 100, 50, cost=600)
    reserve(user, 0, 800)
    exc = refused(user, prompt=300, max_tokens=500)
    assert (exc.cost_used, exc.cost_reserved, exc.cost_remaining, exc.cost_limit) == (600, 8_000, 1_400, 10_000)
    assert (exc.cost_needed, exc.can_ever_fit) == (5_300, True)
    # What is left would pay for an answer of 110 tokens to the same prompt.
    assert (exc.tokens_used, exc.tokens_reserved, exc.tokens_needed, exc.tokens_remaining) == (150, 800, 800, 410)
    assert reserve(user, prompt=300, max_tokens=110).cost == 1_400
    assert not refused(user, prompt=300, max_tokens=2_000).can_ever_fit


def test_a_charge_above_the_reservation_is_made_in_full(user):
    user = with_money(user, 1_000)
    settle(reserve(user, 100, 50), 700, 100, cost=1_700)
    assert money(user) == [(1_700, 0)]
    assert refused(user, 1, 1).cost_remaining == 0


def test_money_comes_back_with_a_release_and_from_a_dead_worker(user, settings):
    user = with_money(user, 10_000)
    released = reserve(user, 100, 50)
    budgets.settle(Settlement(released, "released", error="ProviderTimeoutError", uncharged=40))
    settings.RESERVATION_MARGIN = -settings.CHAT_DEADLINE
    lost = reserve(user, 100, 50)
    assert (budgets.reclaim(), money(user)) == (1, [(0, 0)])
    assert [record_of(each).cost for each in (released, lost)] == [0, 0]
    settle(lost, 100, 50, cost=600)  # it comes after all
    assert (money(user), record_of(lost).cost) == ([(600, 0)], 600)


def test_a_budget_counts_in_its_new_unit_what_was_used_before(user):
    user = with_budget(user, 1_000)
    settle(reserve(user, 100, 50), 100, 50, cost=600)
    user = with_money(user, 700)
    assert refused(user, 50, 16).cost_remaining == 100
    user = with_budget(user, 200)
    assert reserve(user, 10, None).output_tokens == 40


def test_without_a_price_a_budget_in_money_pays_for_nothing(user):
    unpriced = priced_route(None)
    user = with_money(user, 10_000)
    assert budgets.payable(user, [unpriced, priced_route()]) == (priced_route(),)
    for routes in ([unpriced], []):
        with pytest.raises(ModelWithoutPrice):
            reserve(user, routes=routes)
    assert not UsageRecord.objects.exists()


def test_a_budget_in_tokens_pays_for_what_has_no_price_and_says_that_nobody_knows_the_cost(user):
    unpriced = priced_route(None)
    assert budgets.payable(user, [unpriced]) == (unpriced,)
    reservation = reserve(user, routes=[unpriced])
    budgets.settle(Settlement(reservation, "settled", Usage(5, 5)))
    assert (record_of(reservation).cost, money(user)) == (None, [(0, 0)])
