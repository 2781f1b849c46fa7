"""OpenAI's Responses API beside the others: which route is asked, and tools from one to the other and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import responses as api
from tests.support.loopback import Fault, status
from tests.support.responses import CALLS, HELLO, LOOK, TEXT, Vendor
from tests.support.sdks import anthropic_client

pytestmark = pytest.mark.django_db(transaction=True)


def test_tools_on_a_model_that_thinks_go_by_this_api(auth_client, house):
    """Bug 20: on chat/completions such a model takes no functions while it thinks."""
    house.first.always = Vendor(CALLS)
    function = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    body = {"model": "both", "messages": HELLO, "tools": [function], "reasoning_effort": "low"}
    for stream in (False, True):
        response = auth_client.post("/v1/chat/completions", body | {"stream": stream}, format="json")
        text = b"".join(response.streaming_content).decode() if stream else response.content.decode()
        assert response.status_code == 200
        assert "call_0001" in text
        assert "call_0002" in text
        assert "First look." not in text
    (sent, _) = house.first.requests
    assert sent.path == "/v1/responses"
    assert sent.json == {
        "model": "gpt-6-luna",
        "max_output_tokens": 64,
        "store": False,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}],
        "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}],
    }
    plain = auth_client.post("/v1/chat/completions", {"model": "both", "messages": HELLO}, format="json")
    assert plain.status_code == 200
    assert house.first.requests[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize(("path", "said"), [("/v1/responses", "input"), ("/v1/chat/completions", "messages")])
def test_of_two_apis_of_a_model_the_clients_own_is_asked_and_no_other(auth_client, house, path, said):
    house.first.always = "unavailable"
    response = auth_client.post(path, {"model": "both", said: HELLO}, format="json")
    assert response.status_code == 503
    assert {request.path for request in house.first.requests} == {path}


def test_encrypted_thoughts_go_home_and_nowhere_else(client, house):
    """Bug 25: another organization cannot open them, and refuses the whole request."""
    house.first.then(status(200, {}, CALLS), "unavailable", "unavailable", "unavailable")
    house.second.always = Vendor(TEXT)
    first = client.responses.create(model="pair", input="Hello!", tools=[LOOK])
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "blue"}
        for item in first.output
        if item.type == "function_call"
    ]
    history = [*HELLO, *(item.to_dict() for item in first.output), *outputs]
    second = client.responses.create(model="pair", input=history, tools=[LOOK])
    assert second.output_text == "Good day."
    assert house.first.requests[1].json["input"] == history
    elsewhere = house.second.requests[0].json["input"]
    assert [item.get("type") for item in elsewhere] == [
        None,
        "message",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
    ]
    assert "gAAAA" not in json.dumps(elsewhere)


def test_thoughts_that_nobody_remembers_go_first_where_they_can_be_read(auth_client, house):
    body = {"model": "mixed", "input": [*HELLO, CALLS["output"][0], TEXT["output"][0], *HELLO]}
    assert auth_client.post("/v1/responses", body, format="json").status_code == 200
    assert house.first.requests[0].json["input"] == body["input"]
    body["input"].pop(1)
    assert auth_client.post("/v1/responses", body, format="json").status_code == 200
    assert house.second.requests[0].path == "/v1/chat/completions"


CLAUDES = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
        {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 12},
}


def events_of_claude():
    """The same as Anthropic streams it."""
    yield {"type": "message_start", "message": CLAUDES | {"content": [], "stop_reason": None}}
    for index, block in enumerate(CLAUDES["content"]):
        kind = block["type"]
        name, delta = {
            "thinking": ("thinking", {"type": "thinking_delta", "thinking": "Hm."}),
            "text": ("text", {"type": "text_delta", "text": "I look."}),
            "tool_use": ("input", {"type": "input_json_delta", "partial_json": json.dumps(block.get("input"))}),
        }[kind]
        yield {
            "type": "content_block_start",
            "index": index,
            "content_block": block | {name: {} if name == "input" else ""},
        }
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": "tool_use", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 12}}
    yield {"type": "message_stop"}


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_of_calls_with_a_model_of_anthropics(client, house, stream):
    """Bugs 1 to 5: parallel calls, dense indexes, and no thoughts of another vendor."""
    streamed = Fault("stream_paced", body=api.written(list(events_of_claude())), seconds=0)
    house.second.then(streamed if stream else status(200, {}, CLAUDES), "ok")
    options: dict[str, Any] = {"model": "other", "tools": [LOOK], "parallel_tool_calls": True}
    if stream:
        with client.responses.stream(input="Hello!", **options) as events:
            first = events.get_final_response()
    else:
        first = client.responses.create(input="Hello!", **options)
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    assert [json.loads(item.arguments) for item in first.output[1:]] == [{"at": "sky"}, {}]
    assert (first.usage.input_tokens, first.usage.input_tokens_details.cached_tokens) == (12, 3)
    picture = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,aaaa"}
    outputs = [
        {"type": "function_call_output", "call_id": "toolu_2", "output": [picture]},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "blue"},
    ]
    history = [*HELLO, *(item.to_dict() for item in first.output), *outputs]
    assert client.responses.create(input=history, **options).output_text == "hello"
    sent = house.second.requests[1].json["messages"]
    assert [block["type"] for block in sent[1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["tool_use_id"] for block in sent[2]["content"]] == ["toolu_2", "toolu_1"]
    assert sent[2]["content"][0]["content"][0]["source"]["data"] == "aaaa"


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_of_calls_of_anthropics_client(live_server, house, stream):
    house.first.always = Vendor(CALLS)
    tool: Any = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    hello: Any = HELLO
    with anthropic_client(live_server.url, house.token, max_retries=0) as client:
        if stream:
            with client.messages.stream(model="own", max_tokens=64, messages=hello, tools=[tool]) as events:
                first = events.get_final_message()
        else:
            first = client.messages.create(model="own", max_tokens=64, messages=hello, tools=[tool])
        assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
        assert (first.stop_reason, [call.input for call in first.content[1:]]) == ("tool_use", [{"at": 1}, {}])
        assert (first.usage.input_tokens, first.usage.cache_read_input_tokens) == (20, 12)
        results: Any = [
            {"type": "tool_result", "tool_use_id": call.id, "content": "blue", "is_error": True}
            for call in first.content[1:]
        ]
        house.first.always = Vendor(TEXT)
        said: Any = {"role": "assistant", "content": first.to_dict()["content"]}
        history: Any = [*hello, said, {"role": "user", "content": [*results, {"type": "text", "text": "So?"}]}]
        second = client.messages.create(model="own", max_tokens=64, messages=history, tools=[tool])
    assert second.content[0].text == "Good day."
    sent = house.first.requests[1].json
    assert [item["type"] for item in sent["input"]] == [
        *("message", "message", "function_call", "function_call"),
        *("function_call_output", "function_call_output", "message"),
    ]
    assert sent["input"][4]["output"] == "Error: blue"
    assert sent["tools"][0]["strict"] is False
