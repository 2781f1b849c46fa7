"""What a chat asks of the database and of Redis, and what it leaves behind: counted, since a clock would tell of the
machine."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter

import pytest
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from chat.completion import reply_cache
from tests.served.test_cache import configure, django_redis
from tests.support import servers
from tests.support.contract import ask

pytestmark = pytest.mark.django_db(transaction=True)


def commands(client):
    """How often Redis has run each command so far."""
    stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): facts["calls"] for name, facts in stats.items()})


def test_a_chat_costs_one_query_for_the_key_and_one_transaction_each_to_reserve_and_to_settle(auth_client, upstream):
    assert ask(auth_client, model="gpt").status_code == 200  # the first of a period also begins its row
    with CaptureQueriesContext(connection) as queries:
        assert ask(auth_client, model="gpt").status_code == 200
    words = [query["sql"].split()[0] for query in queries]
    if connection.vendor == "postgresql":
        assert words == ["SELECT", "WITH", "WITH"]  # each its own transaction
    else:
        write = ["BEGIN", "UPDATE", "{}", "COMMIT"]
        assert words == ["SELECT", *" ".join(write).format("INSERT").split(), *" ".join(write).format("UPDATE").split()]


def test_a_chat_waits_for_one_round_trip_to_redis(auth_client, upstream, settings, private_server):
    configure(settings, django_redis(private_server(servers.Redis).url))  # other tests' commands would be counted, too
    settings.CACHES = settings.CACHES | {
        "counters": {"BACKEND": "chat.backends.cache.CounterCache", "LOCATION": "local"}
    }
    settings.RATELIMIT_USE_CACHE = "counters"
    settings.CHAT_RATE_LIMIT = "1000/d"
    for _ in range(2):
        assert ask(auth_client, model="gpt").status_code == 200
    reply_cache.flush()
    redis = caches["redis"].client.get_client()
    before = commands(redis)
    with reply_cache._writing:  # answers are written beside the chats, many at a time
        assert ask(auth_client, model="gpt").status_code == 200
        spent = commands(redis) - before - Counter({"info": 1})
    # Those of the Lua script that counts run inside of Redis; what a provider's rest is, is asked for once a second.
    trips = {name: calls for name, calls in spent.items() if name not in {"exists", "incrby", "mget"}}
    assert trips == {"eval": 1}


CHAT = {"model": "alone", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}


@pytest.mark.parametrize(
    ("path", "changes", "fault", "status"),
    [
        pytest.param("/chat", {}, "ok", 200, id="an answer"),
        pytest.param("/chat", {"stream": True}, "ok", 200, id="a stream"),
        pytest.param("/chat", {"stream": True}, "stream_cut", 200, id="a stream that breaks off"),
        pytest.param("/chat", {"model": "none"}, "ok", 404, id="a refusal"),
        pytest.param("/chat", {}, "unavailable", 503, id="a failure"),
        pytest.param("/v1/chat/completions", {}, "ok", 200, id="OpenAI's answer"),
        pytest.param("/v1/messages", {"stream": True}, "ok", 200, id="Anthropic's stream"),
    ],
)
def test_what_a_chat_held_is_gone_with_its_answer(rig, path, changes, fault, status):
    rig.first.always = fault
    rig.caplog.set_level("CRITICAL", "django.request")  # pytest would keep its record, and with it the request
    headers = {"Authorization": f"Token {rig.token}"}
    body = json.dumps(CHAT | changes)
    environ = RequestFactory().generic("POST", path, body, "application/json", headers=headers).environ
    held = weakref.ref(environ["wsgi.input"])
    statuses: list[str] = []
    gc.disable()  # which must not be needed: with many chats in flight, to look for garbage costs a fifth of them
    try:
        response = WSGIHandler()(environ, lambda line, headers: statuses.append(line))
        b"".join(response)
        response.close()
        del environ, response
        assert held() is None
    finally:
        gc.enable()
    assert statuses[0].startswith(str(status))
