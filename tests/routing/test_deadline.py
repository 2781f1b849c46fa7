"""The provider's wait and the client's deadline, from `POST /chat` to real sockets."""

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.routing import cooldown
from tests.support.loopback import Fault, LoopbackProvider, status
from tests.support.rig import ONE_ATTEMPT, SLACK, route_of

pytestmark = pytest.mark.django_db
SLOW, INVALID = "provider_timeout", "invalid_provider_response"


# --- Retry-After ------------------------------------------------------------------------------------------------------
def in_seconds(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("number", [429, 503])
@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retry-after": "7"}, {7}),
        ({"retry-after": "7.2"}, {8}),
        ({"retry-after": "0.2"}, {1}),
        ({"retry-after-ms": "4500", "retry-after": "90"}, {5}),
        ({"retry-after": lambda: in_seconds(40)}, {38, 39, 40}),
        ({"retry-after": lambda: in_seconds(-40)}, {60}),
        ({}, {60}),
        ({"retry-after": "0"}, {60}),
        ({"retry-after": "-3"}, {60}),
        ({"retry-after": "31536000"}, {120}),
        ({"retry-after": "soon"}, {60}),
        ({"retry-after": "nan"}, {60}),
        ({"retry-after": "inf"}, {60}),
        ({"retry-after": "9" * 400}, {60}),
    ],
)
def test_the_providers_wait_is_passed_on_as_the_true_one(rig, number, headers, waits):
    headers = {name: value() if callable(value) else value for name, value in headers.items()}
    rig.first.always = status(number, headers)
    response = rig.chat(headers=ONE_ATTEMPT)
    assert response.json()["retry_after"] in waits
    assert response["Retry-After"] == str(response.json()["retry_after"])
    assert response["X-Should-Retry"] == "true"


@pytest.mark.parametrize(
    ("first", "second", "wait"), [("30", "9", "9"), ("9", "30", "9"), ("30", None, "30"), (None, "80", "60")]
)
def test_of_several_waits_the_earliest_is_told(rig, first, second, wait):
    rig.first.always, rig.second.always = (
        status(429, {"retry-after": value} if value else {}) for value in (first, second)
    )
    assert rig.chat("pair")["Retry-After"] == wait


@pytest.mark.parametrize(
    ("model", "wait", "slept"),
    [("alone", "2", [2.0]), ("alone", "0.5", [0.5]), ("alone", "2.5", []), ("alone", None, []), ("pair", "1", [])],
)
def test_a_short_wait_is_waited_out_where_there_is_no_other_route(rig, model, wait, slept):
    rig.first.then(status(429, {"retry-after": wait} if wait else {}))
    response = rig.chat(model)
    assert rig.slept == slept
    assert rig.calls == ((2, 0) if slept else (1, 1) if model == "pair" else (1, 0))
    assert response.status_code == (200 if slept or model == "pair" else 503)


# --- the deadline -----------------------------------------------------------------------------------------------------
ENDLESS = [
    "hang",
    "hang_after_headers",
    "drip_body",
    "drip_headers",
    "endless_header",
    "endless_headers",
    "endless_continue",
    Fault("slow", seconds=30),
]
QUICK = ["huge", "gzip_bomb", "reset", "close", "close_half_way", "chunk_half_way", "redirect"]


@pytest.mark.parametrize("model", ["alone", "pair"])
@pytest.mark.parametrize("fault", [*ENDLESS, *QUICK], ids=str)
def test_the_answer_leaves_by_the_deadline(rig, settings, fault, model):
    settings.CHAT_DEADLINE = 0.5
    rig.first.always = rig.second.always = fault
    started = time.monotonic()
    response = rig.chat(model)
    assert time.monotonic() - started < settings.CHAT_DEADLINE + SLACK
    assert response.status_code in ((504, 502) if fault in ENDLESS else (502, 503, 504))
    assert rig.tokens() == (0, 0)


@pytest.mark.parametrize("fault", ENDLESS, ids=str)
def test_each_attempt_has_a_time_of_its_own(rig, fault):
    rig.configure(timeout=0.6).first.always = fault
    started = time.monotonic()
    assert rig.chat("pair").json()["provider"] == "second"
    assert time.monotonic() - started < 0.6 + SLACK


def test_a_tls_handshake_that_never_ends_is_cut_off_too(rig):
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        rig.configure(timeout=0.2, urls={"first": f"https://127.0.0.1:{silent.getsockname()[1]}/v1"})
        started = time.monotonic()
        assert rig.chat("pair").json()["provider"] == "second"
        assert time.monotonic() - started < 0.2 + SLACK


def test_nothing_is_sent_to_where_a_redirect_points(rig):
    with LoopbackProvider() as stranger:
        rig.first.always = Fault("redirect", location=f"{stranger.url}/v1/chat/completions")
        assert rig.chat().json()["error"] == INVALID
        assert stranger.connections == 0


def test_no_attempt_is_begun_with_no_time_left(rig, settings):
    settings.CHAT_DEADLINE = 0.01
    assert rig.chat("pair").json()["error"] == SLOW
    assert rig.calls == (0, 0)


def test_a_provider_is_not_blamed_for_what_little_time_was_left(rig, settings):
    settings.CHAT_DEADLINE = 0.7
    rig.configure(timeout=0.5).first.always = rig.second.always = "hang"
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        rig.chat("pair")
    assert cooldown.state(route_of("first"))["users_resting"] == 1
    assert cooldown.state(route_of("second")) == {"state": "available", "failures_in_a_row": 0}
