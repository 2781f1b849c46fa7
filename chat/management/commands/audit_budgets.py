"""`manage.py audit_budgets`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chat.backends import database
from chat.billing import ledger
from chat.management import counted
from chat.models import UsageRecord
from chat.types.money import shown

COLUMNS = "{:30} {:6} {:16} {:>15} {:>15} {:>13} {:>13}  {}"
HEADINGS = ("user", "period", "start (UTC)", "used: recorded", "stored", "reserved: rec.", "stored", "remark")


class Command(BaseCommand):
    help = (
        "Compare every budget period with the sum of its usage records, in tokens and in money. One line and status 0 "
        "where all agree; else a table of those that do not, and status 1. Changes nothing; exact while chats go on."
    )
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        count = 0
        with ledger.audit() as (periods, records, differences):
            for count, difference in enumerate(differences, 1):
                if count == 1:
                    self.stdout.write(COLUMNS.format(*HEADINGS))
                self.stdout.write(self.line(difference))
        compared = f"Compared {counted(periods, 'budget period')} with {counted(records, 'usage record')}"
        if count:
            raise CommandError(
                f"{compared}: {count:,} of them different. Users are held to what is stored; the records are what "
                "each chat wrote. Nothing was changed. Look in the log for budget_settlement_failed, and ask who "
                "edited rows by hand or restored a part of the database."
            )
        self.stdout.write(f"{compared}: all agree.")
        if not records and not UsageRecord.objects.exists():  # those of users who were deleted have no budget
            self.stderr.write(f"{database.name()} holds no usage records; is it the right one?", str)

    def line(self, found: ledger.Difference) -> str:
        remarks = [] if found.stored else ["the period has no row"]
        for what, recorded, stored in (
            ("money used", found.cost_recorded, found.cost_stored),
            ("money reserved", found.held_recorded, found.held_stored),
        ):
            if recorded != stored:
                remarks.append(f"{what}: recorded {shown(recorded)}, stored {shown(stored)}")
        if found.odd:
            odd = counted(found.odd, "record")
            remarks.append(f"{odd} with an end that does not fit the state, the first is {found.first_odd}")
        return COLUMNS.format(
            found.username,
            found.period,
            str(found.start)[:16],
            f"{found.used_recorded:,}",
            f"{found.used_stored:,}",
            f"{found.reserved_recorded:,}",
            f"{found.reserved_stored:,}",
            "; ".join(remarks),
        ).rstrip()
