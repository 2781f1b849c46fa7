"""`manage.py reclaim_reservations`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from chat.billing import budgets
from chat.management import progress
from chat.models import IdempotentRequest


class Command(BaseCommand):
    help = (
        "Give back the tokens that are still reserved for chats whose worker died, and delete the stored answers of "
        "Idempotency-Keys past their 24 hours. Safe at any time."
    )
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        total = 0
        with progress(None, "reservations") as bar:
            while count := budgets.reclaim():
                total += count
                bar.update(count)
        answers, _ = IdempotentRequest.objects.filter(expires_at__lte=timezone.now()).delete()
        if answers:
            self.stdout.write(f"Stored answers deleted: {answers}")
        self.stdout.write(f"Expired reservations given back: {total}")
