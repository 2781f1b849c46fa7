"""What a client asks and what a route's model takes: skipped, refused or left out. HTTP in, HTTP out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.models import UsageRecord
from tests.support.contract import check_error
from tests.support.offers import PATHS, SAMPLER, THINKER, ask, table

pytestmark = pytest.mark.django_db


def sent(rig: Any) -> Any:
    (request,) = rig.first.requests + rig.second.requests
    return request.json


@pytest.mark.parametrize("face", PATHS)
@pytest.mark.parametrize("protocol", THINKER)
def test_nobody_sends_sampling_that_nobody_asked_for(house, auth_client, protocol, face):
    rig = house(table(protocol, THINKER[protocol]))
    assert ask(auth_client, face).status_code == 200
    assert not {"temperature", "top_p", "top_k", "stop", "stop_sequences"} & sent(rig).keys()


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("face", ["openai", "anthropic"])
@pytest.mark.parametrize("protocol", THINKER)
def test_a_route_that_cannot_is_skipped_and_the_next_is_asked(house, auth_client, protocol, face, field):
    other = next(iter(THINKER.keys() - {protocol}))
    rig = house(table(protocol, THINKER[protocol]), table(other, SAMPLER[other]))
    assert ask(auth_client, face, **{field: 0.5}).status_code == 200
    assert sent(rig)[field] == 0.5
    assert rig.events("provider_attempt_failed", "provider_failover") == []


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("face", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_where_no_route_can_the_field_is_refused_before_anything_is_reserved(house, auth_client, face, field, stream):
    rig = house(*(table(*item) for item in THINKER.items()))
    response = ask(auth_client, face, stream=stream, **{field: 0.5})
    body = response.json()
    assert response.status_code == 400
    assert body["error"].get("code", body["error"].get("details", {}).get("error_code")) == "unsupported_parameter"
    assert f"the parameter {field} " in body["error"]["message"]
    assert rig.calls == (0, 0)
    assert not UsageRecord.objects.exclude(state="refused").exists()


def test_our_own_face_names_the_field(house, auth_client):
    house(table("anthropic", "claude-opus-4-7"))
    body = check_error(ask(auth_client, temperature=0), "unsupported_parameter")
    assert body["param"] == "temperature"


@pytest.mark.parametrize("protocol", THINKER)
def test_the_vendors_default_asks_for_nothing(house, auth_client, protocol):
    rig = house(table(protocol, THINKER[protocol]))
    assert ask(auth_client, "openai", temperature=1, top_p=1.0).status_code == 200
    assert not {"temperature", "top_p"} & sent(rig).keys()


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-haiku-latest", True),
        ("claude-opus-4-20250514", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-opus-4-6", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-8-20260801", False),
        ("claude-sonnet-5", False),
        ("claude-haiku-5-5", False),
        ("us.anthropic.claude-opus-5-5-v1:0", False),
        ("some-other-model", True),
    ],
)
def test_which_of_anthropics_models_take_sampling(house, auth_client, model, takes):
    rig = house(table("anthropic", model))
    rig.first.always = "ok"
    assert ask(auth_client, temperature=0.5).status_code == (200 if takes else 400)


@pytest.mark.parametrize(
    ("model", "effort", "takes"),
    [
        ("gpt-4.1-mini", "", True),
        ("gpt-4o", "", True),
        ("gpt-5-chat-latest", "", True),
        ("gpt-5", "", False),
        ("gpt-5.4-mini", "low", False),
        ("gpt-6-luna", "", False),
        ("gpt-6-luna", "none", True),
        ("openai/gpt-6.1-terra", "", False),
        ("o4-mini", "none", False),
        ("llama3.2", "", True),
        ("orca-2", "", True),
    ],
)
def test_which_of_openais_models_take_sampling(house, auth_client, model, effort, takes):
    rig = house(table("openai", model, **({"effort": effort} if effort else {})))
    rig.second.always = "ok"
    assert ask(auth_client, temperature=0.5).status_code == (200 if takes else 400)


def test_a_temperature_above_anthropics_is_not_cut_down_in_silence(house, auth_client):
    rig = house(table("anthropic", "claude-haiku-4-5"), table("openai", "gpt-4.1-mini"))
    assert ask(auth_client, temperature=1.5).status_code == 200
    assert (rig.calls, rig.second.requests[0].json["temperature"]) == ((0, 1), 1.5)


def test_a_blank_stop_text_goes_where_it_is_taken(house, auth_client):
    rig = house(table("anthropic", "claude-haiku-4-5"), table("openai", "gpt-4.1-mini"))
    assert ask(auth_client, "openai", stop="\n").status_code == 200
    assert rig.calls == (0, 1)
    house(table("anthropic", "claude-haiku-4-5"))
    response = ask(auth_client, "anthropic", stop_sequences=["\n"])
    assert response.status_code == 400
    assert "the parameter stop_sequences " in response.json()["error"]["message"]


# --- an operator's word -----------------------------------------------------------------------------------------------
def test_a_models_temperature_is_sent_where_the_client_sends_none_and_the_route_takes_it(house, auth_client):
    rig = house(table("openai", "gpt-4.1-mini"), model="temperature = 0.7")
    for fields, expected in (({}, 0.7), ({"temperature": 0}, 0), ({"top_p": 0.5}, None)):
        assert ask(auth_client, "openai", **fields).status_code == 200
        assert rig.second.requests[-1].json.get("temperature") == expected
    rig = house(table("anthropic", "claude-haiku-5-5"), model="temperature = 0.7")
    assert ask(auth_client).status_code == 200
    assert "temperature" not in rig.first.requests[0].json


def test_effort_in_each_protocols_words(house, auth_client):
    for effort, openai, anthropic in (
        ("none", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("minimal", {"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ("high", {"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
    ):
        rig = house(table("openai", "gpt-6-luna", effort=effort))
        assert ask(auth_client).status_code == 200
        assert openai.items() <= rig.second.requests[-1].json.items()
        rig = house(table("anthropic", "claude-haiku-5-5", effort=effort))
        assert ask(auth_client).status_code == 200
        assert anthropic.items() <= rig.first.requests[-1].json.items()


def test_a_providers_entry_speaks_for_all_its_routes_and_a_route_for_itself(house, auth_client):
    rig = house(table("openai", "gpt-6-luna"), provider='effort = "none"')
    assert ask(auth_client, temperature=0.5).status_code == 200
    assert sent(rig)["reasoning_effort"] == "none"
    house(table("openai", "gpt-6-luna", effort="low"), provider='effort = "none"')
    check_error(ask(auth_client, temperature=0.5), "unsupported_parameter")


@pytest.mark.parametrize("said", [{"sampling": True}, {"accepts": ["temperature"]}, {"temperature": True}])
def test_an_operator_knows_better_what_a_model_takes(house, auth_client, said):
    rig = house(table("openai", "gpt-5-of-our-own", **said))
    rig.second.always = "ok"
    assert ask(auth_client, temperature=0.5).status_code == 200


@pytest.mark.parametrize("said", [{"sampling": False}, {"temperature": False}])
def test_an_operator_knows_better_what_a_model_does_not_take(house, auth_client, said):
    house(table("openai", "gpt-4.1-mini", **said))
    check_error(ask(auth_client, temperature=0.5), "unsupported_parameter")


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_operator_drops_is_left_out_and_named(house, auth_client, stream):
    rig = house(table("anthropic", "claude-haiku-5-5", drop=["temperature", "stop"]))
    response = ask(auth_client, "anthropic", temperature=0.5, stop_sequences=["\n"], stream=stream)
    assert response.status_code == 200
    b"".join(response.streaming_content) if stream else None
    assert response.headers["X-Ignored-Parameters"] == "temperature, stop_sequences"
    assert not {"temperature", "stop_sequences"} & sent(rig).keys()
    assert "X-Ignored-Parameters" not in ask(auth_client, "anthropic").headers


def test_a_routes_own_limit_holds_for_the_default_and_skips_the_route_for_more(house, auth_client):
    rig = house(table("anthropic", "claude-haiku-4-5", max_output_tokens=50), table("openai", "gpt-4.1-mini"))
    assert ask(auth_client).status_code == 200
    assert rig.first.requests[0].json["max_tokens"] == 50
    assert ask(auth_client, max_tokens=51).status_code == 200
    assert (rig.calls, rig.second.requests[0].json["max_completion_tokens"]) == ((1, 1), 51)


# --- what really answered ---------------------------------------------------------------------------------------------
def test_the_upstream_model_is_told_everywhere(house, auth_client):
    rig = house(table("anthropic", "claude-3-5-haiku-latest"), table("openai", "gpt-6-luna"))
    assert ask(auth_client).json()["upstream_model"] == "gpt-6-luna"
    assert rig.record().upstream_model == "gpt-6-luna"
    assert rig.events("chat_completed")[0]["upstream_model"] == "gpt-6-luna"
    stream = b"".join(ask(auth_client, stream=True).streaming_content).decode()
    assert json.loads(stream.partition("event: done\ndata: ")[2])["upstream_model"] == "gpt-6-luna"
