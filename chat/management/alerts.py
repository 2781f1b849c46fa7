"""Tells operators what management/findings.py finds, by management/ways.py; `manage.py send_alerts` runs it.

Each alert is told once in its period, by mail and by webhook. Either goes out at least once: a sender that is killed
between sending and noting it has it sent again, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from queue import SimpleQueue

import structlog
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from chat.conf import conf
from chat.management.findings import findings
from chat.management.ways import is_expected, open_ways, reason_of, status_of
from chat.models import Alert

TAKEN_FOR = timedelta(minutes=2)
"""The time in which an alert is sent by all ways; after it, whoever took it is taken for dead."""
LONGEST_PAUSE = 60
"""Minutes."""
KEPT = timedelta(days=100)
MOST_AT_ONCE = 100
"""Alerts of one run. The others go with the next."""

Told = SimpleQueue[int]
"""The signals that have told the sender to end. No `Event`: a handler that sets it in the thread that waits for it may
wait for its lock for ever."""

WAYS = {"mailed_at": "mail", "posted_at": "webhook"}

log = structlog.get_logger(__name__)


def run(told_to_end: Told) -> tuple[int, int]:
    """Find, and send what is not sent yet, until told to end. Return how many alerts went out, and how many could
    not."""
    now = timezone.now()
    for finding in findings(now):
        facts = {"kind": finding.kind, "title": finding.title, "facts": {"todo": finding.todo, **finding.facts}}
        Alert.objects.get_or_create(name=finding.name, defaults=facts | {"created_at": now, "taken_until": now})
    # By the time it is now: of what another sender has found since this run began, each sends a part.
    outcomes = list(sent(undelivered(timezone.now())[:MOST_AT_ONCE], told_to_end))
    Alert.objects.filter(created_at__lt=now - KEPT).delete()
    return outcomes.count(True), outcomes.count(False)


def undelivered(now: datetime) -> QuerySet[Alert]:
    """Return the alerts that are to go out by a way by which they have not. Those that were never tried come first, so
    that none waits behind others that always fail."""
    ways = Q(pk__in=[])
    if conf.CHAT_ALERT_EMAILS:
        ways |= Q(mailed_at=None)
    if conf.CHAT_ALERT_WEBHOOK_URL:
        ways |= Q(posted_at=None)
    return Alert.objects.filter(ways, taken_until__lte=now).order_by("tries", "created_at", "pk")


def sent(alerts: QuerySet[Alert], told_to_end: Told) -> Iterator[bool]:
    """Send alerts, and yield of each whether it is done. A way by which nobody answers is left for the next run, or
    each alert would wait as long for it as the first."""
    silent: set[str] = set()
    for alert in alerts:
        if not told_to_end.empty():
            return
        if open_ways(alert).keys() - silent and take(alert):
            yield send(alert, silent, told_to_end)


def take(alert: Alert) -> bool:
    """Take an alert to send it, which one sender alone can. Its time begins now: the run may be minutes old."""
    mine = Alert.objects.filter(pk=alert.pk, taken_until=alert.taken_until, tries=alert.tries)
    return bool(mine.update(taken_until=timezone.now() + TAKEN_FOR, tries=F("tries") + 1))


def send(alert: Alert, silent: set[str], told_to_end: Told) -> bool:
    """Send an alert by each way by which it is still to go, and return whether it is done. What fails is tried again,
    after pauses that grow. Ways by which nobody answers are added to the `silent`."""
    failed = left = False
    for column, way in open_ways(alert).items():
        if column in silent or not told_to_end.empty():
            left = True
        elif not goes_out(alert, column, way, silent):
            failed = True
    until = alert.created_at + KEPT  # also by a way that is named later: by then it is no news
    if failed:
        until = timezone.now() + timedelta(minutes=min(2**alert.tries, LONGEST_PAUSE))
    elif left:
        until = timezone.now()
    Alert.objects.filter(pk=alert.pk).update(taken_until=until)
    return not (failed or left)


def goes_out(alert: Alert, column: str, way: Callable[[Alert], None], silent: set[str]) -> bool:
    """Send an alert by one way, note it, and return whether it went out."""
    try:
        way(alert)
    except Exception as exc:  # whatever it is, the other alerts must go out
        status, expected = status_of(exc), is_expected(exc)
        if expected and status is None:
            silent.add(column)
        facts = {"reason": reason_of(exc), "status": status, "tries": alert.tries + 1}
        # Without the words of what is expected: they may quote an address that holds a secret.
        log.error("alert_failed", alert=alert.name, way=WAYS[column], **facts, exc_info=None if expected else exc)
        return False
    Alert.objects.filter(pk=alert.pk).update(**{column: timezone.now()})
    log.info("alert_sent", alert=alert.name, way=WAYS[column])
    return True
