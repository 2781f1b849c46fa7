"""`manage.py roll_up`"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from chat.billing import rollup
from chat.management import counted, progress


class Command(BaseCommand):
    help = (
        "Sum the usage records of the hours and days that have ended, so that /overview and the admin's first page are "
        "quick over millions of them. Run it every ten minutes. What has no sums yet the pages add up from the records."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="Make all sums anew, as after rows were edited by hand, and say how many had been wrong.",
        )

    def handle(self, *, rebuild: bool, **options: Any) -> None:
        now = timezone.now()
        if rebuild:
            wrong = list(shown(rollup.rebuild(now)))
            self.stdout.write(f"Made anew: {counted(len(wrong), 'sum')}, of which {sum(wrong):,} had been wrong.")
        summed = list(shown(rollup.sum_up(start, end) for start, end in rollup.missing(now)))
        rollup.forget_old(now)
        left = summed.count(False)
        later = f"; left for later {counted(left, 'time')}, since a chat of it may still run" if left else ""
        self.stdout.write(f"Summed: {counted(summed.count(True), 'time')}{later}.")


def shown(done: Iterable[bool]) -> Iterator[bool]:
    """Yield what is done, and show how many times there were."""
    with progress(None, "times") as bar:
        for outcome in done:
            bar.update()
            yield outcome
