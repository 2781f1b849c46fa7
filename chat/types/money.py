"""Money: whole nano-dollars where it is counted, dollars where people and programs read it. No float anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

PICO_IN_NANO = 1_000
EXACT = r"^[0-9]+\.[0-9]{9}$"
"""How `exact` writes an amount: a text, since a program's own numbers may be no exact ones."""


def dollars(nano: int) -> Decimal:
    """Return the dollars that `nano` are, exactly, with their nine places."""
    return Decimal(nano).scaleb(-9)


def nano_dollars(amount: Decimal) -> int:
    """Return the nano-dollars that `amount`, in dollars, is. Raises `ValueError` where that is no whole number."""
    nano = amount.scaleb(9)
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"{amount} dollars are no whole number of nano-dollars")
    return int(nano)


def exact(nano: int) -> str:
    """Return the dollars for a program, with all nine places: 0.000012300."""
    return f"{dollars(nano):f}"


def shown(nano: int) -> str:
    """Return the amount for a person, without the zeros at its end but those of whole cents: $0.0000123."""
    whole, _, rest = exact(nano).partition(".")
    return f"${int(whole):,}.{rest.rstrip('0'):0<2}"


@dataclass(frozen=True)
class Rates:
    """What a provider asks for one token, in pico-dollars: so many millionths of a dollar for a million tokens.

    Of the input, `cached` is for what is read from the provider's cache, `written` for what is written to it, and
    `written_long` for what is written to stay there for an hour.
    """

    input: int
    output: int
    cached: int
    written: int
    written_long: int

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached, self.written, self.written_long)


@dataclass(frozen=True)
class Price:
    """What a provider asks. Each of `tiers` says above how many prompt tokens all tokens cost its rates; the highest
    stands first."""

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()

    def reached(self, prompt_tokens: int) -> list[Rates]:
        """Return the rates that a chat may have whose prompt is so long at the most, its own the first."""
        return [*(rates for above, rates in self.tiers if prompt_tokens > above), self.rates]

    def at(self, prompt_tokens: int) -> Rates:
        """Return the rates of a chat with so long a prompt."""
        return self.reached(prompt_tokens)[0]
