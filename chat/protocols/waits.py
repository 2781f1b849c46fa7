"""The time that a provider asks us to wait: in its headers, or in the body where only that says it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_RETRY_AFTER = 120.0
"""Seconds; nothing is gained by believing a provider that says "tomorrow"."""
EXAMINED = 4_000
"""Characters of an error's text that are searched for a wait."""
_DURATION = (
    r"(?:(\d{1,4})h)?\s?(?:(\d{1,4})m(?!s))?\s?(\d{1,6}(?:\.\d{1,9})?)\s?(ms|milliseconds?|s(?:ec(?:onds?)?)?)\b"
)
"""A length of time in a provider's words: 7s, 1m2.5s, 6h3m0s, 345ms, 20 seconds."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks us to wait, at most 120; None where it does not say, or says nothing
    sensible."""
    for value in (_milliseconds(headers.get("retry-after-ms")), _seconds(headers.get("retry-after"))):
        if value is not None and math.isfinite(value) and value > 0:
            return min(value, LONGEST_RETRY_AFTER)
    return None


def wait_in(message: str) -> float | None:
    """Return the seconds that an error's text asks us to wait, such as "try again in 1m2.5s", at most 120."""
    found = re.search(rf"\b(?:try again|retry) (?:in|after) {_DURATION}", message[:EXAMINED], re.IGNORECASE)
    return _seconds_of(found) if found else None


def duration(value: Any) -> float | None:
    """Return the seconds of a duration as Google writes it, such as "7s" or {"seconds": 7}."""
    if isinstance(value, dict):
        value = f"{value.get('seconds')}s"
    found = re.fullmatch(_DURATION, value, re.IGNORECASE) if isinstance(value, str) else None
    return _seconds_of(found) if found else None


def _seconds_of(found: re.Match[str]) -> float | None:
    hours, minutes, amount, unit = found.groups()
    seconds = float(amount) / (1000 if unit.lower().startswith("m") else 1)
    seconds += int(hours or 0) * 3600 + int(minutes or 0) * 60
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def _milliseconds(text: str | None) -> float | None:
    value = _number(text)
    return None if value is None else value / 1000


def _seconds(text: str | None) -> float | None:
    value = _number(text)
    if value is not None or not text:
        return value
    try:
        return parsedate_to_datetime(text.strip()[:64]).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    # float() alone also takes "1_0", "infinity" and digits of other scripts.
    if text is None or not re.fullmatch(r"\s*[+-]?[0-9]{1,15}(\.[0-9]{0,15})?\s*", text):
        return None
    return float(text)
