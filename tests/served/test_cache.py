"""The cache of a site with Redis, while Redis answers, hangs, is gone and comes back."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from time import monotonic

import pytest
import redis
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from structlog.testing import capture_logs

import chat.backends.cache
from genai_site.settings import base
from tests.support import servers


def configure(settings, redis):
    settings.CACHES = {
        "default": {"BACKEND": "chat.backends.cache.FallbackCache", "LOCATION": "local"},
        "redis": redis,
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "fallback"},
    }
    caches["local"].clear()


def django_redis(url):
    options = {
        "SERIALIZER": "chat.backends.cache.JSONSerializer",
        "SOCKET_CONNECT_TIMEOUT": 0.25,
        "SOCKET_TIMEOUT": 0.25,
    }
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": options}


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` is the time by which outages are counted."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(chat.backends.cache, "clock", lambda: Clock.now)
    return Clock


class Broken(LocMemCache):
    """Stands for a Redis that fails after a time-out as long as `failing`, and counts how often it was asked."""

    asked, failing, timeout = 0, True, 0.0

    def get(self, *args, **kwargs):
        type(self).asked += 1
        if self.failing:
            Event().wait(self.timeout)
            raise ConnectionError("gone")
        return super().get(*args, **kwargs)


@pytest.fixture
def broken(settings, request):
    Broken.asked, Broken.failing, Broken.timeout = 0, True, 0.0
    configure(settings, {"BACKEND": "tests.served.test_cache.Broken", "LOCATION": request.node.name})
    return Broken


def check_everything():
    """What the rate limit, the cooldown and the stored replies need of a cache."""
    assert cache.get("missing", "default") == "default"
    assert [cache.add("count", 1, timeout=60), cache.add("count", 1, timeout=60)] == [True, False]
    assert [cache.incr("count"), cache.incr("count", 5), cache.decr("count")] == [2, 7, 6]
    cache.set("reply", {"text": "é"}, timeout=60)
    assert cache.get_many(["reply", "count", "missing"]) == {"reply": {"text": "é"}, "count": 6}
    assert [cache.touch("reply", 5), cache.touch("missing", 5), "reply" in cache] == [True, False, True]
    assert [cache.delete("reply"), cache.delete("reply"), cache.get("reply")] == [True, False, None]
    cache.set_many({"a": 1, "b": 2})
    cache.delete_many(["a", "count"])
    assert [cache.get("a"), cache.get("b"), cache.get_or_set("c", 3)] == [None, 2, 3]
    cache.clear()
    assert cache.get("b") is None


def test_redis_is_used_while_it_answers(settings, redis_url):
    configure(settings, django_redis(redis_url))
    check_everything()
    cache.set("shared", 1)
    assert (caches["redis"].get("shared"), caches["local"].get("shared"), cache.healthy()) == (1, None, True)


def test_a_missing_counter_is_an_answer_and_no_outage(settings, redis_url):
    configure(settings, django_redis(redis_url))
    with capture_logs() as logs, pytest.raises(ValueError, match="not found"):
        cache.incr("missing")
    cache.set("after", 1)
    assert (caches["redis"].get("after"), logs) == (1, [])


@pytest.mark.parametrize("end", ["kill", "pause"])
def test_without_redis_everything_goes_on_in_memory_and_redis_is_used_once_it_is_back(
    settings, private_server, clock, end
):
    redis = private_server(servers.Redis)
    configure(settings, django_redis(redis.url))
    cache.set("before", 1)
    getattr(redis, end)()
    began = monotonic()
    check_everything()
    for _ in range(100):
        cache.get("x")
    assert monotonic() - began < 5  # one time-out of 0.25 s; with one for each of 120 calls it would be 30 s
    assert cache.healthy() is False
    cache.set("local", 2)
    redis.resume() if end == "pause" else redis.start()
    assert (cache.get("local"), cache.get("before")) == (2, None)  # not asked again so soon
    clock.now += chat.backends.cache.RETRY_AFTER
    cache.set("back", 3)
    assert (caches["redis"].get("back"), caches["local"].get("back")) == (3, None)
    assert cache.healthy() is True


def test_an_outage_costs_one_call_in_a_second_whatever_the_number_of_threads(broken, clock):
    broken.timeout = 0.05
    barrier = Barrier(8)

    def work(number):
        barrier.wait()
        return [cache.get("x") for _ in range(20)]

    cache.get("x")
    for seconds, asked in [(0, 1), (0.9, 1), (0.1, 2), (1.0, 3)]:
        clock.now += seconds
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert broken.asked == asked
    broken.failing = False
    clock.now += 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert broken.asked > 8 * 19


def test_an_outage_is_told_once_a_minute(broken, clock):
    with capture_logs() as logs:
        for _ in range(121):
            cache.get("x")
            clock.now += 1
    assert [(line["event"], line["log_level"]) for line in logs] == [("cache_unavailable", "warning")] * 3
    assert str(logs[0]["exc_info"]) == "gone"


def test_health_asks_redis_itself_and_ends_an_outage(broken, clock):
    cache.get("x")
    assert [cache.healthy(), broken.asked] == [False, 2]
    broken.failing = False
    caches["redis"].set("x", "from Redis")
    assert [cache.get("x"), cache.healthy(), cache.get("x")] == [None, True, "from Redis"]


@pytest.mark.parametrize("lost", ["the way out", "the way back"])
def test_a_counter_goes_on_when_redis_goes_or_comes_between_two_calls(settings, private_server, clock, lost):
    redis = private_server(servers.Redis)
    configure(settings, django_redis(redis.url))
    if lost == "the way back":
        redis.kill()
    cache.add("count", 1, timeout=60)
    assert cache.add("count", 1, timeout=60) is False
    if lost == "the way back":
        redis.start()
        clock.now += chat.backends.cache.RETRY_AFTER
    else:
        redis.kill()
    assert [cache.incr("count"), cache.incr("count")] == [1, 2]  # instead of a ValueError, which would limit the user


REFUSALS = {
    "it is full": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "it is a replica": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "it has too few replicas": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
}


@pytest.mark.parametrize(("refuse", "take"), REFUSALS.values(), ids=REFUSALS)
def test_a_redis_that_answers_and_takes_nothing_is_an_outage(settings, private_server, clock, refuse, take):
    server = private_server(servers.Redis)
    configure(settings, django_redis(server.url))
    cache.set("old", 5)
    operator = redis.Redis.from_url(server.url)
    operator.execute_command(*refuse.split())
    with capture_logs() as logs:
        cache.add("new", 1, timeout=60)
        cache.set("rests", "yes")
        counted = []
        for _ in range(3):
            clock.now += chat.backends.cache.RETRY_AFTER
            assert cache.get("rests") == "yes"
            clock.now += chat.backends.cache.RETRY_AFTER
            counted.append((cache.incr("old"), cache.incr("new")))
    assert counted == [(1, 2), (2, 3), (3, 4)]  # and not 1 again and again, which would be no limit
    assert cache.healthy() is False
    assert [line["event"] for line in logs] == ["cache_unavailable"]
    operator.execute_command(*take.split())
    clock.now += chat.backends.cache.RETRY_AFTER
    assert (cache.get("rests"), cache.get("old"), cache.healthy()) == (None, 5, True)


def test_a_counter_that_redis_has_goes_on_in_memory_when_redis_is_full(settings, private_server, clock):
    server = private_server(servers.Redis)
    configure(settings, django_redis(server.url))
    cache.set("old", 5)
    redis.Redis.from_url(server.url).config_set("maxmemory", 1)
    assert [cache.incr("old"), cache.incr("old")] == [1, 2]


class Bomb:
    """What a pickle could do."""

    def __reduce__(self):
        return (pytest.fail, ("code was run",))


@pytest.mark.parametrize("value", [pickle.dumps(Bomb()), pickle.dumps({"a": 1}), b"\xff\xfe", b"{oops", b""], ids=repr)
def test_a_value_that_cannot_be_read_is_a_miss_and_no_outage(settings, redis_url, value):
    configure(settings, django_redis(redis_url))
    redis = caches["redis"].client
    redis.get_client().set(redis.make_key("odd"), value)
    with capture_logs() as logs:
        assert cache.get("odd", "nothing") == "nothing"
        assert cache.get_many(["odd"]) == {}
    assert {line["event"] for line in logs} <= {"cache_value_unreadable"}
    with pytest.raises(ValueError, match="no"):
        cache.incr("odd")
    assert cache.add("odd", 1) is True
    assert (cache.incr("odd"), cache.healthy()) == (2, True)


def test_redis_holds_json(settings, redis_url):
    configure(settings, django_redis(redis_url))
    cache.set("a", {"b": [1, None, "é"]}, 60)
    redis = caches["redis"].client
    assert json.loads(redis.get_client().get(redis.make_key("a"))) == {"b": [1, None, "é"]} == cache.get("a")
    assert "JSONSerializer" in str(base.cache("redis://127.0.0.1")["redis"])
