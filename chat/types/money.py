"""Money: whole nano-dollars wherever it is counted, dollars where people and programs read it. No float anywhere."""

from __future__ import annotations

from decimal import Decimal

NANO = 10**9
"""Nano-dollars in a dollar."""


def dollars(nano: int) -> Decimal:
    """Return the dollars that `nano` are, exactly, with their nine places."""
    return Decimal(nano).scaleb(-9)


def nano_dollars(amount: Decimal) -> int:
    """Return the nano-dollars that `amount`, in dollars, is. Raises `ValueError` where that is no whole number."""
    nano = amount.scaleb(9)
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"{amount} dollars are no whole number of nano-dollars")
    return int(nano)
