"""Bugs that other gateways had, by the numbers of GATEWAY.md: those that no test of a single format holds."""

from __future__ import annotations

import json

import pytest

from tests.support.asking import ANTHROPIC, OPENAI, client_of, events_of, post, refused, sent
from tests.support.loopback import Fault

pytestmark = pytest.mark.django_db
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
THEIRS = [{"name": "weather", "input_schema": SCHEMA}]
HELLO = {"role": "user", "content": "Hello!"}


def paced(*chunks):
    """OpenAI's chunks of these choices, and the proper end."""
    whole = [json.dumps({"choices": [{"index": 0, **choice}]}) for choice in chunks]
    return Fault("stream_paced", body="".join(f"data: {text}\n\n" for text in [*whole, "[DONE]"]), seconds=0)


def test_2_arguments_that_come_with_the_beginning_of_a_call_are_not_lost(rig):
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    rig.first.always = paced({"delta": {"tool_calls": [call]}}, {"delta": {}, "finish_reason": "tool_calls"})
    events = events_of(post(rig, ANTHROPIC, tools=THEIRS, stream=True))
    (start,) = [data for name, data in events if name == "content_block_start"]
    assert start["content_block"] == {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
    pieces = [data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"]
    assert "".join(pieces) == '{"city":"Rome"}'


def test_11_an_id_that_is_too_long_for_openai_is_shortened_on_both_sides(rig):
    long = "toolu_" + "x" * 60
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": long, "name": "weather", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": long, "content": "Sunny."}]}
    _, said, told = sent(rig, ANTHROPIC, tools=THEIRS, messages=[HELLO, call, result])["messages"]
    (id_,) = [call["id"] for call in said["tool_calls"]]
    assert (told["role"], told["tool_call_id"], len(id_) <= 40) == ("tool", id_, True)


def test_12_and_13_a_beta_travels_with_its_field_or_not_at_all(rig):
    beta = {"anthropic-beta": "context-management-2025-06-27", "anthropic-version": "2023-06-01"}
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    rig.configure("anthropic")
    assert post(rig, ANTHROPIC, headers=beta, context_management=edits).status_code == 200
    heard = rig.first.requests[-1]
    assert (heard.json["context_management"], {name: heard.headers[name] for name in beta}) == (edits, beta)
    rig.configure("openai")
    assert post(rig, ANTHROPIC, headers=beta, context_management=edits).status_code == 200
    heard = rig.first.requests[-1]
    assert "context_management" not in heard.json
    assert "anthropic-beta" not in heard.headers


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_17_tokens_are_counted_whoever_is_asked(rig, protocol):
    rig.configure(protocol)
    body = {"model": "alone", "messages": [HELLO], "tools": THEIRS}
    response = client_of(rig).post("/v1/messages/count_tokens", body, format="json")
    assert response.status_code == 200
    assert response.json()["input_tokens"] > 0
    assert rig.tokens() == (0, 0)


def test_18_one_list_of_models_for_the_clients_of_both(rig):
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        listed = client_of(rig).get("/v1/models", headers=headers).json()
        assert (listed["object"], listed["has_more"], listed["first_id"]) == ("list", False, "alone")
        assert {"id", "object", "created", "owned_by", "type", "display_name", "created_at"} <= listed["data"][0].keys()


def test_23_a_model_that_refuses_a_temperature_is_not_sent_one(rig):
    rig.offer(
        f'[providers.first]\nprotocol = "openai"\nbase_url = "{rig.first.openai_url}"\napi_key_env = "FIRST_API_KEY"\n'
        '[models.alone]\nroutes = ["first:gpt-6-luna"]\nmax_output_tokens = 4096\ndefault_output_tokens = 64\n'
        "temperature = 0.7"
    )
    for asked in ({}, {"temperature": 1}):
        assert "temperature" not in sent(rig, OPENAI, **asked)


def test_23_and_one_that_changes_the_answer_is_refused_by_name(rig):
    rig.offer(
        f'[providers.first]\nprotocol = "openai"\nbase_url = "{rig.first.openai_url}"\napi_key_env = "FIRST_API_KEY"\n'
        '[models.alone]\nroutes = ["first:gpt-6-luna"]\nmax_output_tokens = 4096\ndefault_output_tokens = 64\n'
    )
    assert refused(rig, OPENAI, "unsupported_parameter", temperature=0.2)["param"] == "temperature"
