"""One chat as a timeline of its attempts, in numbers for SVG attributes: the pages may have no styles inline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat.models import UsageRecord

WIDE = 1_000
"""Units from the left end of the timeline to the right."""


@dataclass(frozen=True)
class Bar:
    """One attempt, from `left` on and `width` wide; `facts` are the record's own."""

    left: int
    width: int
    good: bool
    facts: dict[str, Any]


@dataclass(frozen=True)
class Timeline:
    """A chat's attempts over its `milliseconds`, and where its first token came, if that is known."""

    milliseconds: int
    bars: Sequence[Bar]
    first_token: int | None


def timeline(record: UsageRecord) -> Timeline:
    """Return the timeline of a record. Each attempt is visible, however short; none ends beyond the right end."""
    attempts = [{"at": 0, "ms": 0} | attempt for attempt in record.attempts or []]
    ends = [attempt["at"] + attempt["ms"] for attempt in attempts]
    whole = max([record.duration_ms or 0, record.first_token_ms or 0, *ends, 1])
    bars = []
    for attempt in attempts:
        left = min(WIDE * attempt["at"] // whole, WIDE - 4)
        width = min(max(WIDE * attempt["ms"] // whole, 4), WIDE - left)
        bars.append(Bar(left, width, not attempt.get("reason"), attempt))
    first = None if record.first_token_ms is None else WIDE * record.first_token_ms // whole
    return Timeline(whole, bars, first)
