"""Money from the client's side: what a chat costs, what is left, and what a spent budget in dollars says."""

from __future__ import annotations

import pytest

from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.support.asking import OPENAI, client_of, post
from tests.support.contract import check_error
from tests.support.loopback import status

pytestmark = pytest.mark.django_db
OFFER = """
[providers.first]
protocol = "openai"
base_url = "{first}/v1"
[providers.second]
protocol = "openai"
base_url = "{second}/v1"
[providers.claude]
protocol = "anthropic"
base_url = "{first}"
[models.claude]
routes = [
    {{ provider="claude", model="m", price={{ input=1, output=10, cached=0.1, cache_write=1.25, cache_write_1h=2 }} }}
]
max_output_tokens = 4096
default_output_tokens = 64
[models.priced]
routes = [{{ provider = "first", model = "m", price = {{ input = 1, output = 10, cached = 0.1 }} }}]
max_output_tokens = 4096
default_output_tokens = 64
[models.either]
routes = [
    {{ provider = "first", model = "m", price = {{ input = 1, output = 10 }} }},
    {{ provider = "second", model = "dear", price = {{ input = 2, output = 20 }} }},
]
max_output_tokens = 4096
default_output_tokens = 64
[models.unpriced]
routes = ["first:m"]
max_output_tokens = 4096
default_output_tokens = 64
"""
NANO = 10**9
CHAT = 9 * 1_000 + 12 * 10_000
"""What the provider's answer costs, in nano-dollars: 9 tokens of prompt, 12 of answer."""


@pytest.fixture
def shop(rig, user):
    """The rig with prices, and a budget of a thousandth of a dollar."""
    rig.offer(OFFER.format(first=rig.first.url, second=rig.second.url))
    TokenBudget.objects.create(user=user, cost_limit=NANO // 1_000)
    return rig


def paid():
    (row,) = BudgetPeriod.objects.values_list("cost_used", "cost_reserved")
    return row


def use_of(rig):
    return client_of(rig).get("/usage").json()


def test_a_chat_costs_what_the_price_says_everywhere(shop):
    assert shop.chat("priced").json()["cost"] == "0.000129000"
    assert (paid(), shop.record().cost, shop.record().tokens_used) == ((CHAT, 0), CHAT, 21)
    assert [line["cost"] for line in shop.events("chat_completed")] == [CHAT]
    use = use_of(shop)
    assert use["cost"] == {
        "limit": "0.001000000",
        "used": "0.000129000",
        "reserved": "0.000000000",
        "remaining": "0.000871000",
    }
    assert (use["limit"], use["used"], use["remaining"]) == (None, 21, None)
    assert [day["cost"] for day in use["daily"]] == ["0.000129000"]
    assert use["models"] == [{"model": "priced", "requests": 1, "tokens_used": 21, "cost": "0.000129000"}]


def test_the_route_that_answered_is_the_one_that_is_paid(shop):
    TokenBudget.objects.update(cost_limit=NANO)
    assert shop.chat("either").status_code == 200
    shop.first.always = "unavailable"
    assert shop.chat("either").status_code == 200
    records = UsageRecord.objects.order_by("pk").values_list("upstream_model", "cost", "cost_reserved")
    dearest = 13 * 2_000 + 64 * 20_000
    assert list(records) == [("m", CHAT, dearest), ("dear", 2 * CHAT, dearest)]


def test_a_stream_that_breaks_off_costs_what_had_arrived(shop):
    shop.first.always = "stream_cut"
    response = shop.chat("priced", stream=True)
    assert b"event: error" in b"".join(response.streaming_content)
    record = shop.record()
    assert record.state == "truncated"
    assert record.cost == record.prompt_tokens * 1_000 + record.completion_tokens * 10_000
    assert paid() == (record.cost, 0)


def test_cached_tokens_cost_their_own_rate(shop):
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    usage["prompt_tokens_details"] = {"cached_tokens": 60}
    usage["completion_tokens_details"] = {"reasoning_tokens": 4}
    message = {"role": "assistant", "content": "Yes."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    shop.first.then(status(200, body=body))
    assert shop.chat("priced").status_code == 200
    record = shop.record()
    assert (record.cached_tokens, record.reasoning_tokens, record.tokens_used) == (60, 4, 110)
    assert record.cost == 40 * 1_000 + 60 * 100 + 10 * 10_000


def test_what_is_written_to_the_cache_costs_by_how_long_it_stays(shop):
    usage = {"input_tokens": 10, "output_tokens": 10, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 50}
    usage["cache_creation"] = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20}
    body = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Yes."}]}
    shop.first.then(status(200, body=body | {"stop_reason": "end_turn", "usage": usage}))
    assert shop.chat("claude").status_code == 200
    record = shop.record()
    assert (record.prompt_tokens, record.cached_tokens, record.cache_write_tokens) == (100, 40, 50)
    assert record.cost == 10 * 1_000 + 40 * 100 + 30 * 1_250 + 20 * 2_000 + 10 * 10_000


def test_a_failure_costs_nothing(shop):
    shop.first.always = "unavailable"
    assert shop.chat("priced").status_code == 503
    assert (paid(), shop.record().cost) == ((0, 0), 0)


def test_a_spent_budget_in_money_is_the_same_error_with_the_amounts(shop):
    assert shop.chat("priced").status_code == 200
    body = check_error(shop.chat("priced", max_tokens=100), "token_budget_exceeded")
    costs = {name: body[f"cost_{name}"] for name in ("used", "limit", "needed", "remaining")}
    assert costs == {
        "used": "0.000129000",
        "limit": "0.001000000",
        "needed": "0.001013000",
        "remaining": "0.000871000",
    }
    assert body["message"].startswith(
        "This request may cost $0.001013, more than your whole budget of $0.001, which has $0.000871 left until it is "
        "renewed, on "
    )
    assert body["message"].endswith(" UTC. Lower max_tokens to 85 at most, or ask for a larger budget.")
    assert (body["tokens_used"], body["tokens_needed"], body["tokens_remaining"]) == (21, 113, 98)
    assert check_error(shop.chat("priced", max_tokens=86), "token_budget_exceeded")["retry_after"] > 5
    assert shop.chat("priced", max_tokens=85).status_code == 200


def test_openais_clients_get_it_in_their_own_shape(shop):
    response = post(shop, OPENAI, model="priced", max_tokens=100)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (429, "insufficient_quota", "token_budget_exceeded")


def test_a_model_without_a_price_is_not_paid_from_a_budget_in_money(shop, user):
    body = check_error(shop.chat("unpriced"), "budget_exceeded")
    assert body["message"].startswith("Your budget is in money, and nobody has said what this model costs.")
    assert shop.calls == (0, 0)
    TokenBudget.objects.update(limit=1_000, cost_limit=None)
    assert shop.chat("unpriced").status_code == 200
    assert shop.record().cost is None
    assert [line["cost"] for line in shop.events("chat_completed")] == [None]


def test_an_answer_that_stands_in_costs_nothing(shop):
    assert shop.chat("priced").status_code == 200
    shop.first.always = "unavailable"
    assert shop.chat("priced").json()["cached"]
    assert (paid(), shop.record().cost, shop.record().cached) == ((CHAT, 0), 0, True)


def test_an_answer_is_cut_where_the_money_ends(shop):
    TokenBudget.objects.update(cost_limit=13 * 1_000 + 20 * 10_000)
    response = shop.chat("priced", max_tokens=None)
    assert response.status_code == 200
    assert shop.first.requests[-1].json["max_tokens"] == 20
