"""Plots of bars in numbers for SVG attributes: the pages may have no styles inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = 5
"""What has a colour of its own in the stylesheet; all others share one more."""
WIDTH, HEIGHT = 10, 1_000
"""A step's place in a plot, in its own units."""


def bars(steps: Sequence[Mapping[str, int]], colours: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return a bar for each step, with its place and its parts, which are stacked from the bottom up. The highest fills
    the plot."""
    highest = max([*(sum(step.values()) for step in steps), 1])
    made = []
    for number, step in enumerate(steps):
        below, parts = 0, []
        for name in sorted(step, key=lambda name: colours.get(name, COLOURS)):
            top, bottom = (below + step[name]) * HEIGHT // highest, below * HEIGHT // highest
            parts.append({"colour": colours.get(name, COLOURS), "y": HEIGHT - top, "height": top - bottom})
            below += step[name]
        made.append({"x": number * WIDTH, "total": below, "parts": parts})
    return made
