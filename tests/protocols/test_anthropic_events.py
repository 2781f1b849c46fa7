"""Answers as clients of Anthropic's Messages API get them, checked with what Anthropic's own package makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chat.protocols import anthropic, openai
from chat.protocols.payload import Heard
from chat.protocols.sse import EventReader
from chat.types import (
    Answer,
    Call,
    ChatRequest,
    Delta,
    Model,
    Opaque,
    Piece,
    Raw,
    Refusal,
    Start,
    Text,
    Thinking,
    Tick,
    Told,
    Usage,
    VendorError,
    Wish,
    compact,
    joined,
)
from tests.support import messages as api

EVENT: Any = TypeAdapter(RawMessageStreamEvent)
USAGE = Usage(36, 87, 12, 4, 64)
COUNTS = {
    "input_tokens": 20,
    "output_tokens": 87,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 12,
    "output_tokens_details": {"thinking_tokens": 64},
}
FAILED = Told("invalid_provider_response", 502, "The provider gave an unusable answer.", {})
WISH = Wish(model=Model("m", (), 4096, 64), request=ChatRequest(raw=Raw("anthropic", {})), stream=True)
START = Start(Usage(40, 0))


def answer_of(*parts, finish="stop", usage=USAGE, **changes):
    return Answer(parts, usage, finish, "p", 123, "m", "r-1", 1_730_000_000, **changes)


def written(*items, error=None):
    """The data of the events of a stream."""
    writer = anthropic.EventWriter(WISH, "r-1")
    stream = "".join(map(writer.write_event, items)) + (writer.write_error(error) if error else "")
    events = EventReader().feed(stream.encode())
    data = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [event["type"] for event in data]
    return data


def accumulated(events):
    """What Anthropic's package makes of the events."""
    snapshot, typed = None, {}
    for event in events:
        if event["type"] not in ("ping", "error"):
            found = EVENT.validate_python(event)
            snapshot = accumulate_event(event=found, current_snapshot=snapshot, json_bufs=typed)
    return snapshot


def deltas(*parts):
    return [Delta((Piece(of, part),)) for of, part in parts]


def relayed(whole, *, charged=USAGE, **changes):
    """The events of a provider of the same API, passed on."""
    heard, items = Heard(request=WISH.request), []
    for event in api.events(whole):
        items.append(Delta(anthropic.read_event(event, heard), event))
    parts = joined(piece for item in items for piece in item.pieces)
    return written(Start(Usage(36, 1), verbatim=True), *items, answer_of(*parts, usage=charged, **changes))


def kinds(events):
    return [event["type"] for event in events]


TEXT = ["content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop"]
ENDED = ["message_delta", "message_stop"]


# --- from another protocol --------------------------------------------------------------------------------------------
def test_a_text():
    said = deltas(("t", Text("Good ")), ("t", Text("day.")))
    events = written(START, Tick(), *said, answer_of(Text("Good day.")))
    assert kinds(events) == ["message_start", "ping", *TEXT, *ENDED]
    message = accumulated(events)
    assert (message.id, message.model, message.content[0].text) == ("msg_r-1", "m", "Good day.")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


def test_the_count_at_the_end_takes_the_place_of_the_estimate():
    """Bugs 7 and 8."""
    events = written(START, *deltas(("t", Text("a"))), answer_of(Text("a")))
    assert events[0]["message"]["usage"] == {"input_tokens": 40, "output_tokens": 0}
    assert events[-2]["usage"] == COUNTS
    usage = accumulated(events).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (20, 12, 4)


def test_parallel_calls_whose_fragments_come_in_turns():
    """Bugs 1 to 4: dense indexes, whole arguments, one block for each part and one beginning of the message."""
    said = deltas(
        ((0, "content"), Text("So.")),
        ("b", Call("call_1", "look", '{"a')),
        ("c", Call("call_2", "go", "")),
        ("b", Call("", "", 't":1}')),
        ((0, "content"), Text("And.")),
        ("c", Call("", "", '{"to":2}')),
        ("d", Call("call_3", "stop", "")),
    )
    parts = joined(piece for item in said for piece in item.pieces)
    events = written(START, *said, answer_of(*parts, finish="tool_calls"))
    assert kinds(events).count("message_start") == 1
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    assert (
        starts == sorted(event["index"] for event in events if event["type"] == "content_block_stop") == [0, 1, 2, 3, 4]
    )
    message = accumulated(events)
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
    said = deltas(("x", Thinking("hm")), ("t", Text("So.")))
    events = written(START, *said, answer_of(Thinking("hm"), Text("So.")))
    assert [block.type for block in accumulated(events).content] == ["text"]
    assert [
        block["type"] for block in anthropic.write_reply(answer_of(Thinking("hm"), Text("So.")), WISH)["content"]
    ] == ["text"]


