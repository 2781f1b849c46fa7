"""`manage.py send_alerts` refuses to run where it would tell nobody."""

from __future__ import annotations

import base64

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


def test_it_refuses_what_would_tell_nobody(settings):
    settings.CHAT_ALERT_EMAILS = []
    with pytest.raises(CommandError, match="CHAT_ALERT_EMAILS or CHAT_ALERT_WEBHOOK_URL"):
        call_command("send_alerts")
    settings.CHAT_ALERT_WEBHOOK_URL = "https://alerts.example.org"
    for secret in ("", "whsec_short", "whsec_!!!", base64.b64encode(b"short").decode()):
        settings.CHAT_ALERT_WEBHOOK_SECRET = secret
        with pytest.raises(CommandError, match="CHAT_ALERT_WEBHOOK_SECRET"):
            call_command("send_alerts")
    settings.CHAT_ALERT_WEBHOOK_SECRET = "whsec_" + "A" * 44
    with pytest.raises(CommandError, match="--watch"):
        call_command("send_alerts", watch=0)


def test_mails_that_would_only_be_printed_are_no_way_to_tell_anybody_in_production(settings):
    settings.CHAT_ALERT_EMAILS = ["ops@example.org"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    settings.DEBUG = False
    with pytest.raises(CommandError, match="EMAIL_URL"):
        call_command("send_alerts")
    settings.DEBUG = True
    call_command("send_alerts")
