"""What a chat costs: by the operator's price, by the list, by the tier of its prompt, and never by a guess."""

from __future__ import annotations

import io
import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import ProgrammingError, connection
from hypothesis import given
from hypothesis import strategies as st

from chat.apps import check_prices
from chat.billing import prices
from chat.billing.prices import ceiling, cost, price_of, source
from chat.models import TokenBudget
from chat.routing import catalogue
from chat.types import Price, ProviderEntry, Rates, Route, Upstream, Usage
from chat.types.money import exact, shown

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOSTS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1", "simulator": ""}


def route(model, protocol="openai", base_url=None, price=None):
    url = HOSTS[protocol] if base_url is None else base_url
    return Route(ProviderEntry(protocol, protocol, protocol, base_url=url), Upstream(model, price=price))


LISTED = [
    # The vendors' own pages: dollars for a million tokens of input, output, input read from the cache and written to
    # it for minutes and for an hour, of a short prompt; the first prompt that is dearer, and its rates.
    ("anthropic", "claude-haiku-5-5", (0.10, 0.50, 0.01, 0.125, 0.20), 100_001, (0.50, 2.50, 0.05, 0.625, 1.00)),
    ("anthropic", "claude-sonnet-5-5", (2, 10, 0.10, 2.5, 4), None, None),
    ("openai", "gpt-6-luna", (0.10, 0.50, 0.01, 0.125, 0.125), 272_001, (0.20, 0.75, 0.02, 0.25, 0.25)),
    ("openai", "gpt-6.1-terra", (1, 5, 0.05, 1.25, 1.25), 272_001, (2, 7.5, 0.1, 2.5, 2.5)),
    ("openai", "gpt-4.1-mini", (0.40, 1.60, 0.10, 0.40, 0.40), None, None),
    ("openai", "text-embedding-3-small", (0.02, 0, 0.02, 0.02, 0.02), None, None),
    ("simulator", "claude-haiku-5-5", (0.10, 0.50, 0.01, 0.125, 0.20), 100_001, (0.50, 2.50, 0.05, 0.625, 1.00)),
]


@pytest.mark.parametrize(
    ("protocol", "model", "rates", "from_", "dearer"), LISTED, ids=[f"{row[0]}, {row[1]}" for row in LISTED]
)
def test_the_list_has_what_the_vendors_ask(protocol, model, rates, from_, dearer):
    price = price_of(route(model, protocol), NOW)
    assert price.at(from_ - 1 if from_ else 10**7) == Rates(*(round(rate * 10**6) for rate in rates))
    if from_:
        assert price.at(from_) == Rates(*(round(rate * 10**6) for rate in dearer))


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-oss-20b", "http://127.0.0.1:11434/v1"),  # one's own server, of a model that OpenAI sells, too
        ("gpt-6-luna", "https://proxy.example/v1"),
        ("no-such-model", "https://api.openai.com/v1"),
        ("sonar-deep-research", "https://api.perplexity.ai"),  # costs more than its tokens
    ],
)
def test_what_is_not_known_has_no_price(model, base_url):
    unknown = route(model, base_url=base_url)
    assert price_of(unknown, NOW) is None
    assert cost(unknown, Usage(10, 10), NOW) is None
    assert ceiling([unknown], 10, NOW).lines == ()


def test_the_operators_price_comes_first(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(
        '[providers.openai]\nprotocol = "openai"\nbase_url = "https://api.openai.com/v1"\n[models.m]\n'
        'routes = [{ provider = "openai", model = "gpt-6-luna", price = { input = 0.07, output = 0.3, cached = 0.0123, '
        "tiers = [{ above = 10, input = 3, output = 9 }, { above = 50, input = 4, output = 9 }] } }]\n"
        "max_output_tokens = 64\ndefault_output_tokens = 64\n"
    )
    (own,) = catalogue.load(str(path), False).models["m"].routes
    assert price_of(own, NOW).at(10) == Rates(70_000, 300_000, 12_300, 70_000, 70_000)
    assert price_of(own, NOW).at(11) == Rates(*[3_000_000, 9_000_000, *[3_000_000] * 3])
    assert price_of(own, NOW).at(51).input == 4_000_000


RATES = Rates(input=2_000_000, output=10_000_000, cached=200_000, written=2_500_000, written_long=4_000_000)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ((1, 0), 2_000),
        ((1000, 500), 1000 * 2_000 + 500 * 10_000),
        ((0, 0), 0),
        # Of a prompt of 1000, 600 read from the cache, 100 written for minutes and 50 for an hour.
        ((1000, 500, 600, 150, 400, 50), 250 * 2_000 + 600 * 200 + 100 * 2_500 + 50 * 4_000 + 500 * 10_000),
        ((10, 0, 100, 100, 0, 100), 10 * 4_000),  # a report that cannot be: no more than there was
    ],
)
def test_a_chat_costs_its_tokens(usage, nano):
    assert cost(route("m", price=Price(RATES)), Usage(*usage), NOW) == nano


