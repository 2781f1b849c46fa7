"""`manage.py export_user USERNAME`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chat.accounts.export import export
from chat.management import find_user, progress


class Command(BaseCommand):
    help = "Print all that is stored of a user as JSON: account, budget, use, conversations with their words, and keys."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *, username: str, **options: Any) -> None:
        pieces = export(find_user(username))
        with progress(None, "rows", hidden=self.stdout.isatty()) as bar:
            for piece in pieces:
                self.stdout.write(piece, ending="")
                bar.update()
