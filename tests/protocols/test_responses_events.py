"""The events of an answer as clients of OpenAI's Responses API get them, checked against OpenAI's own types."""

from __future__ import annotations

import json
from typing import Any, get_args

import openai
import pytest
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseErrorEvent, ResponseStreamEvent

from chat.protocols import responses
from chat.protocols.sse import COMMENT, EventReader
from chat.types import (
    Answer,
    Call,
    ChatRequest,
    Delta,
    Model,
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
)
from tests.support import responses as api

EVENTS: dict[str, Any] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
"""The classes of OpenAI's events, by their types."""
TOOLS = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "patch"},
]
BODY = {"model": "m", "input": "Hi", "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
USAGE = Usage(36, 87, 12, 4, 64)
FAILED = Told("invalid_provider_response", 502, "The provider gave an unusable answer.", {})


def wish_of(**more):
    raw = Raw("responses", BODY | more)
    return Wish(model=Model("m", (), 4096, 64), request=ChatRequest(raw=raw), stream=True)


def answer_of(*parts, finish="stop", **changes):
    return Answer(parts, USAGE, finish, "p", 123, "m", "req-1", 1_730_000_000, **changes)


def written(*items, error=None, wish=None):
    """The events of a stream, each as OpenAI's package has it, and as plain JSON."""
    writer = responses.EventWriter(wish or wish_of(), "req-1")
    stream = "".join(map(writer.write_event, items)) + (writer.write_error(error) if error else "")
    events = EventReader().feed(stream.encode())
    data = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [event["type"] for event in data]
    return [EVENTS[event["type"]].model_validate(event) for event in data], data


def types_of(events):
    return [event.type.removeprefix("response.") for event in events]


def accumulated(events):
    """What OpenAI's package makes of the events, with all that it checks on the way."""
    state = ResponseStreamState(input_tools=TOOLS, text_format=openai.omit)
    for event in events:
        state.handle_event(event)
    return state._completed_response


def pieces(*parts):
    return [Delta((Piece(of, part),)) for of, part in parts]


CREATED = ["created", "in_progress"]
TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"]
TEXT_DONE = ["content_part.done", "output_item.done"]
CALL = ["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


def test_a_text():
    events, data = written(
        Start(Usage(36, 0)), *pieces(("t", Text("Good ")), ("t", Text("day."))), answer_of(Text("Good day."))
    )
    assert types_of(events) == [*CREATED, *TEXT, *TEXT_DONE, "completed"]
    assert [event["sequence_number"] for event in data] == list(range(10))
    assert accumulated(events).output_text == "Good day."
    assert data[-1]["response"]["usage"] == api.USAGE


def test_the_whole_object_stands_in_each_event_of_the_answers_life():
    """Bug 24: other gateways leave out the type, the response or the number."""
    _, data = written(Start(Usage(36, 0)), *pieces(("t", Text("Hi"))), answer_of(Text("Hi")))
    for event in (data[0], data[1], data[-1]):
        response = OpenAIResponse.model_validate(event["response"])
        assert event["response"]["tools"] == TOOLS
        assert response.tool_choice == "required"
        assert response.parallel_tool_calls is False
        assert (response.id, response.model, response.object) == ("resp_req-1", "m", "response")
    assert [event["response"]["status"] for event in (data[0], data[-1])] == ["in_progress", "completed"]


def test_calls_whose_fragments_come_in_turns():
    """Bug 1: each call has an index of its own, without a gap."""
    first, second = ("a", Call("call_1", "look", "")), ("b", Call("call_2", "look", ""))
    said = [("t", Text("Wait. ")), ("u", Text("So.")), first, second]
    said += [("b", Call("", "", '{"b')), ("a", Call("", "", "{}")), ("b", Call("", "", '":1}'))]
    answer = answer_of(Call("call_1", "look", "{}"), Call("call_2", "look", '{"b":1}'), finish="tool_calls")
    events, _ = written(Start(Usage(36, 0)), *pieces(*said), answer)
    whole = accumulated(events)
    assert [item.type for item in whole.output] == ["message", "function_call", "function_call"]
    assert [part.text for part in whole.output[0].content] == ["Wait. ", "So."]
    assert [(item.call_id, item.arguments) for item in whole.output[1:]] == [("call_1", "{}"), ("call_2", '{"b":1}')]
    assert [event.output_index for event in events if event.type.endswith("output_item.added")] == [0, 1, 2]
    assert len({item.id for item in whole.output}) == 3


def test_a_call_without_arguments_has_an_empty_object():
    """Bug 5: no arguments at all are no JSON."""
    call = Call("call_1", "look", "")
    events, _ = written(Start(Usage(36, 0)), *pieces(("a", call)), answer_of(call, finish="tool_calls"))
    assert types_of(events) == [*CREATED, "output_item.added", *CALL, "completed"]
    assert accumulated(events).output[0].arguments == "{}"


def test_a_custom_tool_gets_its_text():
    call = Call("call_1", "patch", "*** Begin")
    events, data = written(Start(Usage(36, 0)), *pieces(("a", call)), answer_of(call, finish="tool_calls"))
    assert types_of(events)[2:5] == ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert data[-1]["response"]["output"][0]["input"] == "*** Begin"
    assert "status" not in data[-1]["response"]["output"][0]
    whole = responses.write_reply(answer_of(call, finish="tool_calls"), wish_of())
    assert whole["output"][0] | {"id": ""} == data[-1]["response"]["output"][0] | {"id": ""}


def test_a_refusal_is_complete_in_its_own_words_and_a_filter_is_not():
    said = Refusal("I won't.")
    events, data = written(Start(Usage(36, 0)), *pieces(("r", said)), answer_of(said, finish="content_filter"))
    assert types_of(events)[3:7] == ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"]
    assert data[-1]["type"] == "response.completed"
    _, data = written(Start(Usage(36, 0)), *pieces(("t", Text("So"))), answer_of(Text("So"), finish="content_filter"))
    assert data[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}


def test_what_the_limit_cut_is_incomplete():
    """Bug 22: the limit is told, whatever was called before it."""
    first, cut = Call("call_1", "look", "{}"), Call("call_2", "look", '{"at": "sk')
    events, data = written(
        Start(Usage(36, 0)), *pieces(("a", first), ("b", cut)), answer_of(first, cut, finish="length")
    )
    assert data[-1]["type"] == "response.incomplete"
    assert data[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    items = data[-1]["response"]["output"]
    assert [item["status"] for item in items] == ["completed", "incomplete"]
    assert items[1]["arguments"] == '{"at": "sk'
    assert types_of(events).count("function_call_arguments.done") == 1
    whole = responses.write_reply(answer_of(first, cut, finish="length"), wish_of())
    assert [{**item, "id": ""} for item in whole["output"]] == [{**item, "id": ""} for item in items]


def test_a_break_in_a_call_never_looks_whole():
    """Bug 21: the call is not done, the response has failed, and the package raises at the last event."""
    said = [("t", Text("Wait.")), ("a", Call("call_1", "look", "")), ("a", Call("", "", '{"at'))]
    events, data = written(Start(Usage(36, 0)), *pieces(*said), error=FAILED)
    assert types_of(events)[-3:] == ["function_call_arguments.delta", "failed", "error"]
    assert "function_call_arguments.done" not in types_of(events)
    assert [item["type"] for item in data[-2]["response"]["output"]] == ["message"]
    failure = data[-2]["response"]["error"]
    assert (failure["code"], failure["type"]) == ("server_error", "invalid_provider_response")
    assert ResponseErrorEvent.model_validate(data[-1]).code == "invalid_provider_response"
    assert data[-1]["error"]["message"].endswith("(request_id req-1)")
    assert [event["sequence_number"] for event in data] == list(range(len(data)))


def test_thoughts_of_others_are_not_shown():
    """Bug 3: they are no text either."""
    events, _ = written(Start(Usage(36, 0)), *pieces(("h", Thinking("Hm.", "sig")), ("t", Text("Yes."))), answer_of())
    assert [item.type for item in accumulated(events).output] == ["message"]
    whole = responses.write_reply(answer_of(Thinking("Hm.", "sig"), Text("Yes.")), wish_of())
    assert [item["type"] for item in whole["output"]] == ["message"]


def test_an_earlier_answer_says_so():
    stored = answer_of(Text("Hi"), cached=True, message="LLM is slow, showing cached response")
    events, data = written(Start(USAGE, answer=stored), *pieces((0, Text("Hi"))), stored)
    assert accumulated(events).output_text == "Hi"
    assert data[0]["response"]["cached"] is data[-1]["response"]["cached"] is True
    assert data[-1]["response"]["usage"]["total_tokens"] == 0
    assert responses.write_reply(stored, wish_of())["message"] == stored.message


def test_a_model_that_still_thinks_shows_signs_of_life():
    writer = responses.EventWriter(wish_of(), "req-1")
    assert writer.write_event(Start(Usage(36, 0), verbatim=True)) == ""
    assert writer.write_event(Tick()) == COMMENT


# --- a provider of the same protocol ----------------------------------------------------------------------------------
CITATION = {"type": "url_citation", "start_index": 0, "end_index": 4, "title": "Geese", "url": "https://a.example"}
OWN = api.response(
    api.reasoning("First."),
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "geese"}},
    api.message(api.text("Good day.") | {"annotations": [CITATION]}),
    api.call("look", '{"at": "sky"}'),
    safety_identifier="the-pseudonym",
    new_field={"kept": True},
)
RELAYED = api.events_of(OWN)


def relay(events=RELAYED, answer=None, **more):
    deltas = [Delta((), event) for event in events]
    return written(Start(Usage(36, 0), verbatim=True), *deltas, *([answer] if answer else []), **more)


def test_a_providers_own_events_go_on_as_they_came():
    answer = answer_of(finish="tool_calls")
    events, data = relay(answer=answer)
    names = {"id": "resp_req-1", "model": "m", "safety_identifier": None}
    expected = [
        event | ({"response": {**event["response"], **names}} if "response" in event else {}) for event in RELAYED
    ]
    assert data == expected
    assert accumulated(events).output[0].encrypted_content == "gAAAA-proof"


def test_the_last_event_waits_for_the_bill_and_tells_it():
    writer = responses.EventWriter(wish_of(), "req-1")
    *_, last = (writer.write_event(Delta((), event)) for event in RELAYED)
    assert last == ""
    (event,) = EventReader().feed(writer.write_event(answer_of()._replace(usage=Usage(40, 90))).encode())
    usage = json.loads(event.data)["response"]["usage"]
    assert usage == api.USAGE | {"input_tokens": 40, "output_tokens": 90, "total_tokens": 130}


def test_a_break_of_a_relayed_answer_goes_on_counting():
    kinds = [event["type"] for event in RELAYED]
    cut = kinds.index("response.function_call_arguments.delta")
    events, data = relay(RELAYED[: cut + 1], error=FAILED)
    assert types_of(events)[-3:] == ["function_call_arguments.delta", "failed", "error"]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    assert data[-2]["response"]["id"] == data[0]["response"]["id"]


def test_a_break_before_the_first_event_opens_first():
    events, _ = relay([], error=FAILED)
    assert types_of(events) == ["created", "in_progress", "failed", "error"]


def test_a_vendors_own_words_for_a_client_of_its_own():
    told = FAILED._replace(
        vendor=VendorError("responses", 400, "invalid_request_error", "Bad image.", "invalid_image", "input[0]")
    )
    _, data = relay([], error=told)
    assert data[-1]["code"] == "invalid_image"
    assert data[-1]["error"] == {
        "message": "Bad image. (request_id req-1)",
        "type": "invalid_request_error",
        "param": "input[0]",
        "code": "invalid_image",
    }


def test_a_whole_answer_of_the_same_protocol_goes_on_as_it_came():
    body = responses.write_reply(answer_of(raw=OWN), wish_of(safety_identifier="own"))
    assert body == OWN | {"id": "resp_req-1", "model": "m", "safety_identifier": "own"}


def test_a_stored_answer_keeps_the_id_by_which_it_is_found_again():
    body = responses.write_reply(answer_of(raw=OWN | {"store": True}), wish_of())
    assert body["id"] == OWN["id"]


def test_ids_are_new_for_each_answer_and_the_same_for_the_same():
    def ids(**changes: Any) -> list[str]:
        answer = answer_of(Text("Hi"), Call("c", "look", ""))._replace(**changes)
        return [item["id"] for item in responses.write_reply(answer, wish_of())["output"]]

    assert ids() == ids()
    assert not {*ids()} & {*ids(request_id="req-2")}
    assert not {*ids()} & {*ids(created=1_730_000_001)}
    assert all(len(name) <= 64 for name in ids(request_id="x" * 128))


@pytest.mark.parametrize("wish", [None, wish_of()])
def test_a_whole_answer_is_one_of_openais(wish):
    body = responses.write_reply(answer_of(Text("Hi"), Refusal("No."), Call("c", "look", "{}")), wish)
    assert OpenAIResponse.model_validate(body).output_text == "Hi"