def test_a_part_of_a_nano_dollar_counts_as_a_whole():
    cheap = route("m", price=Price(Rates(37_500, 1, 1, 1, 1)))
    assert [cost(cheap, Usage(tokens, 0), NOW) for tokens in (1, 2, 3)] == [38, 75, 113]


rates = st.builds(Rates, *[st.integers(0, 10**7)] * 5)
priced = st.builds(
    lambda base, tiers: Price(base, tuple(sorted(tiers.items(), reverse=True))),
    rates,
    st.dictionaries(st.integers(1, 2_000), rates, max_size=2),
)


@given(st.lists(priced, min_size=1, max_size=3), st.integers(0, 3_000), st.integers(0, 3_000), st.data())
def test_no_answer_that_is_as_long_as_allowed_costs_more_than_is_reserved(offers, prompt, output, data):
    routes = [route("m", price=offer) for offer in offers]
    costs = ceiling(routes, prompt, NOW)
    details = data.draw(st.tuples(*[st.integers(0, 3_000)] * 4))
    usage = Usage(data.draw(st.integers(0, prompt)), data.draw(st.integers(0, output)), *details)
    assert cost(data.draw(st.sampled_from(routes)), usage, NOW) <= costs.cost(output)


@given(st.lists(priced, min_size=1, max_size=3), st.integers(0, 3_000), st.integers(0, 10**9))
def test_the_longest_answer_for_a_sum_costs_no_more_and_a_longer_one_does(offers, prompt, nano):
    costs = ceiling([route("m", price=offer) for offer in offers], prompt, NOW)
    longest = costs.output(nano)
    if longest >= 0:
        assert costs.cost(longest) <= nano
    if longest < 10**15:
        assert costs.cost(max(0, longest + 1)) > nano


def test_a_price_is_looked_up_without_a_network(monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    prices._listed.cache_clear()
    assert price_of(route("gpt-6-luna"), NOW)


def test_the_date_of_the_list_is_that_of_the_pinned_version():
    pinned = re.search(r"^genai-prices==(\S+)", (Path(django_settings.BASE_DIR) / "requirements.txt").read_text(), re.M)
    assert pinned[1] == prices.LIST[0]
    assert source() == f"genai-prices {pinned[1]}, prices of {prices.LIST[1]}"


def test_money_is_shown_exactly():
    assert [exact(nano) for nano in (1, 12_300, 20 * 10**9)] == ["0.000000001", "0.000012300", "20.000000000"]
    assert [shown(nano) for nano in (0, 1, 12_300, 5 * 10**8, 12_345 * 10**8, 1234 * 10**9)] == [
        "$0.00",
        "$0.000000001",
        "$0.0000123",
        "$0.50",
        "$1,234.50",
        "$1,234.00",
    ]


# --- the check --------------------------------------------------------------------------------------------------------
def warnings():
    err = io.StringIO()
    call_command("check", stdout=io.StringIO(), stderr=err)
    return re.findall(r"\(chat\.W014\) (.*?),", err.getvalue())


@pytest.mark.django_db
def test_a_model_without_a_price_is_warned_of_where_a_budget_is_in_money(user, upstream):
    assert warnings() == []
    budget = TokenBudget.objects.create(user=user, limit=5)
    assert warnings() == []
    budget.limit, budget.cost_limit = None, 5
    budget.save()
    assert warnings() == [
        "The model both has the route claude:c-1",
        "The model claude has the route claude:c-1",
        "The model gpt has the route gpt:g-1",
    ]


@pytest.mark.django_db
def test_a_check_before_there_are_tables_says_nothing(upstream):
    def none_yet(execute, sql, params, many, context):
        if "chat_tokenbudget" in sql:
            raise ProgrammingError("no such table")
        return execute(sql, params, many, context)  # Django's own, which asks once what the database can do

    with connection.execute_wrapper(none_yet):
        assert warnings() == []


@pytest.mark.django_db
def test_a_broken_models_file_is_told_of_by_its_own_check(settings, tmp_path):
    settings.CHAT_MODELS_FILE = str(tmp_path / "none.toml")
    assert check_prices(databases=["default"]) == []
