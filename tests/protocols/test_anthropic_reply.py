"""Answers of Anthropic's Messages API as its servers give them, whole and in pieces of any length."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocols import anthropic
from chat.protocols.payload import Heard, UnusableReply
from chat.protocols.sse import EventReader
from chat.types import Call, ChatRequest, Opaque, Raw, Text, Thinking, Tool, Upstream, Usage, joined
from tests.support import messages as api

BY_ITS_OWN_CLIENT = ChatRequest(max_tokens=100, raw=Raw("anthropic", {}))
BY_ANOTHER = ChatRequest(max_tokens=100)
UPSTREAM = Upstream("claude-haiku-5-5")

ARGUMENTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8) | st.none(), max_size=3)
BLOCKS: Any = st.lists(
    st.one_of(
        st.builds(api.text, st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=20)),
        st.builds(api.thinking, st.sampled_from(["", "hm", "a long thought"]), st.sampled_from(["sig", "EqQB"])),
        st.builds(api.redacted, st.sampled_from(["data", "EmwK"])),
        st.builds(lambda given, number: api.call("look", number, **given), ARGUMENTS, st.integers(1, 99)),
    ),
    min_size=1,
    max_size=5,
)


def read(*blocks, request=BY_ANOTHER, **changes):
    return anthropic.read_reply(api.message(*blocks, **changes), request)


def heard_in(stream, pieces, request=BY_ANOTHER):
    """What a stream has told, which arrives in `pieces`."""
    heard, reader, found = Heard(request=request), EventReader(), []
    for piece in pieces(stream):
        for event in reader.feed(piece):
            found += anthropic.read_event(json.loads(event.data), heard)
    return heard, joined(found)


def at_once(stream):
    return [stream]


def byte_by_byte(stream):
    return [stream[place : place + 1] for place in range(len(stream))]


def events_read(*events, request=BY_ANOTHER):
    heard, found = Heard(request=request), []
    for event in events:
        found += anthropic.read_event(event, heard)
    return heard, joined(found)


# --- whole ------------------------------------------------------------------------------------------------------------
def test_what_an_answer_says():
    reply = read(api.thinking("hm"), api.redacted(), api.text("Good day."), api.call("look", at="sky"))
    thought, hidden, *rest = reply.parts
    assert thought == Thinking("hm", "EqQB-proof")
    assert (hidden.text, "EmwK-data" in hidden.signature) == ("", True)
    assert rest == [Text("Good day."), Call("toolu_0001", "look", '{"at":"sky"}')]
    assert (reply.finish_reason, reply.usage, reply.raw) == ("tool_calls", api.COUNTED, None)


def test_a_client_of_the_same_api_gets_what_only_that_knows():
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "geese"}}
    whole = api.message(search, api.text("Geese."), stop_reason="pause_turn")
    reply = anthropic.read_reply(whole, BY_ITS_OWN_CLIENT)
    assert (reply.parts, reply.raw) == ((Opaque("anthropic", search), Text("Geese.")), whole)
    assert anthropic.read_reply(whole, BY_ANOTHER).parts == (Text("Geese."),)


@pytest.mark.parametrize(
    ("reason", "blocks", "finish"),
    [
        ("end_turn", [api.text("a")], "stop"),
        ("stop_sequence", [api.text("a")], "stop"),
        ("pause_turn", [api.text("a")], "stop"),
        ("tool_use", [api.call("look")], "tool_calls"),
        ("end_turn", [api.text("a"), api.call("look")], "tool_calls"),
        ("max_tokens", [api.text("a"), api.call("look")], "length"),
        ("model_context_window_exceeded", [api.text("a")], "length"),
        ("refusal", [], "content_filter"),
        ("tool_use", [api.text("a")], "stop"),
    ],
)
def test_why_it_ended(reason, blocks, finish):
    """Bug 4: a call is one whatever a server says; bug 22: but a limit is a limit."""
    assert read(*blocks, stop_reason=reason).finish_reason == finish


@pytest.mark.parametrize("blocks", [[api.call("look")], [api.thinking("hm")], []])
def test_an_answer_without_text_is_one(blocks):
    assert read(*blocks, stop_reason="max_tokens").finish_reason == "length"


@pytest.mark.parametrize("blocks", [[], [api.text(" ")], [api.thinking("hm")]])
def test_but_not_one_without_an_end(blocks):
    with pytest.raises(UnusableReply):
        read(*blocks, stop_reason=None)


def test_a_signature_alone_is_kept():
    """Bug 19: a thought whose text is not shown."""
    assert read(api.thinking("", "EqQB")).parts == (Thinking("", "EqQB"),)


def test_a_name_that_had_to_be_written_otherwise_is_told_as_the_client_knows_it():
    """Bug 9."""
    name = "mcp__" + "weather_" * 20
    request = ChatRequest((), 100, tools=(Tool(name), Tool("look")))
    (written, _) = anthropic.write_request(request, UPSTREAM, host="x", stream=False)["tools"]
    assert len(written["name"]) == 128
    blocks = api.call(written["name"]), api.call("look", 2)
    for reply in (
        read(*blocks, request=request).parts,
        heard_in(api.stream(api.message(*blocks)), at_once, request)[1],
    ):
        assert [call.name for call in reply] == [name, "look"]


# --- what it cost -----------------------------------------------------------------------------------------------------
COMPACTION = {"type": "compaction", "input_tokens": 50, "output_tokens": 7, "cache_read_input_tokens": 3}
USAGES = [
    ({"input_tokens": 3, "output_tokens": 1}, Usage(3, 1)),
    ({"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": None}, Usage(3, 1)),
    ({"input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 5}, Usage(8, 1, 0, 5)),
    ({"input_tokens": 3, "output_tokens": 1, "iterations": None}, Usage(3, 1)),
    ({"input_tokens": 3, "output_tokens": 1, "iterations": [{"type": "message", "input_tokens": 3}]}, Usage(3, 1)),
    ({"input_tokens": 3, "output_tokens": 1, "iterations": [COMPACTION]}, Usage(56, 8, 3)),
    ({"input_tokens": 3, "output_tokens": -1}, None),
    ({"input_tokens": 3, "output_tokens": 1, "iterations": [COMPACTION | {"output_tokens": "many"}]}, None),
    (None, None),
]


@pytest.mark.parametrize(("usage", "counted"), USAGES)
def test_all_the_tokens_are_counted_once(usage, counted):
    """Bug 7: those of the cache are beside the input, and the vendor's inner calls beside the sums."""
    assert read(api.text("a"), usage=usage).usage == counted
    assert heard_in(api.stream(api.message(api.text("a"), usage=usage)), at_once)[0].usage == counted


