"""The books with one chat of each end, and what their audit finds."""

from __future__ import annotations

from datetime import datetime, timedelta

import time_machine

from chat.billing import budgets, ledger
from chat.types import Reservation, Settlement, Usage
from tests.billing.test_money import priced_route

NOW = "2026-06-15 12:30 +0000"


def reserve(user) -> Reservation:
    return budgets.reserve(
        user,
        request_id="r",
        model="m",
        prompt_tokens=4,
        max_tokens=10,
        default_tokens=10,
        routes=[priced_route()],
    )


def live(user, when: str = NOW) -> None:
    """One chat of each end there is, at that time: 30 tokens charged."""
    with time_machine.travel(when):
        budgets.settle(Settlement(reserve(user), "settled", Usage(3, 20), "p", cost=230))  # more than was reserved
        budgets.settle(Settlement(reserve(user), "settled", Usage(3, 4), "p"))  # whose price nobody knew
        budgets.settle(Settlement(reserve(user), "released", error="ProviderTimeoutError"))
        reserve(user)
    with time_machine.travel(datetime.fromisoformat(when) + timedelta(minutes=2)):
        budgets.reclaim()


def audit() -> list[ledger.Difference]:
    with ledger.audit() as (_, _, differences):
        return list(differences)
