"""Answers of OpenAI's Responses API, whole and as events: read from a provider, and the same when they were written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.protocols import responses
from chat.protocols.payload import Heard, Response, UnusableReply, finish_reason, is_error
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
    Tool,
    Upstream,
    Usage,
    Wish,
    joined,
)
from tests.support import responses as api

VERBATIM = ChatRequest(max_tokens=64, raw=Raw("responses", {}))
FOREIGN = ChatRequest(max_tokens=64)
USAGE = Usage(36, 87, cached_tokens=12, cache_write_tokens=4, reasoning_tokens=64)
FEW = settings(deadline=None, max_examples=50)
MODEL = Model("m", (), 4096, 64)

OUTPUTS = {
    "a text": ((api.message(api.text("Good day.")),), (Text("Good day."),), "stop"),
    "a refusal": ((api.message(api.refusal("I won't.")),), (Refusal("I won't."),), "content_filter"),
    "two parts": (
        (api.message(api.text("One. "), api.text("Two.")),),
        (Text("One. "), Text("Two.")),
        "stop",
    ),
    "parallel calls": (
        (api.message(api.text("Let me see.")), api.call("look", '{"at": "sky"}'), api.call("now", "{}", 2)),
        (Text("Let me see."), Call("call_0001", "look", '{"at": "sky"}'), Call("call_0002", "now", "{}")),
        "tool_calls",
    ),
    "thoughts": (
        (api.reasoning("First. ", "Then."), api.call("look", "{}")),
        (Thinking("First. \n\nThen.", "gAAAA-proof"), Call("call_0001", "look", "{}")),
        "tool_calls",
    ),
    "thoughts that are not shown": (
        (api.reasoning(), api.message(api.text("Yes."))),
        (Thinking("", "gAAAA-proof"), Text("Yes.")),
        "stop",
    ),
    "a custom tool": (
        (api.custom_call("patch", "*** Begin"),),
        (Call("call_0001", "patch", "*** Begin"),),
        "tool_calls",
    ),
}


def heard_of(events, request=VERBATIM):
    """What a stream says: the parts of the answer, and what else is known of it."""
    heard = Heard(request=request)
    pieces = [piece for event in events for piece in responses.read_event(event, heard)]
    assert heard.done
    parts = joined(pieces)
    calls = any(isinstance(part, Call) for part in parts)
    finish = finish_reason(heard.reason, responses.FINISH_REASONS, heard.usage, request.max_tokens, calls=calls)
    return parts, "content_filter" if heard.refused else finish, heard.usage


@pytest.mark.parametrize(("output", "parts", "finish"), OUTPUTS.values(), ids=OUTPUTS)
def test_what_a_provider_answers_is_the_same_whole_and_streamed(output, parts, finish):
    whole = api.response(*output)
    reply = responses.read_reply(whole, VERBATIM)
    assert (reply.parts, reply.finish_reason, reply.usage) == (parts, finish, USAGE)
    assert reply.raw is whole
    assert heard_of(api.events_of(whole)) == (parts, finish, USAGE)


@pytest.mark.parametrize(("output", "parts", "finish"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_server_that_leaves_out_fragments_loses_nothing(output, parts, finish):
    events = api.events_of(api.response(*output))
    without_deltas = [event for event in events if not event["type"].endswith(".delta")]
    assert heard_of(without_deltas)[:2] == (parts, finish)
    assert heard_of(events[-1:])[:2] == (parts, finish)  # the whole answer as one event
    without_the_end = [event for event in events if not event["type"].endswith(("item.done", "completed"))]
    last = {"type": "response.completed", "response": {"status": "completed", "usage": None}}
    proof = [part for part in parts if not isinstance(part, Thinking)]
    assert [part for part in heard_of([*without_the_end, last])[0] if not isinstance(part, Thinking)] == proof


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "stop")]
)
def test_an_answer_that_is_incomplete(reason, finish):
    whole = api.response(api.message(api.text("Good")), incomplete_details={"reason": reason}, usage=None)
    assert responses.read_reply(whole, FOREIGN).finish_reason == finish
    assert heard_of(api.events_of(whole), FOREIGN)[1] == finish


def test_a_call_that_the_limit_cut_is_no_finished_one():
    cut = api.call("look", '{"at": "sk', status="incomplete")
    whole = api.response(cut, incomplete_details={"reason": "max_output_tokens"})
    assert responses.read_reply(whole, FOREIGN).finish_reason == "length"
    assert heard_of(api.events_of(whole), FOREIGN)[:2] == ((Call("call_0001", "look", '{"at": "sk'),), "length")


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress"])
def test_an_answer_that_is_none(status):
    whole = api.response(api.message(api.text("Good")), status=status)
    with pytest.raises(UnusableReply, match=status) as caught:
        responses.read_reply(whole, FOREIGN)
    assert caught.value.usage == USAGE
    with pytest.raises(UnusableReply, match=status):
        heard_of([{"type": "response.completed", "response": whole}])


@pytest.mark.parametrize("data", [{}, {"output": None}, {"output": {}}, {"output": []}])
def test_an_answer_without_any_output(data):
    with pytest.raises(UnusableReply, match="output"):
        responses.read_reply(data, FOREIGN)
    assert responses.read_reply({"status": "completed", "output": []}, FOREIGN).parts == ()


NAMES = ["type", "output", "item", "content", "text", "delta", "summary", "usage", "name", "response"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner),
)


@FEW
@given(JSON)
def test_whatever_a_provider_sends_is_read_or_refused(data):
    for kind in [*responses.reply.READERS, "response.unheard_of"]:
        try:
            responses.read_event(
                {"output_index": 0, "item": data, "response": data, "delta": data, "type": kind}, Heard()
            )
            responses.read_reply(
                {"status": "completed", "output": [data, {"type": "message", "content": data}]}, FOREIGN
            )
        except UnusableReply:
            pass


def test_items_of_the_vendors_own_are_kept_for_its_own_clients():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "geese"}}
    whole = api.response(search, api.message(api.text("Yes.")))
    assert responses.read_reply(whole, VERBATIM).parts == (Opaque("responses", search), Text("Yes."))
    assert heard_of(api.events_of(whole))[0] == (Opaque("responses", search), Text("Yes."))
    assert responses.read_reply(whole, FOREIGN).parts == (Text("Yes."),)
    assert heard_of(api.events_of(whole), FOREIGN)[0] == (Text("Yes."),)


def test_long_names_of_tools_come_back_as_they_were():
    long = "mcp__" + "x" * 100
    request = replace(FOREIGN, tools=(Tool(long),))
    (sent,) = responses.write_request(request, UPSTREAM, host="h", stream=False)["tools"]
    whole = api.response(api.call(sent["name"], "{}"))
    assert len(sent["name"]) == 64
    assert responses.read_reply(whole, request).parts == (Call("call_0001", long, "{}"),)
    assert heard_of(api.events_of(whole), request)[0] == (Call("call_0001", long, "{}"),)


def test_calls_without_an_id_get_one():
    unnamed = [api.call("look", "{}", number) | {"id": None, "call_id": None} for number in (1, 2)]
    parts = responses.read_reply(api.response(*unnamed), FOREIGN).parts
    assert len({part.id for part in parts if part.id}) == 2


@pytest.mark.parametrize(
    ("error", "status", "fact"),
    [
        ({"code": "rate_limit_exceeded", "message": "Slow down."}, 429, ""),
        ({"code": "server_error", "message": "Sorry."}, 500, ""),
        ({"code": "invalid_prompt", "message": "No."}, 400, "content_policy"),
        ({"code": "image_too_small", "message": "No."}, 400, "invalid"),
    ],
)
def test_an_answer_that_failed_half_way_means_what_it_says(error, status, fact):
    failed = {"type": "response.failed", "response": api.response(status="failed", error=error)}
    for data in (failed, {"type": "error", "sequence_number": 3, "param": None, **error}):
        assert is_error(data)
        failure = responses.read_error(Response(200, {}, json.dumps(data).encode()), FOREIGN)
        assert (failure.status, failure.verdict.fact) == (status, fact)
        assert failure.says.message == error["message"]
    assert is_error(failed["response"])


# --- written and read again -------------------------------------------------------------------------------------------
UPSTREAM = Upstream("gpt-x")
WORDS = st.text(min_size=1, max_size=40).map(lambda words: words.replace("\x00", "-"))
ID = st.from_regex(r"call_[A-Za-z0-9]{1,12}", fullmatch=True)
ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(), max_size=3).map(json.dumps)
CALLS = st.lists(st.builds(Call, ID, st.sampled_from(["look", "do"]), ARGUMENTS), max_size=3, unique_by=lambda c: c.id)


@st.composite
def said(draw):
    """The parts of an answer, as a model gives them: words, then calls."""
    words = draw(st.lists(st.builds(Text, WORDS), max_size=2))
    return (*words, *draw(CALLS))


def answer_of(parts, finish):
    return Answer(parts, USAGE, finish, "openai", 123, "m", "req-1", 1_730_000_000)


def wish_of(body=None):
    raw = Raw("responses", {"model": "m", "input": "Hi", **(body or {})})
    return Wish(model=MODEL, request=ChatRequest(raw=raw), stream=True)


def finish_of(parts, finish):
    called = any(isinstance(part, Call) for part in parts)
    return "tool_calls" if called and finish == "stop" else finish


@FEW
@given(said(), st.sampled_from(["stop", "length", "content_filter"]))
def test_a_whole_answer_that_was_written_reads_the_same(parts, finish):
    answer = answer_of(parts, finish_of(parts, finish))
    reply = responses.read_reply(json.loads(json.dumps(responses.write_reply(answer, wish_of()))), FOREIGN)
    assert (reply.parts, reply.finish_reason, reply.usage) == (parts, answer.finish_reason, USAGE)


@st.composite
def fragments(draw):
    """Parts, and the pieces of them: those of calls in any order between each other."""
    parts = draw(said())
    words = [(number, part) for number, part in enumerate(parts) if isinstance(part, Text)]
    pieces = [Piece(number, Text(char)) for number, part in words for char in part.text]
    queues = [
        [Piece(of, Call(part.id, part.name, ""))] + [Piece(of, Call("", "", char)) for char in part.arguments]
        for of, part in enumerate(parts)
        if isinstance(part, Call)
    ]
    pieces += [queue.pop(0) for queue in queues]
    while queues := [queue for queue in queues if queue]:
        pieces.append(draw(st.sampled_from(queues)).pop(0))
    return parts, pieces


@FEW
@given(fragments(), st.sampled_from(["stop", "length"]))
def test_a_streamed_answer_that_was_written_reads_the_same_cut_at_every_byte(made, finish):
    parts, pieces = made
    answer, writer = answer_of(parts, finish_of(parts, finish)), responses.EventWriter(wish_of(), "req-1")
    items = [Start(Usage(36, 0)), *(Delta((piece,)) for piece in pieces), answer]
    stream = "".join(map(writer.write_event, items)).encode("utf-8", "surrogatepass")
    reader = EventReader()
    events = [event for byte in stream for event in reader.feed(bytes([byte]))]
    assert reader.end() == []
    data = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [event["type"] for event in data]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    read, ended, usage = heard_of(data, FOREIGN)
    assert [part for part in read if isinstance(part, Call)] == [part for part in parts if isinstance(part, Call)]
    assert (read, ended, usage) == (parts, answer.finish_reason, USAGE)
