"""Answers as clients of Anthropic's Messages API get them, checked with what Anthropic's own package makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocols import anthropic, openai
from chat.protocols.payload import Heard
from chat.protocols.sse import EventReader
from chat.types import (
    Call,
    Delta,
    Opaque,
    Piece,
    Refusal,
    Start,
    Text,
    Thinking,
    Tick,
    Usage,
    compact,
    joined,
)
from tests.support import messages as api

COUNTS = {
    "input_tokens": 20,
    "output_tokens": 87,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 12,
    "output_tokens_details": {"thinking_tokens": 64},
}
START = Start(Usage(40, 0))
TEXT = ["content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop"]


def kinds(events):
    return [event["type"] for event in events]


# --- from another protocol --------------------------------------------------------------------------------------------
def test_a_text():
    said = api.deltas(("t", Text("Good ")), ("t", Text("day.")))
    events = api.written(START, Tick(), *said, api.answer_of(Text("Good day.")))
    assert kinds(events) == ["message_start", "ping", *TEXT, *api.ENDED]
    message = api.accumulated(events)
    assert (message.id, message.model, message.content[0].text) == ("msg_r-1", "m", "Good day.")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


def test_the_count_at_the_end_takes_the_place_of_the_estimate():
    """Bugs 7 and 8."""
    events = api.written(START, *api.deltas(("t", Text("a"))), api.answer_of(Text("a")))
    assert events[0]["message"]["usage"] == {"input_tokens": 40, "output_tokens": 0}
    assert events[-2]["usage"] == COUNTS
    usage = api.accumulated(events).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (20, 12, 4)


def test_parallel_calls_whose_fragments_come_in_turns():
    """Bugs 1 to 4: dense indexes, whole arguments, one block for each part and one beginning of the message."""
    said = api.deltas(
        ((0, "content"), Text("So.")),
        ("b", Call("call_1", "look", '{"a')),
        ("c", Call("call_2", "go", "")),
        ("b", Call("", "", 't":1}')),
        ((0, "content"), Text("And.")),
        ("c", Call("", "", '{"to":2}')),
        ("d", Call("call_3", "stop", "")),
    )
    parts = joined(piece for item in said for piece in item.pieces)
    events = api.written(START, *said, api.answer_of(*parts, finish="tool_calls"))
    assert kinds(events).count("message_start") == 1
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    assert (
        starts == sorted(event["index"] for event in events if event["type"] == "content_block_stop") == [0, 1, 2, 3, 4]
    )
    message = api.accumulated(events)
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use", "text", "tool_use"]
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_1", "look", {"at": 1}),
        ("call_2", "go", {"to": 2}),
        ("call_3", "stop", {}),
    ]
    assert message.stop_reason == "tool_use"


def test_foreign_thoughts_are_hidden():
    """Bug 3: nobody but the vendor can prove them."""
    said = api.deltas(("x", Thinking("hm")), ("t", Text("So.")))
    events = api.written(START, *said, api.answer_of(Thinking("hm"), Text("So.")))
    assert [block.type for block in api.accumulated(events).content] == ["text"]
    assert [
        block["type"]
        for block in anthropic.write_reply(api.answer_of(Thinking("hm"), Text("So.")), api.BY_A_CLIENT)["content"]
    ] == ["text"]


def test_a_refusal():
    events = api.written(
        START, *api.deltas(("r", Refusal("No."))), api.answer_of(Refusal("No."), finish="content_filter")
    )
    assert (api.accumulated(events).content[0].text, api.accumulated(events).stop_reason) == ("No.", "refusal")


@pytest.mark.parametrize(
    ("finish", "stop", "reason"),
    [
        ("stop", "", "end_turn"),
        ("stop", "x", "stop_sequence"),
        ("length", "", "max_tokens"),
        ("content_filter", "", "refusal"),
        ("tool_calls", "", "tool_use"),
        ("tool_calls", "x", "tool_use"),
    ],
)
def test_why_it_ended(finish, stop, reason):
    answer = api.answer_of(Text("a"), finish=finish, stop_sequence=stop)
    told = {"stop_reason": reason, "stop_sequence": stop if reason == "stop_sequence" else None}
    assert anthropic.write_reply(answer, api.BY_A_CLIENT).items() >= told.items()
    assert api.written(START, answer)[-2]["delta"] == told


def test_a_call_that_the_limit_has_cut_is_left_out_and_the_limit_is_told():
    """Bug 22."""
    body = anthropic.write_reply(
        api.answer_of(Text("So."), Call("a", "look", '{"at": "sk'), finish="length"), api.BY_A_CLIENT
    )
    assert (body["content"], body["stop_reason"]) == ([api.text("So.")], "max_tokens")


def test_an_id_of_another_vendors_is_made_fit():
    call = Call("functions.look:0", "look", "{}")
    whole = anthropic.write_reply(api.answer_of(call, finish="tool_calls"), api.BY_A_CLIENT)["content"][0]["id"]
    streamed = (
        api.accumulated(api.written(START, *api.deltas(("c", call)), api.answer_of(call, finish="tool_calls")))
        .content[0]
        .id
    )
    assert whole == streamed
    assert whole.startswith("functions_look_0_")


def test_a_break_is_an_error_and_nothing_after_it():
    """Bug 21: the package of Anthropic's would take a call for whole that is closed."""
    said = api.deltas(("c", Call("a", "look", '{"path":"/tmp/a","rm":tr')))
    events = api.written(START, *said, error=api.FAILED)
    assert kinds(events) == ["message_start", "content_block_start", "content_block_delta", "error"]
    assert events[-1]["error"]["details"]["error_code"] == "invalid_provider_response"
    assert events[-1]["request_id"] == "r-1"


