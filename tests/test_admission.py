"""How many chats run at once, and that the rest of the site stays quick."""

import threading
import time

import pytest
from django.contrib.auth.models import User
from knox.models import get_token_model
from rest_framework.test import APIClient

from chat import throttling
from tests.support.loopback import status
from tests.support.rig import SLACK, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy(rig):
    """Two chats of the user's that hang until the test is over."""
    release = threading.Event()
    rig.first.always = lambda request: (release.wait(20), "ok")[1]
    chats = [rig.begin() for _ in range(2)]
    eventually(lambda: rig.calls == (2, 0))
    yield chats
    release.set()
    assert [chat.result(10).status_code for chat in chats] == [200, 200]
    eventually(lambda: not throttling._in_flight)


@pytest.fixture
def stranger():
    return str(get_token_model().objects.create(user=User.objects.create_user("eve"))[1])


@pytest.mark.parametrize(
    ("setting", "status_code", "code", "context"),
    [
        ("CHAT_MAX_IN_FLIGHT", 503, "overloaded", None),
        ("CHAT_MAX_IN_FLIGHT_PER_USER", 429, "too_many_concurrent_requests", 2),
    ],
)
def test_one_chat_too_many_is_refused_at_once(rig, settings, busy, setting, status_code, code, context):
    setattr(settings, setting, 2)
    started = time.monotonic()
    response = rig.chat()
    assert time.monotonic() - started < SLACK
    assert (response.status_code, response.json()["error"]) == (status_code, code)
    assert (response["Retry-After"], response["X-Should-Retry"], response.json().get("limit")) == ("1", "true", context)
    assert rig.calls == (2, 0)


def test_one_users_chats_do_not_count_for_another(rig, settings, busy, stranger):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 2
    rig.begin(token=stranger)
    eventually(lambda: rig.calls == (3, 0))


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/usage", "/models"])
def test_the_rest_of_the_site_stays_quick(rig, settings, busy, path):
    settings.CHAT_MAX_IN_FLIGHT = 2
    started = time.monotonic()
    assert APIClient().get(path, headers={"Authorization": f"Token {rig.token}"}).status_code == 200
    assert time.monotonic() - started < SLACK


def test_a_refused_chat_leaves_its_idempotency_key_free(rig, settings, busy):
    settings.CHAT_MAX_IN_FLIGHT = 2
    assert rig.chat(headers={"Idempotency-Key": "k"}).status_code == 503
    settings.CHAT_MAX_IN_FLIGHT = 9
    rig.first.always = "ok"
    response = rig.chat(headers={"Idempotency-Key": "k"})
    assert (response.status_code, "Idempotent-Replayed" in response) == (200, False)


@pytest.mark.parametrize("end", ["ok", status(400), status(501), "crash", "budget"], ids=str)
def test_every_end_gives_the_place_back(rig, settings, monkeypatch, end):
    settings.CHAT_MAX_IN_FLIGHT = 1
    if end == "crash":
        monkeypatch.setattr("chat.routing.failover.call", lambda *args: 1 / 0)
    elif end == "budget":
        settings.TOKEN_BUDGET_DEFAULT = 1
    else:
        rig.first.always = end
    for _ in range(2):
        assert rig.chat().json().get("error") != "overloaded"
    assert not throttling._in_flight
