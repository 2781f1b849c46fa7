"""`manage.py delete_user USERNAME`"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from chat.accounts import deletion
from chat.management import counted, find_user, progress


class Command(BaseCommand):
    help = (
        "Delete a user for good, in small batches while chats go on: keys, conversations, kept answers, budget. Usage "
        "records stay for the bill and name nobody. Stop it at any time and start it again."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *, username: str, **options: Any) -> None:
        user, done = find_user(username), Counter[str]()
        try:
            with progress(sum(rows.count() for rows in deletion.of_user(user).values()), "rows") as bar:
                for batch in deletion.delete(user, by="manage.py delete_user"):
                    done += batch
                    bar.update(batch.total())
        except IntegrityError as exc:
            raise CommandError(f"A chat of {username} was still being written. Run this again.") from exc
        kept = done.pop("usage record", 0)
        gone = ", ".join(counted(count, name) for name, count in done.items()) or "nothing else"
        self.stdout.write(
            f"{username} is deleted, with {gone}. Kept, and naming nobody: {counted(kept, 'usage record')}."
        )
