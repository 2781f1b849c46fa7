"""`manage.py issue_key USERNAME [--create] [--days N] [--name TEXT]`"""

from __future__ import annotations

from shlex import quote
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.accounts import keys
from chat.conf import DAYS, conf


class Command(BaseCommand):
    help = "Issue an API key, and print the key alone, for scripts. It is stored nowhere and cannot be shown again."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--create", action="store_true", help="Create the user (without a password) if need be.")
        parser.add_argument("--days", type=int, help="Days until the key expires; default KEY_TTL_DAYS.")
        parser.add_argument("--name", default="", help="The user's word for it, at most 100 characters.")

    def handle(self, *, username: str, create: bool, days: int | None, name: str = "", **options: Any) -> None:
        days = conf.KEY_TTL_DAYS if days is None else days
        if not DAYS[0] <= days <= DAYS[1]:
            raise CommandError(f"--days must be from {DAYS[0]} to {DAYS[1]}, not {days}.")
        if len(name) > 100:
            raise CommandError(f"--name must be at most 100 characters, not {len(name)}.")
        user = find_user(username, create=create)
        if not user.is_active:
            raise CommandError(f"{username}'s account is not active: its keys are refused. Activate it in the admin.")
        issued, key = keys.issue(user, days, by="manage.py issue_key", name=name)
        self.stdout.write(key)
        self.stderr.write(f"A key for {username}, valid until {issued.expiry:%Y-%m-%d}. It is shown this once.", str)


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
