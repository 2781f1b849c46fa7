"""Answers of Anthropic's API on their way to its own clients: whole, as events, given again, and its errors."""

from __future__ import annotations

import pytest

from chat.protocols import anthropic
from chat.protocols.payload import Heard
from chat.protocols.sse import EventReader
from chat.types import (
    Call,
    Delta,
    Opaque,
    Start,
    Text,
    Told,
    Usage,
    VendorError,
    joined,
)
from tests.support import messages as api


def relayed(whole, *, charged=api.COUNTED, **changes):
    """The events of a provider of the same API, passed on."""
    heard, items = Heard(request=api.BY_A_CLIENT.request), []
    for event in api.events(whole):
        items.append(Delta(anthropic.read_event(event, heard), event))
    parts = joined(piece for item in items for piece in item.pieces)
    return api.written(Start(Usage(36, 1), verbatim=True), *items, api.answer_of(*parts, usage=charged, **changes))


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
    whole, heard = api.message(api.text("a")), Heard(request=api.BY_A_CLIENT.request)
    writer = anthropic.EventWriter(api.BY_A_CLIENT, "r-1")
    assert writer.write_event(Start(api.COUNTED, verbatim=True)) == ""
    for event in api.events(whole):
        relayed_ = writer.write_event(Delta(anthropic.read_event(event, heard), event))
        assert bool(relayed_) is (event["type"] not in api.ENDED)
    assert [
        event.name for event in EventReader().feed(writer.write_event(api.answer_of(Text("a"))).encode())
    ] == api.ENDED


@pytest.mark.parametrize("usage", [None, {"input_tokens": -1, "output_tokens": 3, "brand_new": 1}])
def test_a_count_that_is_not_believed_gives_way_to_ours(usage):
    charged = Usage(40, 9)
    whole = api.message(api.text("a"), usage=usage)
    ours = (usage or {}) | {"input_tokens": 40, "output_tokens": 9}
    assert relayed(whole, charged=charged)[-2]["usage"] == ours
    assert anthropic.write_reply(api.answer_of(Text("a"), usage=charged, raw=whole), api.BY_A_CLIENT)["usage"] == ours


def test_the_vendors_inner_calls_are_charged_and_its_counts_stay():
    compaction = {"type": "compaction", "input_tokens": 50, "output_tokens": 7}
    usage = {"input_tokens": 3, "output_tokens": 1, "iterations": [compaction]}
    whole = api.message(api.text("a"), usage=usage)
    assert relayed(whole, charged=Usage(53, 8))[-2]["usage"] == usage
    assert (
        anthropic.write_reply(api.answer_of(Text("a"), usage=Usage(53, 8), raw=whole), api.BY_A_CLIENT)["usage"]
        == usage
    )


def test_a_server_that_says_its_turn_has_ended_where_it_calls_a_tool():
    """Bug 4."""
    whole = api.message(api.call("look"), stop_reason="end_turn")
    assert relayed(whole, finish="tool_calls")[-2]["delta"]["stop_reason"] == "tool_use"
    answer = api.answer_of(Call("toolu_0001", "look", "{}"), finish="tool_calls", raw=whole)
    assert anthropic.write_reply(answer, api.BY_A_CLIENT)["stop_reason"] == "tool_use"


def test_a_whole_answer_goes_out_as_it_came():
    whole = api.message(*OWN, stop_details=None, brand_new={"a": 1})
    body = anthropic.write_reply(api.answer_of(Text("So."), finish="tool_calls", raw=whole), api.BY_A_CLIENT)
    assert body == whole | {"id": "msg_r-1", "model": "m"}


def test_a_whole_message_in_place_of_events_becomes_events():
    whole = api.message(api.text("So."), api.call("look", at="sky"))
    pieces = anthropic.read_event(whole, Heard(request=api.BY_A_CLIENT.request))
    answer = api.answer_of(*joined(pieces), finish="tool_calls")
    message = api.accumulated(api.written(Start(api.COUNTED, verbatim=True), Delta(pieces, whole), answer))
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert (message.content[1].input, message.stop_reason, message.id) == ({"at": "sky"}, "tool_use", "msg_r-1")


def test_an_answer_that_is_given_again_has_its_thoughts():
    search = Opaque("anthropic", OWN[3])
    parts = tuple(anthropic.read_reply(api.message(*OWN), api.BY_A_CLIENT.request).parts)
    answer = api.answer_of(*parts, finish="tool_calls")
    assert search in parts
    assert anthropic.write_reply(answer, api.BY_A_CLIENT)["content"] == OWN
    again = [Start(api.COUNTED, answer=answer), *api.deltas(*enumerate(parts)), answer]
    content = [block.to_dict() for block in api.accumulated(api.written(*again)).content]
    assert content == OWN


# --- errors -----------------------------------------------------------------------------------------------------------
def test_an_error_of_the_vendors_own_keeps_its_words():
    vendor = VendorError("anthropic", 400, "invalid_request_error", "thinking: bad", details={"a": 1})
    told = api.FAILED._replace(status=400, vendor=vendor)
    assert anthropic.write_error(told, "r-1") == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "thinking: bad", "details": {"a": 1}},
        "request_id": "r-1",
    }
    other = told._replace(vendor=vendor._replace(protocol="openai"))
    assert anthropic.write_error(other, "r-1")["error"]["message"] == api.FAILED.message


def test_a_thread_is_refused_by_the_code_that_anthropics_package_recovers_from():
    told = Told("unsupported_parameter", 400, "Not here.", {"param": "thread"})
    assert anthropic.write_error(told, "r-1")["error"]["details"]["error_code"] == "thread_unsupported_request"