# --- there and back ---------------------------------------------------------------------------------------------------
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
PARTS = st.lists(
    st.builds(Text, WORDS)
    | st.builds(Call, st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), WORDS, st.just({}).map(compact))
    | st.builds(
        Call, st.just("call_1"), st.just("look"), st.dictionaries(WORDS, st.integers(), max_size=2).map(compact)
    )
    | st.builds(Thinking, WORDS, st.just("EqQB"))
    | st.just(Thinking("", "redacted_thinking:EmwK"))
    | st.just(Opaque("anthropic", {"type": "fallback", "to": {"model": "x"}})),
    min_size=1,
    max_size=5,
).map(tuple)


def fragments(number, part):
    """The pieces of a part as a stream brings them."""
    if isinstance(part, Text):
        return [Piece(number, Text(half)) for half in api.halves(part.text)]
    if isinstance(part, Call):
        first = Piece(number, part._replace(arguments=""))
        return [first, *(Piece(number, Call("", "", half)) for half in api.halves(part.arguments))]
    if isinstance(part, Thinking) and part.text:
        proofs = [part.signature, ""]
        halves = zip(api.halves(part.text), proofs, strict=False)
        return [Piece(number, Thinking(half, proof)) for half, proof in halves]
    return [Piece(number, part)]


@given(PARTS)
def test_what_was_written_is_read_as_the_same(parts):
    calls = any(isinstance(part, Call) for part in parts)
    answer = api.answer_of(*parts, finish="tool_calls" if calls else "stop")
    reply = anthropic.read_reply(
        json.loads(json.dumps(anthropic.write_reply(answer, api.BY_A_CLIENT))), api.BY_A_CLIENT.request
    )
    assert (reply.parts, reply.finish_reason, reply.usage) == (parts, answer.finish_reason, api.COUNTED)
    pieces = [Delta((piece,)) for number, part in enumerate(parts) for piece in fragments(number, part)]
    heard, found = Heard(request=api.BY_A_CLIENT.request), []
    for event in api.written(START, *pieces, answer):
        found += anthropic.read_event(event, heard)
    assert (heard.done, heard.usage) == (True, api.COUNTED)
    assert sorted(map(str, joined(found))) == sorted(map(str, parts))


# --- to another protocol ----------------------------------------------------------------------------------------------
def test_events_become_openais_chunks():
    """Bugs 1, 2 and 5: an index of its own for each call, whole arguments, and {} for none."""
    whole = api.message(api.thinking("hm"), api.text("So."), api.call("look", at="sky"), api.call("go", 2))
    heard, writer, found = Heard(), openai.EventWriter(api.BY_A_CLIENT, "r-1"), list[Piece]()
    stream = writer.write_event(START)
    for event in api.events(whole):
        pieces = anthropic.read_event(event, heard)
        stream += writer.write_event(Delta(pieces))
        found += pieces
    stream += writer.write_event(api.answer_of(*joined(found), finish="tool_calls"))
    chunks = [json.loads(event.data) for event in EventReader().feed(stream.encode()) if event.data != b"[DONE]"]
    said = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in said) == "So."
    calls: dict[int, list[Any]] = {}
    for delta in said:
        for call in delta.get("tool_calls", ()):
            calls.setdefault(call["index"], []).append(call)
    assert list(calls) == [0, 1]
    assert [call[0]["function"]["name"] for call in calls.values()] == ["look", "go"]
    arguments = ["".join(call["function"]["arguments"] for call in fragments_) for fragments_ in calls.values()]
    assert arguments == ['{"at":"sky"}', "{}"]
