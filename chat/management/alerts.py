"""What operators are told without asking: budgets that are nearly spent, providers that only an operator can mend, and
chats whose bill waits. Found in the books and the cache, so never in a chat's way; `manage.py send_alerts` runs it.

Each is told once in its period, by mail and by webhook. Either goes out at least once: a sender that is killed between
sending and noting it has it sent again, under the same id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from chat.billing import ledger
from chat.billing.allowance import passed, period_end, period_start, use_of
from chat.conf import conf
from chat.conf.checks import signing_key
from chat.models import Alert, Period
from chat.routing.cooldown import FAULTS
from chat.routing.states import provider_states
from chat.types.money import shown

TAKEN_FOR = timedelta(minutes=5)
"""The time in which an alert is sent; after it, whoever took it is taken for dead."""
LONGEST_PAUSE = 60
"""Minutes."""
KEPT = timedelta(days=100)
MOST_AT_ONCE = 100
"""Alerts of one run. The others go with the next."""
TIMEOUT = 10
"""Seconds that a webhook's receiver may take."""

WAYS = {"mailed_at": "mail", "posted_at": "webhook"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Finding:
    """One thing to tell. `name` is the same for what is told only once."""

    name: str
    kind: str
    title: str
    facts: dict[str, Any]


# --- find -------------------------------------------------------------------------------------------------------------
def findings(now: datetime) -> Iterator[Finding]:
    """Yield all that an operator should know at this moment."""
    yield from spent_providers(now)
    yield from waiting_settlements(now)
    for period in Period.values:
        yield from spent_budgets(period, now)


def spent_budgets(period: str, now: datetime) -> Iterator[Finding]:
    """Yield the budgets of a period that have passed a threshold, each with the highest that it has passed."""
    start = period_start(period, now)
    thresholds = sorted(map(int, conf.CHAT_ALERT_BUDGET_PERCENTS), reverse=True)
    lowest = thresholds[-1] if thresholds else None
    if lowest is None:
        return
    for row in passed(period, start, lowest).select_related("user", "user__token_budget").iterator():
        used, limit, in_money = use_of(row)
        percent = next((one for one in thresholds if used * 100 >= limit * one), None)
        if percent is None:
            continue
        amounts = (shown(used), shown(limit)) if in_money else (f"{used:,} tokens", f"{limit:,} tokens")
        name = " ".join(row.user.get_username().split())
        yield Finding(
            f"budget:{row.user_id}:{period}:{start:%Y-%m-%dT%H}:{limit}:{percent}",
            "budget",
            f"{name[:100]} has used {percent} % of a budget of {amounts[1]} a {period}",
            {
                "user_id": row.user_id,
                "username": name,
                "period": period,
                "used": amounts[0],
                "limit": amounts[1],
                "percent": percent,
                "resets_at": period_end(period, start).isoformat(),
            },
        )


def spent_providers(now: datetime) -> Iterator[Finding]:
    """Yield the providers that rest for a fault of their key or credit; once a day while it lasts."""
    for key, state in provider_states().items():
        why = str(state.get("why", ""))
        if state["state"] == "resting" and why in FAULTS.values():
            name = f"provider:{key}:{why[:100]}:{now:%Y-%m-%d}"
            yield Finding(name, "provider", f"{key} does not answer: {why}", {"provider": key, "why": why})


def waiting_settlements(now: datetime) -> Iterator[Finding]:
    """Yield whether chats that must be over have no bill; once a day. Their worker has it and cannot write it, or was
    killed."""
    waiting = ledger.overdue(now)
    oldest = waiting.values_list("expires_at", flat=True).first()
    if oldest:
        count = waiting.count()
        facts = {"chats": count, "oldest": oldest.isoformat()}
        title = f"{count:,} chat{'' if count == 1 else 's'} ended without a bill: it waits, or the worker died"
        yield Finding(f"settlements:{now:%Y-%m-%d}", "settlements", title, facts)


# --- send -------------------------------------------------------------------------------------------------------------
def run() -> tuple[int, int]:
    """Find, and send what is not sent yet. Return how many alerts went out, and how many could not."""
    now = timezone.now()
    for finding in findings(now):
        facts = {"kind": finding.kind, "title": finding.title, "facts": finding.facts}
        Alert.objects.get_or_create(name=finding.name, defaults=facts | {"created_at": now, "taken_until": now})
    outcomes = [send(alert) for alert in undelivered(now)[:MOST_AT_ONCE] if take(alert)]
    Alert.objects.filter(created_at__lt=now - KEPT).delete()
    return outcomes.count(True), outcomes.count(False)


def undelivered(now: datetime) -> QuerySet[Alert]:
    """Return the alerts that are to go out by a way by which they have not."""
    ways = Q(pk__in=[])
    if conf.CHAT_ALERT_EMAILS:
        ways |= Q(mailed_at=None)
    if conf.CHAT_ALERT_WEBHOOK_URL:
        ways |= Q(posted_at=None)
    return Alert.objects.filter(ways, taken_until__lte=now).order_by("created_at", "pk")


def take(alert: Alert) -> bool:
    """Take an alert to send it, which one sender alone can. Its time begins now: the run may be minutes old."""
    mine = Alert.objects.filter(pk=alert.pk, taken_until=alert.taken_until, tries=alert.tries)
    return bool(mine.update(taken_until=timezone.now() + TAKEN_FOR, tries=F("tries") + 1))


def send(alert: Alert) -> bool:
    """Send an alert by each way by which it is still to go, and return whether it is done. What fails is tried again,
    after pauses that grow."""
    ways = {}
    if conf.CHAT_ALERT_EMAILS and not alert.mailed_at:
        ways["mailed_at"] = mail
    if conf.CHAT_ALERT_WEBHOOK_URL and not alert.posted_at:
        ways["posted_at"] = post
    failures = 0
    for column, way in ways.items():
        try:
            way(alert)
        except (OSError, requests.RequestException) as exc:  # of SMTP as of sockets
            failures += 1
            reason = type(exc).__name__
            log.error("alert_failed", alert=alert.name, way=WAYS[column], reason=reason, tries=alert.tries + 1)
        else:
            Alert.objects.filter(pk=alert.pk).update(**{column: timezone.now()})
            log.info("alert_sent", alert=alert.name, way=WAYS[column])
    if failures:
        pause = timedelta(minutes=min(2**alert.tries, LONGEST_PAUSE))
        Alert.objects.filter(pk=alert.pk).update(taken_until=timezone.now() + pause)
    return not failures


def mail(alert: Alert) -> None:
    """Send the mail. Raises `OSError`."""
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >")
    facts = "\n".join(f"{name}: {value}" for name, value in alert.facts.items())
    sent = EmailMessage(
        f"[chat] {alert.title}",
        f"{alert.title}.\n\n{facts}\n\nFound {alert.created_at:%Y-%m-%d %H:%M:%S} UTC. Told once in its period.\n",
        to=conf.CHAT_ALERT_EMAILS,
        headers={"Message-ID": f"<{id_of(alert)}@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    sent.send()


def post(alert: Alert) -> None:
    """Call the webhook, signed by the Standard Webhooks specification (standardwebhooks.com). Raises
    `requests.RequestException`, also for any status but 2xx."""
    now = timezone.now()
    data = {"title": alert.title, **alert.facts}
    told = {"type": f"alert.{alert.kind}", "timestamp": alert.created_at.isoformat(), "data": data}
    body = json.dumps(told).encode()
    number, second = id_of(alert), str(int(now.timestamp()))
    key = signing_key(conf.CHAT_ALERT_WEBHOOK_SECRET)
    signed = hmac.digest(key, f"{number}.{second}.".encode() + body, hashlib.sha256)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            conf.CHAT_ALERT_WEBHOOK_URL,
            data=body,
            headers={
                "Content-Type": "application/json",
                "webhook-id": number,
                "webhook-timestamp": second,
                "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
            },
            timeout=TIMEOUT,
            allow_redirects=False,
        )
    if answer.status_code // 100 != 2:
        raise requests.HTTPError(f"The webhook answered {answer.status_code}.")


def id_of(alert: Alert) -> str:
    """Return the id by which a receiver knows that it has this one already."""
    return f"alert-{alert.pk}-{int(alert.created_at.timestamp())}"
