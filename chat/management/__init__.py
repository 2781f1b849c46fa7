"""What the commands have in common."""

from __future__ import annotations

import re
from datetime import timedelta
from shlex import quote
from typing import Any, NoReturn

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from tqdm import tqdm

MOST_DAYS = 36_500
"""The oldest age that may be asked for."""


def counted(count: int, noun: str) -> str:
    """Return the count and its noun, which is in the plural but for one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def progress(total: int | None, noun: str, *, hidden: bool = False) -> tqdm[NoReturn]:
    """Return the progress bar of a long command, on standard error where that is a terminal and elsewhere nowhere.
    Without a total, it counts. It is hidden from a terminal that gets the command's output already."""
    return tqdm(total=total, unit=f" {noun}", unit_scale=(total or 0) > 99_999, disable=hidden or None)


def age(text: str, fewest: int, why: str = "") -> timedelta:
    """Return the time that `400d` is. Raises `CommandError` where it is none, or below `fewest` days: `why` says why
    those are too few."""
    match = re.fullmatch(r"([0-9]{1,6})d", text)
    if not match:
        raise CommandError(f"--older-than is a number of days such as 400d, not {text!r}.")
    if not fewest <= int(match[1]) <= MOST_DAYS:
        raise CommandError(f"--older-than must be from {fewest}d to {MOST_DAYS}d, not {text}{why and f': {why}'}.")
    return timedelta(days=int(match[1]))


def find_user(username: str, *, create: bool = False) -> Any:
    """Return the user of that name, made if it may be; raises `CommandError` with what to do."""
    users = get_user_model().objects
    if user := users.filter(username=username).first():
        return user
    if not create:
        raise CommandError(
            f"There is no user {username!r}. To create it: manage.py issue_key {quote(username)} --create"
        )
    try:
        users.model._meta.get_field("username").clean(username, None)
    except ValidationError as exc:
        raise CommandError(f"{username!r} cannot be a username: {' '.join(exc.messages)}") from None
    return users.create_user(username)
