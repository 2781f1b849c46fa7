"""Budgets by their numbers: what is set aside, charged and given back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from chat.billing import budgets
from chat.billing.allowance import allowance, period_end, period_start, usage_of
from chat.models import TokenBudget
from chat.types import Attempt
from tests.billing.booking import (
    away,
    numbers,
    record_of,
    refused,
    release,
    reserve,
    settle,
    spend,
    with_budget,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pauses")]


# --- one chat ---------------------------------------------------------------------------------------------------------
def test_a_chat_is_set_aside_and_then_charged_what_it_cost(user, settings):
    settings.CHAT_DEADLINE, settings.RESERVATION_MARGIN = 5, 7
    reservation = reserve(user, prompt=100, max_tokens=50)
    record = record_of(reservation)
    assert (reservation.tokens, reservation.output_tokens, numbers(user)) == (150, 50, [(0, 150)])
    assert (record.state, record.reserved, record.request_id, record.model) == ("reserved", 150, "r", "m")
    assert (record.expires_at - record.created_at, record.finished_at) == (timedelta(seconds=12), None)

    settle(reservation, 90, 30)
    record.refresh_from_db()
    assert numbers(user) == [(120, 0)]
    assert (record.state, record.provider, record.prompt_tokens, record.completion_tokens) == ("settled", "p", 90, 30)
    assert (record.tokens_used, record.overrun, record.uncharged_tokens, record.estimated) == (120, 0, 0, False)
    assert record.finished_at >= record.created_at


def test_a_chat_without_an_answer_is_given_back_and_says_why(user):
    reservation = reserve(user)
    release(reservation, error="ProviderTimeoutError", provider="p", uncharged=40)
    record = record_of(reservation)
    assert numbers(user) == [(0, 0)]
    assert (record.state, record.error, record.provider) == ("released", "ProviderTimeoutError", "p")
    assert (record.tokens_used, record.uncharged_tokens) == (0, 40)


def test_a_charge_above_the_reservation_is_made_in_full_and_recorded(user):
    user = with_budget(user, 200)
    reservation = reserve(user, prompt=100, max_tokens=50)
    settle(reservation, 260, 40, estimated=True, uncharged=7)
    record = record_of(reservation)
    assert numbers(user) == [(300, 0)]
    assert (record.tokens_used, record.overrun, record.estimated, record.uncharged_tokens) == (300, 150, True, 7)
    assert refused(user, 1, 1).tokens_remaining == 0


@pytest.mark.django_db(transaction=True)
def test_what_an_abandoned_call_cost_is_recorded_afterwards(user):
    reservation = reserve(user)
    settle(reservation, 10, 10, uncharged=5)
    with connection.execute_wrapper(away), capture_logs() as logs:
        budgets.add_uncharged(reservation, Attempt("p", "m", 1, tokens=400))
    assert [(line["event"], line["tokens"]) for line in logs] == [("uncharged_tokens_not_stored", 400)]
    budgets.add_uncharged(reservation, Attempt("p", "m", 1, tokens=30))
    assert (record_of(reservation).uncharged_tokens, numbers(user)) == (35, [(20, 0)])


SETTLE = (lambda r: settle(r, 70, 10), "settled", 80)
RELEASE = (lambda r: release(r, error="E"), "released", 0)


@pytest.mark.parametrize("second", [SETTLE, RELEASE], ids=["settle", "release"])
@pytest.mark.parametrize("first", [SETTLE, RELEASE], ids=["settle", "release"])
def test_only_the_first_end_of_a_chat_counts(user, first, second):
    reserve(user, prompt=3, max_tokens=4)
    reservation = reserve(user, prompt=100, max_tokens=50)
    for end in (first, second, second):
        end[0](reservation)
    assert (record_of(reservation).state, numbers(user)) == (first[1], [(first[2], 7)])


# --- what fits --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limit", "prompt", "max_tokens", "default", "output"),
    [
        (10_000, 100, None, 1000, 1000),
        (1100, 100, None, 1000, 1000),
        (1099, 100, None, 1000, 999),
        (116, 100, None, 1000, 16),
        (115, 100, None, 1000, None),
        (108, 100, None, 8, 8),  # a model whose answers are shorter than the smallest clamped one
        (107, 100, None, 8, None),
        (1100, 100, 1000, 10, 1000),
        (1099, 100, 1000, 10, None),  # what the client asked for is not cut
        (101, 100, 1, 1000, 1),
        (0, 1, 1, 1, None),
        (0, 0, None, 1000, None),
    ],
)
def test_the_answer_may_be_as_long_as_what_is_left(user, limit, prompt, max_tokens, default, output):
    user = with_budget(user, limit)
    if output is None:
        refused(user, prompt, max_tokens, default)
    else:
        reservation = reserve(user, prompt, max_tokens, default)
        assert (reservation.output_tokens, numbers(user)) == (output, [(0, prompt + output)])


def test_a_refusal_says_exactly_what_was_missing(user):
    user = with_budget(user, 10_000)
    spend(user, 9500)
    exc = refused(user, prompt=300, max_tokens=500)
    assert str(exc) == (
        f"Token budget exceeded. User {user.pk} has used 9500/10000 tokens. Current request needs 800 more."
    )
    assert (exc.user_id, exc.tokens_used, exc.tokens_limit, exc.tokens_needed) == (user.pk, 9500, 10_000, 800)
    assert (exc.tokens_reserved, exc.tokens_remaining, exc.can_ever_fit) == (0, 500, True)
    assert exc.resets_at == period_end("month", period_start("month", datetime.now(UTC)))


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "needed", "can_ever_fit"),
    [
        (100, None, 116, True),  # the least that a request of this prompt needs
        (984, None, 1000, True),
        (985, None, 1001, False),
        (400, 600, 1000, True),
        (400, 601, 1001, False),
    ],
)
def test_a_request_larger_than_the_whole_budget_is_told_apart(user, prompt, max_tokens, needed, can_ever_fit):
    user = with_budget(user, 1000)
    reserve(user, prompt=500, max_tokens=450)
    exc = refused(user, prompt, max_tokens)
    assert (exc.tokens_needed, exc.can_ever_fit) == (needed, can_ever_fit)
    assert (exc.tokens_used, exc.tokens_reserved, exc.tokens_remaining) == (0, 950, 50)


def test_a_limit_lowered_below_the_use_leaves_nothing_and_never_less(user):
    user = with_budget(user, 1000)
    spend(user, 600)
    held = reserve(user, prompt=100, max_tokens=100)
    user = with_budget(user, 500)
    exc = refused(user, 1, 1)
    assert (exc.tokens_used, exc.tokens_reserved, exc.tokens_limit, exc.tokens_remaining) == (600, 200, 500, 0)
    assert usage_of(user)["remaining"] == 0
    settle(held, 200)
    assert numbers(user) == [(800, 0)]
    assert reserve(with_budget(user, 900), 50, 50).tokens == 100


def test_a_user_without_a_budget_row_has_the_default_one(user, settings):
    settings.TOKEN_BUDGET_DEFAULT, settings.TOKEN_BUDGET_PERIOD = 120, "hour"
    assert reserve(user).output_tokens == 20
    assert (allowance(user).limit, allowance(user).period, TokenBudget.objects.count()) == (120, "hour", 0)


# --- cost -------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", [SETTLE[0], RELEASE[0]], ids=["settle", "release"])
def test_a_chat_costs_one_statement_to_reserve_and_one_to_end_or_two_in_a_transaction(user, end):
    user = with_budget(user, 10_000)
    reserve(user, 1, 1)
    with CaptureQueriesContext(connection) as reserving:
        reservation = reserve(user)
    with CaptureQueriesContext(connection) as ending:
        end(reservation)
    for queries in (reserving, ending):
        words = [query["sql"].split()[0] for query in queries]
        if connection.vendor == "postgresql":
            assert words == ["WITH"]
        else:
            assert (words[0], words[-1], len(words)) == ("BEGIN", "COMMIT", 4), words
