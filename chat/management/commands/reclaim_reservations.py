"""`manage.py reclaim_reservations`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from chat import budgets


class Command(BaseCommand):
    help = "Give back the tokens that are still reserved for chats whose worker died. Safe at any time."

    def handle(self, **options: Any) -> None:
        total = 0
        while count := budgets.reclaim():
            total += count
        self.stdout.write(f"Expired reservations given back: {total}")
