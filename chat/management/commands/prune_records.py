"""`manage.py prune_records --older-than 400d`"""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import IntegrityError
from django.utils import timezone

from chat.billing import ledger
from chat.management import counted

FEWEST, MOST = 32, 36_500
"""Days that may be asked for. GET /usage shows the last 30."""
BAR = 30
"""Characters of the progress bar."""
PAUSE = 10.0
"""Seconds between two lines where there is no terminal to draw a bar on."""


class Progress:
    """How far it is: a bar that is redrawn where `out` is a terminal, else a line now and then."""

    def __init__(self, out: OutputWrapper, total: int) -> None:
        self.out, self.total, self.done = out, total, 0
        self.began = self.written = time.monotonic()

    def add(self, count: int) -> None:
        """`count` more are done."""
        self.done += count
        if self.out.isatty():
            self.out.write(f"\r{self.bar()} {self.text()}", str, ending="")
        elif time.monotonic() - self.written >= PAUSE:
            self.written = time.monotonic()
            self.out.write(self.text(), str)

    def end(self) -> None:
        """Leave the bar's line."""
        if self.done and self.out.isatty():
            self.out.write("", str)

    def share(self) -> float:
        """At most 1, though records may have grown old since they were counted."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    def bar(self) -> str:
        return f"[{'#' * int(BAR * self.share()):<{BAR}}]"

    def text(self) -> str:
        rate = self.done / max(time.monotonic() - self.began, 0.001)
        return f"{self.share():4.0%}  {self.done:,} of {counted(self.total, 'record')}, {rate:,.0f}/s"


def age(text: str) -> timedelta:
    """`400d` as a time; raises `CommandError` with what would do."""
    match = re.fullmatch(r"([0-9]{1,6})d", text)
    if not match:
        raise CommandError(f"--older-than is a number of days such as 400d, not {text!r}.")
    if not FEWEST <= int(match[1]) <= MOST:
        raise CommandError(
            f"--older-than must be from {FEWEST}d to {MOST}d, not {text}: users are shown their use of the last 30 "
            "days, and budgets last up to a month."
        )
    return timedelta(days=int(match[1]))


class Command(BaseCommand):
    help = (
        "Delete usage records, and budget periods, that had ended this long ago. Chats go on meanwhile; stop it at any "
        "time and start it again. Open reservations stay."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", required=True, help="Days, such as 400d; 32d or more.")

    def handle(self, *, older_than: str, **options: Any) -> None:
        before = timezone.now() - age(older_than)
        progress = Progress(self.stderr, ledger.prunable_records(before).count())
        try:
            for count in ledger.prune_records(before):
                progress.add(count)
            periods = ledger.prune_periods(before)
        except IntegrityError as exc:
            raise CommandError(
                f"After {counted(progress.done, 'record')} there is a budget period that holds less than its records "
                "say, so the rest was left as it is. manage.py audit_budgets shows which; mend it and run this again."
            ) from exc
        finally:
            progress.end()
        self.stdout.write(
            f"Deleted from before {before:%Y-%m-%d %H:%M} UTC: "
            f"{counted(progress.done, 'record')}, {counted(periods, 'period')}."
        )
