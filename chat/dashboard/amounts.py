"""Template filters: `{% load amounts %}`, as the settings name it."""

from __future__ import annotations

from django import template

from chat.types.money import shown

register = template.Library()


@register.filter
def money(nano: int | None) -> str:
    """Return nano-dollars as dollars: to the cent where they are many, of less than a hundredth of one exactly."""
    if nano is None:
        return "unknown"
    if nano < 10**5:
        return shown(nano)
    unit, places = (10**7, 2) if nano >= 10**9 else (10**5, 4)
    return f"${(nano + unit // 2) // unit / 10**places:,.{places}f}"


@register.filter
def percent_of(count: int, whole: int) -> float:
    """Return how many in a hundred of the whole the count is."""
    return 100 * count / whole if whole else 0.0


@register.filter
def seconds(value: float | None) -> str:
    """Return a time for a person: 340 ms, 4.2 s."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
