"""Every mistake in the settings stops the start with an id, the setting's name and a way out."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django_ratelimit.core import _split_rate

from chat.conf import DECLARED
from chat.conf.checks import check_settings, is_rate

RANGES = {name: setting.range for name, setting in DECLARED.items() if setting.range}
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _sound(settings):
    settings.REDIS_URL, settings.WEB_CONCURRENCY = "", 1


@pytest.mark.parametrize("rate", ["1/s", "10/m", "100/h", "5/10s", "1/2d", "999999999/m"])
def test_rates_that_mean_what_they_say(rate, settings):
    settings.CHAT_RATE_LIMIT = rate
    assert is_rate(rate)
    assert check_settings() == []
    count, seconds = _split_rate(rate)
    assert count >= 1
    assert seconds >= 1


BAD_RATES = [
    "",
    "10",
    "10/",
    "/m",
    "abc",
    "10/minute",
    "5/5x",
    "5/5",
    "0/m",
    "-1/m",
    "1/0s",
    "1.5/m",
    "10/m ",
    "10/m\n",
]
BAD_ORIGINS = [
    "*",
    "null",
    "file://",
    "app.example",
    "https://app.example/",
    "https://app.example/path",
    "https://*.app.example",
    "https://App.example",
    "HTTPS://app.example",
    "https://app.example:443",
    "http://app.example:80",
    "https://user@app.example",
    "https://app.example:",
]
MISTAKES = [
    *(("E001", "CHAT_RATE_LIMIT", rate) for rate in BAD_RATES),
    ("E002", "CHAT_TOKEN_ESTIMATE", "exact"),
    ("E003", "TOKEN_BUDGET_PERIOD", "week"),
    ("E003", "TOKEN_BUDGET_PERIOD", ""),
    ("E004", "WEB_CONCURRENCY", 2),
    *(("E005", name, value) for name in RANGES for value in (-1, NAN, INFINITY)),
    *(("E005", name, 0) for name, (least, _) in RANGES.items() if least),
    *(("E006", "CORS_ALLOWED_ORIGINS", [origin]) for origin in BAD_ORIGINS),
    *(("E007", "CHAT_ALERT_EMAILS", [address]) for address in ("ops", "Ops <ops@example.org>", "a@b@c")),
    *(("E007", "CHAT_ALERT_BUDGET_PERCENTS", [percent]) for percent in ("0", "101", "80 %", "-1", "1.5")),
    *(("E009", "CHAT_METRICS_ADDRESSES", [address]) for address in ("", "host", "10.0.0.7/16", "10.0.0.1:80", "*")),
    *(
        ("E008", "OTEL_EXPORTER_OTLP_ENDPOINT", address)
        for address in ("127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://:4318")
    ),
    ("E007", "CHAT_ALERT_WEBHOOK_URL", "https://alerts.example.org"),  # without a secret
]


@pytest.mark.parametrize(("number", "name", "value"), MISTAKES)
def test_a_mistake_is_an_error_that_names_the_setting(settings, number, name, value):
    settings.REDIS_URL = "" if number == "E004" else "redis://127.0.0.1/0"
    setattr(settings, name, value)
    (error,) = check_settings()
    assert (error.id, error.is_serious()) == (f"chat.{number}", True)
    assert name in error.msg
    assert error.hint
    assert error in run_checks()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAT_HEDGE_AFTER", None),
        ("CHAT_HEDGE_AFTER", 0.2),
        ("TOKEN_BUDGET_DEFAULT", 0),
        ("REPLY_CACHE_TTL", 0),
        ("RESERVATION_MARGIN", 0),
        ("SIMULATOR_FAILURE_RATE", 1.0),
        ("CHAT_TOKEN_ESTIMATE", "strict"),
        ("TOKEN_BUDGET_PERIOD", "hour"),
    ],
)
def test_unusual_values_that_work_are_taken(settings, name, value):
    setattr(settings, name, value)
    assert check_settings() == []


def test_several_workers_are_fine_with_redis(settings):
    settings.WEB_CONCURRENCY, settings.REDIS_URL = 8, "redis://127.0.0.1:1/0"
    assert check_settings() == []


def test_several_mistakes_are_told_together(settings):
    settings.CHAT_RATE_LIMIT, settings.CHAT_DEADLINE = "often", 0
    assert [error.id for error in check_settings()] == ["chat.E001", "chat.E005"]


@pytest.mark.parametrize(
    ("of_all", "of_one", "warned"), [(600, 60, 0), (600, 150, 0), (600, 151, 1), (1, 1, 0), (4, 2, 1)]
)
def test_a_users_share_of_the_chats_in_flight_is_warned_of_above_a_quarter(settings, of_all, of_one, warned):
    settings.CHAT_MAX_IN_FLIGHT, settings.CHAT_MAX_IN_FLIGHT_PER_USER = of_all, of_one
    assert [found.id for found in check_settings()] == ["chat.W001"] * warned


WEBHOOK_SECRET = "whsec_" + "A" * 44
BAD_ADDRESSES = [
    "alerts.example.org/hook",
    "ftp://alerts.example.org",
    "https:///hook",
    "https://:443/hook",
    "https://alerts.example.org:99999/hook",
    "https://alerts.example.org:port/hook",
    "https://[::1/hook",
    "https://alerts.example.org/a hook",
    "https://alerts.example.org/hook\n",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_webhooks_address_is_one(settings, address):
    settings.CHAT_ALERT_WEBHOOK_URL, settings.CHAT_ALERT_WEBHOOK_SECRET = address, WEBHOOK_SECRET
    (error,) = check_settings()
    assert (error.id, error.msg) == ("chat.E007", "CHAT_ALERT_WEBHOOK_URL is no address.")  # which may hold a password


def test_a_webhooks_secret_without_its_address_is_warned_of(settings):
    settings.CHAT_ALERT_WEBHOOK_SECRET = WEBHOOK_SECRET
    (warning,) = check_settings()
    assert (warning.id, warning.is_serious()) == ("chat.W002", False)
    assert "CHAT_ALERT_WEBHOOK_URL" in warning.msg
    assert WEBHOOK_SECRET not in str(warning)
    for address in ("https://alerts.example.org/hook/?a=b", "http://user:password@127.0.0.1:8080", "http://[::1]/hook"):
        settings.CHAT_ALERT_WEBHOOK_URL = address
        assert check_settings() == []


@pytest.mark.parametrize(
    ("sender", "warned"),
    [
        ("chat@localhost", 1),
        ("Chat <chat@localhost>", 1),
        ("root@localhost.localdomain", 1),
        ("chat@mailhost.", 1),
        ("chat", 1),
        ("chat@example.org", 0),
        ("Chat <chat@example.org>", 0),
    ],
)
def test_alerts_by_mail_from_no_address_of_the_internet_are_warned_of(settings, sender, warned):
    settings.DEFAULT_FROM_EMAIL = sender
    assert check_settings() == []  # nobody gets one
    settings.CHAT_ALERT_EMAILS = ["ops@example.org"]
    found = check_settings()
    assert [(one.id, one.is_serious()) for one in found] == [("chat.W003", False)] * warned
    assert all(sender in one.msg and "DEFAULT_FROM_EMAIL" in one.hint for one in found)


def test_a_mail_that_is_printed_may_be_from_anybody(settings):
    settings.CHAT_ALERT_EMAILS, settings.DEBUG = ["ops@example.org"], True
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert check_settings() == []
