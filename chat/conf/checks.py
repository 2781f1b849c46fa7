"""System checks of the settings: a mistake stops the start with an id and a way out, instead of becoming a 500."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from chat.conf import DECLARED, conf

RATE = re.compile(r"[1-9]\d{0,8}/(?:[1-9]\d{0,5})?[smhd]")
# As a browser sends it: in lower case, without a path, without its scheme's own port. Anything else would never match.
ORIGIN = re.compile(r"(?!http://.*:80$|https://.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
CHOICES = {"CHAT_TOKEN_ESTIMATE": 2, "TOKEN_BUDGET_PERIOD": 3}
"""The numbers of the errors."""


def is_rate(rate: str) -> bool:
    """Return whether `rate` is one that django-ratelimit understands as it is meant, such as 10/m or 100/5m."""
    return RATE.fullmatch(rate) is not None


def is_network(text: str) -> bool:
    """Return whether `text` is an address or a network, without bits of a host beyond the network's own."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_address(text: str) -> bool:
    """Return whether `text` is the http or https address of a host, with a port that there can be."""
    try:
        parts = urlsplit(text)
        named, _ = parts.hostname, parts.port
    except ValueError:  # a bracket without its other, a port that is no number or too large
        return False
    return parts.scheme in {"http", "https"} and bool(named) and not re.search(r"[\x00-\x20\s]", text)


def signing_key(secret: str) -> bytes:
    """Return the key of a webhook's secret: base64 behind whsec_, 24 bytes at the least. Raises `ValueError`."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    if len(key) < 24:
        raise ValueError("too short")
    return key


def is_sender() -> bool:
    """Return whether mails come from a domain that others can know: chat@localhost, the default, has none."""
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >")
    return "." in domain.strip(".") and not domain.startswith("localhost.")


def alert_faults() -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings of alerts, and the way out."""
    for percent in conf.CHAT_ALERT_BUDGET_PERCENTS:
        if not re.fullmatch(r"[1-9]\d?|100", percent):
            yield f"CHAT_ALERT_BUDGET_PERCENTS holds {percent!r}.", "Write whole numbers up to 100, such as 80,100."
    for address in conf.CHAT_ALERT_EMAILS:
        if not re.fullmatch(r"[^@\s,<>]+@[^@\s,<>]+", address):
            yield f"CHAT_ALERT_EMAILS holds {address!r}.", "Write addresses such as ops@example.org."
    if conf.CHAT_ALERT_EMAILS and "console" in settings.EMAIL_BACKEND and not settings.DEBUG:
        yield "CHAT_ALERT_EMAILS is set, but mails are only printed.", "Set EMAIL_URL to a mail server."
    if not conf.CHAT_ALERT_WEBHOOK_URL:
        return
    if not is_address(conf.CHAT_ALERT_WEBHOOK_URL):
        yield "CHAT_ALERT_WEBHOOK_URL is no address.", "Write it as https://alerts.example.org/hook."
    try:
        signing_key(conf.CHAT_ALERT_WEBHOOK_SECRET)
    except ValueError:
        yield (
            "CHAT_ALERT_WEBHOOK_URL is set, but CHAT_ALERT_WEBHOOK_SECRET is no secret to sign by.",
            "Make one: python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
        )


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong: E001 rate, E002 token estimate, E003 budget period, E004 several workers without Redis,
    E005 numbers, E006 origins of front ends, E007 alerts, E008 the collector of spans, E009 who reads the metrics; W001
    one user's share, W002 a webhook's secret without its address, W003 the sender of alerts by mail."""
    errors: list[CheckMessage] = []

    def refuse(number: int, message: str, hint: str) -> None:
        errors.append(Error(message, hint=hint, id=f"chat.E{number:03}"))

    for name, setting in DECLARED.items():
        value = getattr(conf, name)
        if setting.is_rate and not is_rate(value):
            refuse(1, f"{name} is {value!r}.", "Write it as 10/m, 100/h or 5/10s.")
        if setting.choices and value not in setting.choices:
            refuse(CHOICES[name], f"{name} is {value!r}.", f"It is one of: {', '.join(setting.choices)}.")
        if setting.range and value is not None and not setting.range[0] <= value <= setting.range[1]:  # nor is NaN
            refuse(5, f"{name} is {value}.", f"It is a number from {setting.range[0]} to {setting.range[1]}.")
    if conf.WEB_CONCURRENCY > 1 and not conf.REDIS_URL:
        refuse(
            4,
            f"WEB_CONCURRENCY is {conf.WEB_CONCURRENCY}, but there is no REDIS_URL.",
            "Each worker would count the rate limit on its own, so users would get a multiple of it. Set REDIS_URL.",
        )
    for origin in conf.CORS_ALLOWED_ORIGINS:
        if not ORIGIN.fullmatch(origin):
            refuse(6, f"CORS_ALLOWED_ORIGINS holds {origin!r}.", "Name each origin as https://app.example.org.")
    if conf.OTEL_EXPORTER_OTLP_ENDPOINT and not is_address(conf.OTEL_EXPORTER_OTLP_ENDPOINT):
        refuse(8, "OTEL_EXPORTER_OTLP_ENDPOINT is no address.", "Write it as http://127.0.0.1:4318.")
    for network in conf.CHAT_METRICS_ADDRESSES:
        if not is_network(network):
            refuse(9, f"CHAT_METRICS_ADDRESSES holds {network!r}.", "Write them as 10.0.0.7,10.1.0.0/16.")
    for message, hint in alert_faults():
        refuse(7, message, hint)
    if not errors and max(1, conf.CHAT_MAX_IN_FLIGHT // 4) < conf.CHAT_MAX_IN_FLIGHT_PER_USER:
        errors.append(
            Warning(
                f"CHAT_MAX_IN_FLIGHT_PER_USER is {conf.CHAT_MAX_IN_FLIGHT_PER_USER}, more than a quarter of "
                f"CHAT_MAX_IN_FLIGHT ({conf.CHAT_MAX_IN_FLIGHT}).",
                hint="A few users could take all of it. Left out, it is a tenth.",
                id="chat.W001",
            )
        )
    if conf.CHAT_ALERT_WEBHOOK_SECRET and not conf.CHAT_ALERT_WEBHOOK_URL:
        errors.append(
            Warning(
                "CHAT_ALERT_WEBHOOK_SECRET is set, but CHAT_ALERT_WEBHOOK_URL is not: no webhook is told of alerts.",
                hint="Set CHAT_ALERT_WEBHOOK_URL, or remove the secret.",
                id="chat.W002",
            )
        )
    if not errors and conf.CHAT_ALERT_EMAILS and "console" not in settings.EMAIL_BACKEND and not is_sender():
        errors.append(
            Warning(
                f"Alerts go out by mail from {settings.DEFAULT_FROM_EMAIL!r}, which is no address of the internet.",
                hint="Mail servers refuse it, or take it for spam. Set DEFAULT_FROM_EMAIL, as chat@example.org.",
                id="chat.W003",
            )
        )
    return errors