def test_the_last_count_holds():
    """Bug 8: counts are totals, and are not added up."""
    start, *middle, last, stop = api.events(api.message(api.text("a")))
    later = {"input_tokens": 25, "output_tokens": 90}
    heard, _ = events_read(start, *middle, last, last | {"usage": later}, stop)
    assert heard.usage == Usage(41, 90, 12, 4, 64)


def test_the_count_in_the_first_event_is_no_count_of_the_answer():
    start, *middle, last, stop = api.events(api.message(api.text("a")))
    heard, _ = events_read(start, *middle, {name: value for name, value in last.items() if name != "usage"}, stop)
    assert (heard.usage or ())[:2] == (36, 0)


# --- in pieces --------------------------------------------------------------------------------------------------------
@given(BLOCKS)
def test_a_stream_says_what_the_whole_does(blocks):
    for request in (BY_ANOTHER, BY_ITS_OWN_CLIENT):
        heard, parts = events_read(*api.events(api.message(*blocks)), request=request)
        whole = read(*blocks, request=request)
        assert (parts, heard.usage, heard.done) == (whole.parts, whole.usage, True)


WHOLE = api.message(
    api.thinking("Hm\u2026"), api.text("Good d\u00e4y \U0001f600."), api.call("look", at="sk\u00fd"), api.call("go", 2)
)


def test_a_stream_may_be_cut_into_pieces_anywhere():
    stream = api.stream(WHOLE)
    expected = heard_in(stream, at_once)
    assert heard_in(stream, byte_by_byte) == expected
    assert expected[1] == anthropic.read_reply(WHOLE, BY_ANOTHER).parts
    for place in range(0, len(stream), 7):
        assert heard_in(stream, lambda whole, at=place: [whole[:at], whole[at:]]) == expected


def test_a_stream_that_breaks_off_anywhere_is_not_done():
    """Bug 21."""
    stream = api.stream(WHOLE)
    for place in range(len(stream) - 1):
        heard, parts = heard_in(stream[:place], at_once)
        assert not heard.done
        assert len(parts) <= 4


def test_a_block_that_only_the_vendor_knows_comes_whole():
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "geese"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    compaction = {"type": "compaction", "content": "So far ..."}
    events = list(api.events(api.message(search, found, compaction | {"content": None})))
    delta = {"type": "compaction_delta", "content": "So far ..."}
    events.insert(-3, {"type": "content_block_delta", "index": 2, "delta": delta})
    _, parts = events_read(*events, request=BY_ITS_OWN_CLIENT)
    assert parts == tuple(Opaque("anthropic", block) for block in (search, found, compaction))
    assert events_read(*events)[1] == ()


def test_the_arguments_of_a_call_are_there_however_a_server_sends_them():
    """Bugs 2 and 5: with the beginning of the block, or not at all."""
    start, *_, last, stop = api.events(api.message(api.call("look")))
    begun = {"type": "content_block_start", "index": 0}
    ended = {"type": "content_block_stop", "index": 0}
    for given_input, arguments in (({"at": "sky"}, '{"at":"sky"}'), ({}, "{}")):
        block = api.call("look") | {"input": given_input}
        _, parts = events_read(start, begun | {"content_block": block}, ended, last, stop)
        assert parts == (Call("toolu_0001", "look", arguments),)


def test_a_call_without_an_id_gets_one():
    block = {"type": "tool_use", "name": "look", "input": {}}
    (whole,) = read(block).parts
    _, (streamed,) = events_read(*api.events(api.message(block)))
    assert whole.id.startswith("toolu_")
    assert streamed.id.startswith("toolu_")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None},
        {"type": ["x"]},
        {"type": "brand_new"},
        {"type": "message_start"},
        {"type": "message_start", "message": 5},
        {"type": "content_block_start", "index": "x", "content_block": 5},
        {"type": "content_block_start", "content_block": {"type": ["x"]}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "brand_new_delta"}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}},
        {"type": "content_block_stop", "index": 7},
        {"type": "message_delta", "delta": {"stop_reason": 5}, "usage": 7},
    ],
    ids=str,
)
def test_what_is_unknown_or_nonsense_says_nothing(event):
    assert events_read(event, request=BY_ITS_OWN_CLIENT)[1] == ()
