"""The ways by which an alert goes out: a mail, and a call of a webhook.

Each ends in time, whatever the other side does: the webhook is called by the transport that calls providers, and mails
have EMAIL_TIMEOUT (management/mail.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import smtplib
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from chat.conf import conf
from chat.conf.checks import signing_key
from chat.exceptions import ProviderError
from chat.models import Alert
from chat.providers.transport.endpoint import Endpoint
from chat.providers.transport.pool import Transport

PATIENCE = 20
"""Seconds in which a webhook's receiver must have answered, to the end of its headers."""
CONNECT_PATIENCE = 10
"""Of these, the seconds for the name, TCP and TLS."""


def open_ways(alert: Alert) -> dict[str, Callable[[Alert], None]]:
    """Return the ways by which an alert is still to go out, by the columns that keep when it did."""
    ways: dict[str, Callable[[Alert], None]] = {}
    if conf.CHAT_ALERT_EMAILS and not alert.mailed_at:
        ways["mailed_at"] = mail
    if conf.CHAT_ALERT_WEBHOOK_URL and not alert.posted_at:
        ways["posted_at"] = post
    return ways


def mail(alert: Alert) -> None:
    """Send the mail. Raises `OSError`."""
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >")
    facts = dict(alert.facts)
    todo = facts.pop("todo", "")
    known = "\n".join(f"{name}: {value}" for name, value in facts.items())
    found = f"Found {alert.created_at:%Y-%m-%d %H:%M:%S} UTC. Told once in its period."
    sent = EmailMessage(
        f"[chat] {alert.title}",
        f"{alert.title}.\n\n{todo}\n\n{known}\n\n{found}\n",
        to=conf.CHAT_ALERT_EMAILS,
        headers={"Message-ID": f"<{id_of(alert)}@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    sent.send()


def post(alert: Alert) -> None:
    """Call the webhook, signed by the Standard Webhooks specification (standardwebhooks.com). Raises `ProviderError`,
    also for any status but 2xx. Nothing of the answer's body is read."""
    data = {"title": alert.title, **alert.facts}
    told = {"type": f"alert.{alert.kind}", "timestamp": alert.created_at.isoformat(), "data": data}
    body = json.dumps(told).encode()
    url = conf.CHAT_ALERT_WEBHOOK_URL
    receiver = Endpoint("webhook", url, "/" if urlsplit(url).path.endswith("/") else "", {})
    with closing(Transport(pool_size=1)) as transport:
        answer = transport.send(
            receiver,
            body,
            timeout=PATIENCE,
            connect_timeout=CONNECT_PATIENCE,
            headers=signature(id_of(alert), body),
        )
        answer.close()
    if answer.status // 100 != 2:
        raise ProviderError("webhook", answer.status, f"{receiver.host} answered {answer.status}")


def signature(number: str, body: bytes) -> dict[str, str]:
    """Return the headers that say of which moment a message is, and that it is ours."""
    second = str(int(timezone.now().timestamp()))
    key = signing_key(conf.CHAT_ALERT_WEBHOOK_SECRET)
    signed = hmac.digest(key, f"{number}.{second}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": number,
        "webhook-timestamp": second,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def id_of(alert: Alert) -> str:
    """Return the id by which a receiver knows that it has this one already."""
    return f"alert-{alert.pk}-{int(alert.created_at.timestamp())}"


def is_expected(failure: Exception) -> bool:
    """Return whether a failure is the other side's, or the network's, and no fault of ours."""
    return isinstance(failure, OSError | ProviderError)  # of SMTP, too


def reason_of(failure: Exception) -> str:
    """Return what the log says of a failure. The words of SMTP's are the server's own, so only their name is told."""
    return failure.message if isinstance(failure, ProviderError) else type(failure).__name__


def status_of(failure: Exception) -> int | None:
    """Return the status by which the other side has refused; None where it was silent, or was not asked."""
    if isinstance(failure, ProviderError):
        return failure.status_code
    if isinstance(failure, smtplib.SMTPRecipientsRefused):
        return max(status for status, _ in failure.recipients.values())
    return failure.smtp_code if isinstance(failure, smtplib.SMTPResponseException) else None
