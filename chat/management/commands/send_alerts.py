"""`manage.py send_alerts`"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from chat.conf import conf
from chat.conf.checks import alert_faults
from chat.management import alerts, counted


class Command(BaseCommand):
    help = (
        "Tell operators once, by mail (CHAT_ALERT_EMAILS) and by webhook (CHAT_ALERT_WEBHOOK_URL), of budgets that are "
        "nearly spent, providers whose key is refused or whose credit is spent, and chats without a bill. Run it each "
        "minute, or with --watch; several at once do no harm."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", type=int, metavar="SECONDS", help="Go on, with this pause between two runs.")

    def handle(self, *, watch: int | None = None, **options: Any) -> None:
        if not (conf.CHAT_ALERT_EMAILS or conf.CHAT_ALERT_WEBHOOK_URL):
            raise CommandError("Nobody is to be told: set CHAT_ALERT_EMAILS or CHAT_ALERT_WEBHOOK_URL.")
        for message, hint in alert_faults():
            raise CommandError(f"{message} {hint}")
        if watch is not None and watch < 1:
            raise CommandError("--watch is a number of seconds, 1 or more.")
        with ends_of_signals() as told_to_end:
            if watch is None:
                self.stdout.write(told(*alerts.run(told_to_end)))
                return
            while told_to_end.empty():
                self.again(told_to_end)
                connection.close()
                with suppress(Empty):
                    told_to_end.get(timeout=watch)
                    return

    def again(self, told_to_end: alerts.Told) -> None:
        """Run once more. A database that is away is no reason to end: the next run may find it back."""
        try:
            sent, failed = alerts.run(told_to_end)
        except Error as exc:
            self.stderr.write(f"The database is away ({type(exc).__name__}).")
            return
        if sent or failed:
            self.stdout.write(told(sent, failed))


@contextmanager
def ends_of_signals() -> Iterator[alerts.Told]:
    """Give the queue of the signals that tell to end, which end nothing meanwhile: the alert in hand is finished."""
    told_to_end: alerts.Told = SimpleQueue()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: told_to_end.put(number)) for number in numbers}
    try:
        yield told_to_end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def told(sent: int, failed: int) -> str:
    return f"Sent {counted(sent, 'alert')}" + (f"; {failed} could not be sent, see the log." if failed else ".")