def test_a_refusal():
    events = written(START, *deltas(("r", Refusal("No."))), answer_of(Refusal("No."), finish="content_filter"))
    assert (accumulated(events).content[0].text, accumulated(events).stop_reason) == ("No.", "refusal")


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
    answer = answer_of(Text("a"), finish=finish, stop_sequence=stop)
    told = {"stop_reason": reason, "stop_sequence": stop if reason == "stop_sequence" else None}
    assert anthropic.write_reply(answer, WISH).items() >= told.items()
    assert written(START, answer)[-2]["delta"] == told


def test_a_call_that_the_limit_has_cut_is_left_out_and_the_limit_is_told():
    """Bug 22."""
    body = anthropic.write_reply(answer_of(Text("So."), Call("a", "look", '{"at": "sk'), finish="length"), WISH)
    assert (body["content"], body["stop_reason"]) == ([api.text("So.")], "max_tokens")


def test_an_id_of_another_vendors_is_made_fit():
    call = Call("functions.look:0", "look", "{}")
    whole = anthropic.write_reply(answer_of(call, finish="tool_calls"), WISH)["content"][0]["id"]
    streamed = accumulated(written(START, *deltas(("c", call)), answer_of(call, finish="tool_calls"))).content[0].id
    assert whole == streamed
    assert whole.startswith("functions_look_0_")


def test_a_break_is_an_error_and_nothing_after_it():
    """Bug 21: the package of Anthropic's would take a call for whole that is closed."""
    said = deltas(("c", Call("a", "look", '{"path":"/tmp/a","rm":tr')))
    events = written(START, *said, error=FAILED)
    assert kinds(events) == ["message_start", "content_block_start", "content_block_delta", "error"]
    assert events[-1]["error"]["details"]["error_code"] == "invalid_provider_response"
    assert events[-1]["request_id"] == "r-1"


# --- from a provider of the same API ----------------------------------------------------------------------------------
OWN = [
    api.thinking("", "EqQB"),
    api.redacted(),
    api.text("So."),
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "geese"}},
    api.call("look", at="sky"),
]


def test_events_are_relayed_with_our_names():
    """Bug 19: also thoughts of which no more than the proof is shown."""
    whole = api.message(*OWN, brand_new={"a": 1})
    events = relayed(whole, finish="tool_calls")
    theirs = list(api.events(whole))
    assert events[1:] == theirs[1:]
    assert events[0]["message"] == theirs[0]["message"] | {"id": "msg_r-1", "model": "m"}


def test_the_last_events_wait_for_the_bill():
    whole, heard = api.message(api.text("a")), Heard(request=WISH.request)
    writer = anthropic.EventWriter(WISH, "r-1")
    assert writer.write_event(Start(USAGE, verbatim=True)) == ""
    for event in api.events(whole):
        relayed_ = writer.write_event(Delta(anthropic.read_event(event, heard), event))
        assert bool(relayed_) is (event["type"] not in ENDED)
    assert [event.name for event in EventReader().feed(writer.write_event(answer_of(Text("a"))).encode())] == ENDED


@pytest.mark.parametrize("usage", [None, {"input_tokens": -1, "output_tokens": 3, "brand_new": 1}])
def test_a_count_that_is_not_believed_gives_way_to_ours(usage):
    charged = Usage(40, 9)
    whole = api.message(api.text("a"), usage=usage)
    ours = (usage or {}) | {"input_tokens": 40, "output_tokens": 9}
    assert relayed(whole, charged=charged)[-2]["usage"] == ours
    assert anthropic.write_reply(answer_of(Text("a"), usage=charged, raw=whole), WISH)["usage"] == ours


def test_the_vendors_inner_calls_are_charged_and_its_counts_stay():
    compaction = {"type": "compaction", "input_tokens": 50, "output_tokens": 7}
    usage = {"input_tokens": 3, "output_tokens": 1, "iterations": [compaction]}
    whole = api.message(api.text("a"), usage=usage)
    assert relayed(whole, charged=Usage(53, 8))[-2]["usage"] == usage
    assert anthropic.write_reply(answer_of(Text("a"), usage=Usage(53, 8), raw=whole), WISH)["usage"] == usage


