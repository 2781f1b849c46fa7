"""`manage.py issue_key USERNAME [--create] [--days N] [--name TEXT]`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.accounts import keys
from chat.conf import DAYS, conf
from chat.management import find_user


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
