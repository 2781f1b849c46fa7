"""`POST /v1/messages/count_tokens`: asked of who counts for free, else estimated; never charged, never refused."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from chat.models import UsageRecord
from chat.throttling import admitted
from tests.support.asking import client_of
from tests.support.loopback import Fault, status
from tests.support.sdks import anthropic_client

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/v1/messages/count_tokens"
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
COUNTED = status(200, {"content-type": "application/json"}, {"input_tokens": 1_234})


@pytest.fixture
def house(rig):
    """Models `claude` (Anthropic's API), `gpt` (OpenAI's) and `both` (OpenAI's first)."""
    rig.settings.CHAT_SIMULATOR = False
    limits = "max_output_tokens = 4096\ndefault_output_tokens = 64"
    rig.offer(
        f'[providers.first]\nprotocol = "anthropic"\nbase_url = "{rig.first.url}"\napi_key_env = "FIRST_API_KEY"\n'
        f"timeout = 1.0\n"
        f'[providers.second]\nprotocol = "openai"\nbase_url = "{rig.second.openai_url}"\n'
        f'[models.claude]\nroutes = ["first:claude-haiku-5-5"]\n{limits}\n'
        f'[models.gpt]\nroutes = ["second:gpt-4.1-mini"]\n{limits}\n'
        f'[models.both]\nroutes = ["second:gpt-4.1-mini", "first:claude-haiku-5-5"]\n{limits}\n'
    )
    rig.first.always = COUNTED
    return rig


def ask(rig, model="claude", headers=None, **body):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **body}
    return client_of(rig).post(PATH, body, format="json", headers=headers)


def count(*args, **body):
    response = ask(*args, **body)
    assert response.status_code == 200, response.content
    assert response.json().keys() == {"input_tokens"}
    return response.json()["input_tokens"]


def test_anthropics_package_is_told_what_the_vendor_counts(live_server, house):
    with anthropic_client(live_server.url, house.token, max_retries=0) as client:
        counted = client.messages.count_tokens(
            model="claude",
            system="Be brief.",
            messages=[{"role": "user", "content": "Hello!"}],
            tools=[TOOL],
            extra_headers={"anthropic-beta": "context-1m"},
            extra_body={"tomorrow": 1},
        )
    assert counted.input_tokens == 1_234
    (sent,) = house.first.requests
    assert (sent.path, sent.headers["anthropic-beta"], sent.headers["x-api-key"][:8]) == (
        PATH,
        "context-1m",
        "sk-first",
    )
    assert sent.json == {
        "model": "claude-haiku-5-5",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello!"}],
        "tools": [TOOL],
        "tomorrow": 1,
    }
    assert (UsageRecord.objects.count(), house.tokens()) == (0, (0, 0))


def test_a_model_with_such_a_route_anywhere_is_counted_there(house):
    assert count(house, "both") == 1_234
    assert house.calls == (1, 0)


def test_elsewhere_it_is_our_estimate(house):
    assert 5 <= count(house, "gpt") <= 30
    assert count(house, "gpt", tools=[TOOL] * 3) > count(house, "gpt", tools=[TOOL]) > count(house, "gpt")
    assert count(house, "gpt", system="word " * 500) > 500
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert count(house, "gpt", messages=[{"role": "user", "content": [image]}]) > 500
    assert house.calls == (0, 0)


@pytest.mark.parametrize(
    "fault",
    ["unavailable", "rate_limit", "html", "hang", status(404), status(200, {}, {"input_tokens": "many"})],
    ids=repr,
)
def test_where_it_fails_too(house, fault):
    house.first.always = fault
    assert 5 <= count(house) <= 900
    assert len(house.first.requests) == 1
    (event,) = house.events("tokens_not_counted")
    assert event["provider"] == "first"
    assert UsageRecord.objects.count() == 0


def test_a_route_at_rest_is_not_asked(house):
    house.first.always = "bad_key"
    assert house.chat(model="claude").status_code == 503
    calls = house.calls
    assert count(house) < 900
    assert house.calls == calls


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 100_000_000},
        {"max_tokens": 64, "stream": True, "metadata": {"user_id": "ada"}},
        {"thread": {"id": "t"}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {"temperature": 0.3},
        {"tomorrow": [1]},
    ],
    ids=repr,
)
def test_no_field_is_refused(house, body):
    assert count(house, "gpt", **body) < 40
    assert count(house, **body) > 0
    for sent in house.first.requests:
        assert not sent.json.keys() & {"max_tokens", "stream", "metadata", "thread"}


def test_what_would_reach_out_is_not_passed_on(house):
    servers = [{"type": "url", "url": "https://example.org", "name": "x"}]
    assert count(house, mcp_servers=servers) < 900
    assert house.calls == (0, 0)


@pytest.mark.parametrize(
    ("body", "expected", "code"),
    [
        ({"model": "nowhere"}, 404, "model_not_found"),
        ({"messages": []}, 400, "invalid_message_format"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, 400, "invalid_message_format"),
        ({"model": 7}, 400, "invalid_request"),
    ],
)
def test_what_is_no_prompt_is_an_error(house, body, expected, code):
    response = ask(house, **{"model": "claude"} | body)
    assert (response.status_code, response.json()["error"]["details"]["error_code"]) == (expected, code)


def test_who_has_no_key_is_told_nothing(house):
    response = APIClient().post(PATH, {"model": "claude"}, format="json")
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


def test_it_is_limited_as_a_chat_is(house, user):
    house.settings.CHAT_RATE_LIMIT = "3/m"
    house.settings.CHAT_MAX_IN_FLIGHT_PER_USER = 1
    with admitted(user.pk):
        response = ask(house)
        assert response.json()["error"]["details"]["error_code"] == "too_many_concurrent_requests"
    house.first.then(Fault(text="hello"))
    assert house.chat(model="claude").status_code == 200
    assert [ask(house).status_code for _ in range(2)] == [200, 429]


def test_the_simulator_counts_as_it_charges(live_server, token):
    with anthropic_client(live_server.url, token, max_retries=0) as client:
        asked = {"model": "claude-3", "messages": [{"role": "user", "content": "Hello! " * 50}], "tools": [TOOL]}
        counted = client.messages.count_tokens(**asked).input_tokens
        assert client.messages.create(**asked, max_tokens=10).usage.input_tokens == counted > 50
