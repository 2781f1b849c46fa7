"""The thoughts that a compatible server tells go back to that server, which may insist on them, and to no other: it may
refuse them. HTTP in, HTTP out."""

from __future__ import annotations

import json

import pytest

from tests.support.asking import ANTHROPIC, OPENAI, post
from tests.support.loopback import status
from tests.support.loopback_faults import answer

pytestmark = pytest.mark.django_db
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
ASKED = {"role": "user", "content": "Where am I?"}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Oslo"}
DETAILS = [{"type": "reasoning.text", "text": "Let me look."}]
MISTRAL = [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me look."}]}]
TOLD = {
    "DeepSeek": {"reasoning_content": "Let me look."},
    "Cerebras": {"reasoning": "Let me look."},
    "OpenRouter": {"reasoning": "Let me look.", "reasoning_details": DETAILS},
    "Mistral": {"content": MISTRAL},
}
SSE = {"content-type": "text/event-stream"}


def thinking(told, *, stream):
    """An answer that thinks and calls a tool; a stream tells its thoughts in two pieces where they are a text."""
    message = {"role": "assistant", "content": None, **told, "tool_calls": [CALL]}
    if not stream:
        return status(200, body=answer("openai", message=message, finish_reason="tool_calls"))
    deltas = [told]
    if (name := next(iter(told))) != "content":
        deltas = [told | {name: told[name][:5]}, {name: told[name][5:]}]
    deltas += [{"tool_calls": [CALL | {"index": 0}]}]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]
    chunks += [{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}}]
    return status(200, SSE, "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")


def ask(rig, *messages, path=OPENAI, **more):
    response = post(
        rig, path, model="pair", messages=list(messages), **({"tools": [TOOL]} if path == OPENAI else {}), **more
    )
    assert response.status_code == 200, response.content
    return response.getvalue()


@pytest.fixture(params=TOLD)
def turn(request):
    return {"role": "assistant", "content": None, **TOLD[request.param], "tool_calls": [CALL]}


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def begun(request, rig, turn):
    """A conversation whose first answer is the second provider's, since the first is down."""
    told = {name: value for name, value in turn.items() if name not in ("role", "tool_calls") and value}
    rig.first.always, rig.second.always = "unavailable", thinking(told, stream=request.param)
    ask(rig, ASKED, stream=request.param)
    rig.first.always = rig.second.always = "ok"
    return rig.calls


def test_they_go_to_their_maker_first_and_unchanged(rig, turn, begun):
    ask(rig, ASKED, turn, RESULT)
    assert rig.calls == (begun[0], begun[1] + 1)
    assert rig.second.requests[-1].json["messages"] == [ASKED, turn, RESULT]


def test_another_server_gets_the_turn_without_them(rig, turn, begun):
    rig.second.always = "unavailable"
    ask(rig, ASKED, turn, RESULT)
    bare = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert rig.first.requests[-1].json["messages"] == [ASKED, bare, RESULT]


def test_a_turn_of_nothing_else_goes_with_them(rig, turn, begun):
    rig.second.always = "unavailable"
    ask(rig, ASKED, {name: value for name, value in turn.items() if name != "tool_calls"}, ASKED)
    assert rig.first.requests[-1].json["messages"] == [ASKED, ASKED]


def test_an_empty_text_beside_them_does_not_forget_their_maker(rig, turn, begun):
    later = {"role": "assistant", "content": "In Oslo.", "reasoning_content": ""}
    ask(rig, ASKED, turn, RESULT, later, ASKED)
    assert rig.second.requests[-1].json["messages"] == [ASKED, turn, RESULT, later, ASKED]
    assert rig.calls == (begun[0], begun[1] + 1)


@pytest.mark.parametrize(
    "told", [*TOLD.values(), {"reasoning_content": {"odd": 1}}, {"reasoning_details": [1]}], ids=str
)
def test_what_nobody_remembers_goes_to_the_first_route_of_the_format(rig, told):
    turn = {"role": "assistant", "content": "Hm.", **told}
    ask(rig, ASKED, turn, ASKED)
    assert rig.first.requests[-1].json["messages"] == [ASKED, turn, ASKED]


def test_a_server_of_another_format_gets_none(rig, turn):
    rig.configure("anthropic")
    ask(rig, ASKED, turn, RESULT)
    said = rig.first.requests[-1].json["messages"][1]["content"]
    assert said == [{"type": "tool_use", "id": "call_1", "name": "look", "input": {}}]


def test_a_thought_without_a_proof_is_known_by_its_text(rig):
    rig.configure("anthropic")
    thought = {"type": "thinking", "thinking": "Let me look.", "signature": ""}
    rig.second.always = status(200, body=answer("anthropic", content=[thought, {"type": "text", "text": "Oslo"}]))
    rig.first.always = "unavailable"
    ask(rig, ASKED, path=ANTHROPIC)
    rig.first.always = "ok"
    before, history = rig.calls, [ASKED, {"role": "assistant", "content": [thought]}, ASKED]
    ask(rig, *history, path=ANTHROPIC)
    assert (rig.calls, rig.second.requests[-1].json["messages"]) == ((before[0], before[1] + 1), history)
