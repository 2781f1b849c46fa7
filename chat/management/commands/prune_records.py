"""`manage.py prune_records --older-than 400d`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.utils import timezone

from chat.billing import ledger
from chat.management import age, counted, progress

FEWEST = 32
"""Days that records are kept at the least."""
WHY = "users are shown their use of the last 30 days, and budgets last up to a month"


class Command(BaseCommand):
    help = (
        "Delete usage records, and budget periods, that had ended this long ago. Chats go on meanwhile; stop it at any "
        "time and start it again. Open reservations stay."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", required=True, help="Days, such as 400d; 32d or more.")

    def handle(self, *, older_than: str, **options: Any) -> None:
        before = timezone.now() - age(older_than, FEWEST, WHY)
        bar, records = progress(ledger.prunable_records(before).count(), "records"), 0
        try:
            with bar:
                for count in ledger.prune_records(before):
                    records += count
                    bar.update(count)
            periods = ledger.prune_periods(before)
        except IntegrityError as exc:
            raise CommandError(
                f"After {counted(records, 'record')} there is a budget period that holds less than its records "
                "say, so the rest was left as it is. manage.py audit_budgets shows which; mend it and run this again."
            ) from exc
        self.stdout.write(
            f"Deleted from before {before:%Y-%m-%d %H:%M} UTC: "
            f"{counted(records, 'record')}, {counted(periods, 'period')}."
        )
