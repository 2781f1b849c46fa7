"""What clients of today send by default, and must not be refused for. HTTP in, HTTP out, what reaches the provider."""

from __future__ import annotations

import json

import pytest

from chat.models import TokenBudget
from tests.support.asking import ANTHROPIC, OPENAI, body_for, client_of, events_of, post, refused, sent
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer

pytestmark = pytest.mark.django_db
HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def anthropic(rig):
    return rig.configure("anthropic")


# --- limits -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("most", [16_384, 128_000, 10**9])
@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_limit_is_an_upper_bound_that_the_model_clamps(anthropic, most, stream):
    response = post(anthropic, ANTHROPIC, max_tokens=most, stream=stream)
    assert response.status_code == 200
    response.getvalue()
    assert anthropic.first.requests[-1].json["max_tokens"] == 4096
    assert "X-Budget-Limited" not in response.headers
    assert sent(anthropic, ANTHROPIC, max_tokens=7)["max_tokens"] == 7


@pytest.mark.parametrize("stream", [False, True])
def test_and_so_does_the_budget(anthropic, user, stream):
    TokenBudget.objects.create(user=user, limit=100)
    changes = {} if stream else {"stop_reason": "max_tokens"}
    anthropic.first.always = Fault("reasoning_only") if stream else status(200, body=answer("anthropic", **changes))
    response = post(anthropic, ANTHROPIC, max_tokens=128_000, stream=stream)
    allowed = anthropic.first.requests[-1].json["max_tokens"]
    assert (response.status_code, 16 <= allowed < 100) == (200, True)
    assert response.headers["X-Budget-Limited"] == str(allowed)
    assert response.getvalue()


@pytest.mark.parametrize("path", ["/chat", OPENAI])
def test_a_default_that_the_budget_cuts_is_told_and_one_that_it_does_not_is_not(rig, user, path):
    TokenBudget.objects.create(user=user, limit=60)
    cut = status(200, body=answer("openai", finish_reason="length"))
    rig.first.then(cut, "ok")
    body = {"model": "alone", "messages": HELLO}
    client = client_of(rig)
    assert client.post(path, body, format="json").headers["X-Budget-Limited"] == str(sent_limit(rig))
    ended = client.post(path, body | {"messages": HELLO[:1]}, format="json")
    assert (ended.status_code, "X-Budget-Limited" in ended.headers) == (200, False)


def test_a_limit_of_the_clients_own_is_no_cut_of_the_budgets(rig):
    rig.first.always = status(200, body=answer("openai", finish_reason="length"))
    assert "X-Budget-Limited" not in post(rig, OPENAI, max_tokens=20).headers


def sent_limit(rig):
    return rig.first.requests[0].json["max_tokens"]


def test_what_a_request_needs_is_the_least_and_not_the_whole_budget(rig, user):
    TokenBudget.objects.create(user=user, limit=50)
    assert rig.chat().status_code == 200
    body = rig.chat(content="Hello again, and at some more length, so that it does not fit?").json()
    assert (body["error"], body["tokens_needed"] <= 50, body["tokens_remaining"]) == ("token_budget_exceeded", True, 29)


# --- stop texts -------------------------------------------------------------------------------------------------------
SEVEN = [f"stop{number}" for number in range(7)]


def test_more_than_four_stop_texts_go_where_they_are_taken(anthropic):
    assert sent(anthropic, ANTHROPIC, stop_sequences=SEVEN)["stop_sequences"] == SEVEN


def test_and_are_refused_where_they_are_not(rig):
    error = refused(rig, ANTHROPIC, "unsupported_parameter", stop_sequences=SEVEN)
    assert error["details"]["param"] == "stop_sequences"


@pytest.mark.parametrize("stream", [False, True])
def test_the_stop_text_that_ended_an_answer_is_told(anthropic, stream):
    told = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    if stream:
        parts = [
            {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "message_delta", "delta": told, "usage": {"output_tokens": 12}},
            {"type": "message_stop"},
        ]
        body = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
        anthropic.first.always = status(200, {"content-type": "text/event-stream"}, body)
        events = events_of(post(anthropic, ANTHROPIC, stop_sequences=["END"], stream=True))
        found = next(data["delta"] for name, data in events if name == "message_delta")
    else:
        anthropic.first.always = status(200, body=answer("anthropic", **told))
        found = post(anthropic, ANTHROPIC, stop_sequences=["END"]).json()
        assert post(anthropic, OPENAI, stop="END").json()["choices"][0]["finish_reason"] == "stop"
    assert {name: found[name] for name in told} == told


# --- turns ------------------------------------------------------------------------------------------------------------
BLANK = [{"content": ""}, {"content": " \n"}, {"content": None}, {"content": []}, {}]


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
@pytest.mark.parametrize("blank", BLANK, ids=str)
def test_turns_that_say_nothing_are_taken(rig, role, blank):
    messages = [*HELLO, {"role": role} | blank, *HELLO]
    turns = sent(rig, OPENAI, messages=messages)["messages"]
    assert turns == messages
    rig.configure("anthropic")
    payload = sent(rig, OPENAI, messages=messages)
    assert ([turn["content"] for turn in payload["messages"]], "system" in payload) == (["Hello!", "Hello!"], False)


@pytest.mark.parametrize("blank", BLANK, ids=str)
def test_but_not_a_users(rig, blank):
    refused(rig, OPENAI, "invalid_message_format", messages=[{"role": "user"} | blank])


def test_a_name_goes_where_it_can_be_carried(rig):
    messages = [
        {"role": "user", "content": "Hello!", "name": "Ada"},
        {"role": "assistant", "content": "Hi", "name": None},
    ]
    messages += HELLO
    turns = sent(rig, OPENAI, messages=messages)["messages"]
    assert [turn.get("name") for turn in turns] == ["Ada", None, None]
    error = post(rig.configure("anthropic"), OPENAI, messages=messages).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "messages[0].name")


def test_a_route_that_cannot_carry_a_name_is_skipped(rig):
    rig.offer(
        f'[providers.first]\nprotocol = "anthropic"\nbase_url = "{rig.first.url}"\n'
        f'[providers.second]\nprotocol = "openai"\nbase_url = "{rig.second.openai_url}"\n'
        f"[models.alone]\nroutes = ['first:m', 'second:m']\nmax_output_tokens = 4096\ndefault_output_tokens = 64\n"
    )
    assert post(rig, OPENAI, messages=[{"role": "user", "content": "Hello!", "name": "Ada"}]).status_code == 200
    assert rig.calls == (0, 1)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, 5, "<a>"])
def test_a_name_that_is_none_is_pointed_at(rig, name):
    error = refused(rig, OPENAI, "invalid_message_format", messages=[{"role": "user", "content": "x", "name": name}])
    assert error["param"] == "messages[0].name"


@pytest.mark.parametrize("path", ["/chat", OPENAI, ANTHROPIC])
def test_two_thousand_messages(rig, path):
    body = body_for(path) | {"messages": [{"role": "user", "content": "Hi"}] * 2_000}
    assert client_of(rig).post(path, body, format="json").status_code == 200
    assert len(rig.first.requests[0].json["messages"]) == 2_000
