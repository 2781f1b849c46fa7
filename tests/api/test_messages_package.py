"""Anthropic's own package at work here: tools, threads, thoughts and breaks, through providers of either API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import APIStatusError, beta_tool

from tests.support import messages as api
from tests.support.loopback import status
from tests.support.loopback_faults import answer
from tests.support.sdks import HELLO, AnthropicSDK

pytestmark = pytest.mark.django_db(transaction=True)
SSE = {"content-type": "text/event-stream"}
CALL = {"id": "call:1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}


@pytest.fixture
def client(live_server, rig):
    with AnthropicSDK(live_server.url, rig.token, max_retries=0).client as client:
        yield client


@beta_tool
def look(at: str) -> str:
    """Look at it.

    Args:
        at: What to look at.
    """
    return f"{at} is blue"


def calling(protocol):
    """What a provider answers that wants the tool called."""
    if protocol == "anthropic":
        return status(200, body=api.message(api.thinking("hm"), api.text("So."), api.call("look", at="sky")))
    return status(200, body=answer("openai", "So.", message={"tool_calls": [CALL]}, finish_reason="tool_calls"))


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_the_runner_of_tools_does_without_a_thread_and_comes_to_an_end(client, rig, protocol):
    rig.configure(protocol).first.then(calling(protocol)).always = "ok"
    runner = client.beta.messages.tool_runner(model="alone", max_tokens=64, messages=[HELLO], tools=[look])
    final = runner.until_done()
    assert (final.content[0].text, final.stop_reason) == ("hello", "end_turn")
    assert rig.calls == (2, 0)
    first, last = (request.json for request in rig.first.requests)
    assert "thread" not in first
    if protocol == "openai":
        (call,) = last["messages"][1]["tool_calls"]
        result = last["messages"][2]
        assert (result["role"], result["content"]) == ("tool", "sky is blue")
        assert result["tool_call_id"] == call["id"] != "call:1"
    else:
        (result,) = last["messages"][2]["content"]
        assert (result["tool_use_id"], result["content"]) == ("toolu_0001", "sky is blue")
        assert last["messages"][1]["content"][0] == api.thinking("hm")


def test_a_stream_of_another_vendors_calls(client, rig):
    """Bugs 1 to 5, as the package sees them."""
    rig.first.always = status(200, SSE, openai_stream())
    with client.messages.stream(model="alone", max_tokens=64, messages=[HELLO], tools=[TOOL]) as stream:
        events = [event.type for event in stream]
        message = stream.get_final_message()
    assert events.count("message_start") == 1
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    calls: Any = message.content[1:]
    assert [(call.name, call.input) for call in calls] == [("look", {"at": "sky"}), ("look", {})]
    assert (message.stop_reason, message.usage.input_tokens) == ("tool_use", 9)


TOOL: Any = {"name": "look", "input_schema": {"type": "object"}}


def openai_stream():
    def chunk(finish=None, **delta):
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    def call(index, **function):
        return {"index": index, "type": "function", "function": function}

    chunks: list[Any] = [
        chunk(role="assistant", content=""),
        chunk(reasoning_content="hm"),
        chunk(content="So."),
        chunk(tool_calls=[call(0, name="look", arguments='{"at"') | {"id": "call_1"}]),
        chunk(tool_calls=[call(1, name="look", arguments="") | {"id": "call_2"}]),
        chunk(tool_calls=[call(0, arguments=': "sky"}')]),
        chunk("tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}},
    ]
    return "".join(f"data: {json.dumps(item)}\n\n" for item in chunks) + "data: [DONE]\n\n"


def test_thoughts_are_relayed_and_go_back_as_they_came(client, rig):
    whole = api.message(api.thinking("", "EqQB"), api.redacted(), api.text("So."))
    rig.configure("anthropic").first.then(status(200, SSE, api.stream(whole))).always = "ok"
    thinking: Any = {"type": "adaptive", "display": "omitted"}
    with client.messages.stream(model="alone", max_tokens=64, messages=[HELLO], thinking=thinking) as stream:
        message = stream.get_final_message()
    assert [block.to_dict() for block in message.content] == whole["content"]
    talk: Any = [HELLO, {"role": "assistant", "content": message.content}, HELLO]
    client.messages.create(model="alone", max_tokens=64, messages=talk, thinking=thinking)
    sent = rig.first.requests[-1].json
    assert sent["messages"][1]["content"][:2] == whole["content"][:2]
    assert sent["thinking"] == thinking


@pytest.mark.parametrize("ending", ["", 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'])
def test_a_call_that_breaks_off_is_no_call(client, rig, ending):
    """Bug 21: of a stream that merely ends, the package would make a call of the half that has come."""
    whole = api.stream(api.message(api.call("look", path="/tmp/a", rm="true")))
    cut = whole[: whole.index(b'"partial_json": ""')]
    cut = whole[: whole.index(b"content_block_stop") - len("event: ")] if ending else cut + b'"partial_json": "{'
    rig.configure("anthropic").first.always = status(200, SSE, cut + ending.encode())
    kinds: list[str] = []
    with (
        pytest.raises(APIStatusError) as caught,
        client.messages.stream(model="alone", max_tokens=64, messages=[HELLO], tools=[TOOL]) as stream,
    ):
        kinds.extend(event.type for event in stream)
    assert caught.value.type in ("api_error", "overloaded_error")
    assert not {"content_block_stop", "message_delta", "message_stop"} & set(kinds)
