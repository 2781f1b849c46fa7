"""The last answer to an identical request, served when every provider fails."""

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.cache import caches
from django.utils import timezone
from knox.models import get_token_model

from chat.completion import reply_cache
from chat.models import Conversation, UsageRecord
from tests.support.loopback import Fault, status
from tests.support.rig import ONE_ATTEMPT, eventually

pytestmark = pytest.mark.django_db


def primed(rig, model="alone", **options):
    """The body of a good answer, after which both providers are down."""
    rig.first.always = Fault(text="the answer")
    body = rig.chat(model, **options).json()
    rig.first.always = rig.second.always = status(501)
    return body


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(504), "LLM is slow, showing cached response"),
        (status(501), "LLM is unavailable, showing cached response"),
        ("reset", "LLM is unavailable, showing cached response"),
        ("rate_limit", "LLM is busy, showing cached response"),
    ],
    ids=str,
)
def test_an_identical_request_gets_its_earlier_answer_marked_and_uncharged(rig, fault, message):
    fresh = primed(rig)
    rig.first.always = fault
    response = rig.chat(headers={"X-Request-ID": "again-1"})
    assert response.status_code == 200
    assert response.json() == fresh | {
        "cached": True, "tokens_used": 0, "cost": "0.000000000", "message": message, "request_id": "again-1",
    }  # fmt: skip
    assert not {"Retry-After", "X-Should-Retry"} & set(response.headers)
    assert rig.tokens() == (21, 0)
    assert list(UsageRecord.objects.order_by("pk").values_list("state", "tokens_used")) == [
        ("settled", 21),
        ("released", 0),
    ]
    end = rig.events("chat_completed")[-1]
    assert (end["cached"], end["tokens_used"], end["attempts"] > 0) == (True, 0, True)


@pytest.mark.parametrize("fault", [status(400), status(413), "html", "broken_json", "bad_key", "terminal_429"], ids=str)
def test_a_rejection_an_unusable_answer_or_our_own_fault_is_told(rig, fault):
    primed(rig)
    rig.first.always = fault
    assert rig.chat().status_code >= 400


@pytest.mark.parametrize(
    ("first", "second", "cached"), [(501, 504, True), (429, 501, True), (404, 501, False), (504, 400, False)]
)
def test_every_route_must_have_failed_in_such_a_way(rig, first, second, cached):
    primed(rig, "pair")
    rig.first.always, rig.second.always = status(first), status(second)
    assert rig.chat("pair").json().get("cached", False) is cached


def test_also_while_every_provider_rests(rig):
    primed(rig)
    for _ in range(6):
        assert rig.chat(headers=ONE_ATTEMPT).json()["cached"] is True
    assert rig.calls == (6, 0)


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        ({}, True),
        ({"temperature": None}, True),
        ({"temperature": 0.7}, False),
        ({"max_tokens": 64}, True),
        ({"temperature": 1}, False),
        ({"max_tokens": 63}, False),
        ({"content": "Hello! "}, False),
        ({"model": "pair"}, False),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello!"}]}, False),
    ],
    ids=str,
)
def test_identical_means_model_messages_temperature_and_max_tokens(rig, change, cached):
    primed(rig)
    assert (rig.chat(**change).status_code == 200) is cached


def test_an_integer_temperature_is_the_same_number(rig):
    primed(rig, temperature=1)
    assert rig.chat(temperature=1.0).json()["cached"] is True


def test_the_history_of_a_conversation_is_part_of_the_messages(rig, user):
    conversation = Conversation.objects.create(user=user)
    primed(rig)
    rig.first.always = "ok"
    rig.chat(content="Before.", conversation_id=str(conversation.pk))
    rig.first.always = status(501)
    assert rig.chat(conversation_id=str(conversation.pk)).status_code == 503
    assert rig.chat().json()["cached"] is True


def test_a_cached_answer_is_stored_in_the_conversation_like_any_other(rig, user):
    primed(rig)
    conversation = Conversation.objects.create(user=user)
    assert rig.chat(conversation_id=str(conversation.pk)).json()["cached"] is True
    assert list(conversation.messages.values_list("role", "content")) == [
        ("user", "Hello!"),
        ("assistant", "the answer"),
    ]


def test_nobody_gets_another_users_answer(rig):
    primed(rig)
    stranger = str(get_token_model().objects.create(user=User.objects.create_user("eve"))[1])
    assert rig.chat(token=stranger).status_code == 503


def test_an_answer_is_kept_for_its_time(rig, settings):
    settings.REPLY_CACHE_TTL = 3600
    settings.RATELIMIT_USE_CACHE = "default"
    has_our_clock = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {"default": has_our_clock, "replies": has_our_clock | {"LOCATION": "replies"}}
    with time_machine.travel(timezone.now(), tick=True) as clock:
        primed(rig)
        reply_cache.flush()  # its time begins when it is written
        clock.shift(3500)
        assert rig.chat().status_code == 200
        clock.shift(200)
        assert rig.chat().status_code == 503


def test_an_answer_is_soon_written_for_other_processes_to_find():
    reply_cache.put("reply:soon", {"text": "the answer"})
    assert eventually(lambda: caches["replies"].get("reply:soon")) == {"text": "the answer"}


def test_without_redis_a_process_keeps_no_more_of_them_than_it_has_memory_for(settings):
    own = caches["local_replies" if settings.REDIS_URL else "replies"]
    for number in range(1001):
        own.set(str(number), "an answer that was never asked for again")
    assert len(own._cache) <= 1000


@pytest.mark.parametrize("then", [0, -1])
def test_zero_turns_it_off_also_for_what_was_kept(rig, settings, then):
    primed(rig)
    settings.REPLY_CACHE_TTL = then
    assert rig.chat().status_code == 503


def test_zero_keeps_nothing(rig, settings):
    settings.REPLY_CACHE_TTL = 0
    primed(rig)
    settings.REPLY_CACHE_TTL = 60
    assert rig.chat().status_code == 503


KEPT = {
    "text": "the answer", "usage": [12, 9], "finish_reason": "stop", "provider": "first", "tokens_used": 21,
    "model": "alone", "request_id": "r-1", "created": 1764000000, "cached": False, "message": "",
}  # fmt: skip
"""An answer as every version since the first has kept it; a later one must still be able to read it."""


@pytest.mark.parametrize(
    ("change", "restored"),
    [({}, True), ({"of another version": 1}, True), ({"text": None}, False), ({"usage": None}, False)],
    ids=str,
)
def test_an_answer_kept_by_another_version_is_served_if_it_has_what_it_needs(rig, monkeypatch, change, restored):
    kept = {name: value for name, value in (KEPT | change).items() if value is not None}
    monkeypatch.setattr("chat.completion.reply_cache.get", lambda key: kept)
    rig.first.always = status(501)
    response = rig.chat()
    told = (response.status_code, response.json().get("response"), response.json().get("error"))
    assert told == ((200, "the answer", None) if restored else (503, None, "provider_unavailable"))