def test_a_server_that_says_its_turn_has_ended_where_it_calls_a_tool():
    """Bug 4."""
    whole = api.message(api.call("look"), stop_reason="end_turn")
    assert relayed(whole, finish="tool_calls")[-2]["delta"]["stop_reason"] == "tool_use"
    answer = answer_of(Call("toolu_0001", "look", "{}"), finish="tool_calls", raw=whole)
    assert anthropic.write_reply(answer, WISH)["stop_reason"] == "tool_use"


def test_a_whole_answer_goes_out_as_it_came():
    whole = api.message(*OWN, stop_details=None, brand_new={"a": 1})
    body = anthropic.write_reply(answer_of(Text("So."), finish="tool_calls", raw=whole), WISH)
    assert body == whole | {"id": "msg_r-1", "model": "m"}


def test_a_whole_message_in_place_of_events_becomes_events():
    whole = api.message(api.text("So."), api.call("look", at="sky"))
    pieces = anthropic.read_event(whole, Heard(request=WISH.request))
    answer = answer_of(*joined(pieces), finish="tool_calls")
    message = accumulated(written(Start(USAGE, verbatim=True), Delta(pieces, whole), answer))
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert (message.content[1].input, message.stop_reason, message.id) == ({"at": "sky"}, "tool_use", "msg_r-1")


def test_an_answer_that_is_given_again_has_its_thoughts():
    search = Opaque("anthropic", OWN[3])
    parts = tuple(anthropic.read_reply(api.message(*OWN), WISH.request).parts)
    answer = answer_of(*parts, finish="tool_calls")
    assert search in parts
    assert anthropic.write_reply(answer, WISH)["content"] == OWN
    again = [Start(USAGE, answer=answer), *deltas(*enumerate(parts)), answer]
    content = [block.to_dict() for block in accumulated(written(*again)).content]
    assert content == OWN


# --- errors -----------------------------------------------------------------------------------------------------------
def test_an_error_of_the_vendors_own_keeps_its_words():
    vendor = VendorError("anthropic", 400, "invalid_request_error", "thinking: bad", details={"a": 1})
    told = FAILED._replace(status=400, vendor=vendor)
    assert anthropic.write_error(told, "r-1") == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "thinking: bad", "details": {"a": 1}},
        "request_id": "r-1",
    }
    other = told._replace(vendor=vendor._replace(protocol="openai"))
    assert anthropic.write_error(other, "r-1")["error"]["message"] == FAILED.message


def test_a_thread_is_refused_by_the_code_that_anthropics_package_recovers_from():
    told = Told("unsupported_parameter", 400, "Not here.", {"param": "thread"})
    assert anthropic.write_error(told, "r-1")["error"]["details"]["error_code"] == "thread_unsupported_request"


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
    answer = answer_of(*parts, finish="tool_calls" if calls else "stop")
    reply = anthropic.read_reply(json.loads(json.dumps(anthropic.write_reply(answer, WISH))), WISH.request)
    assert (reply.parts, reply.finish_reason, reply.usage) == (parts, answer.finish_reason, USAGE)
    pieces = [Delta((piece,)) for number, part in enumerate(parts) for piece in fragments(number, part)]
    heard, found = Heard(request=WISH.request), []
    for event in written(START, *pieces, answer):
        found += anthropic.read_event(event, heard)
    assert (heard.done, heard.usage) == (True, USAGE)
    assert sorted(map(str, joined(found))) == sorted(map(str, parts))


# --- to another protocol ----------------------------------------------------------------------------------------------
def test_events_become_openais_chunks():
    """Bugs 1, 2 and 5: an index of its own for each call, whole arguments, and {} for none."""
    whole = api.message(api.thinking("hm"), api.text("So."), api.call("look", at="sky"), api.call("go", 2))
    heard, writer, found = Heard(), openai.EventWriter(WISH, "r-1"), list[Piece]()
    stream = writer.write_event(START)
    for event in api.events(whole):
        pieces = anthropic.read_event(event, heard)
        stream += writer.write_event(Delta(pieces))
        found += pieces
    stream += writer.write_event(answer_of(*joined(found), finish="tool_calls"))
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
