"""POST /v1/responses, with providers that are asked by the same API: HTTP in, HTTP out, and OpenAI's own package."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.support import responses as api
from tests.support.loopback import Fault, status
from tests.support.responses import CALLS, HELLO, LOOK, TEXT, Vendor

pytestmark = pytest.mark.django_db(transaction=True)


def ask(client, model="own", **body):
    return client.post("/v1/responses", {"model": model, "input": "Hello!", **body}, format="json")


# --- the whole way ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["own", "both", "other"])
def test_an_answer_whole_and_streamed(client, house, model):
    house.second.always = Fault(text="Good day.")
    whole = client.responses.create(model=model, input="Hello!", instructions="Be brief.")
    assert (whole.output_text, whole.status, whole.model) == ("Good day.", "completed", model)
    events = list(client.responses.create(model=model, input="Hello!", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert events[-1].response.output_text == "Good day."
    with client.responses.stream(model=model, input="Hello!") as stream:
        assert stream.get_final_response().output_text == "Good day."
    assert house.tokens() == ((21 if model == "other" else 123) * 3, 0)


def test_two_turns_of_calls_go_on_as_they_came(client, house):
    house.first.then(status(200, {}, CALLS), status(200, {}, TEXT))
    first = client.responses.create(model="own", input="Hello!", tools=[LOOK], include=["reasoning.encrypted_content"])
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "blue"}
        for item in first.output
        if item.type == "function_call"
    ]
    history = [*HELLO, *(item.to_dict() for item in first.output), *outputs]
    second = client.responses.create(model="own", input=history, tools=[LOOK])
    assert second.output_text == "Good day."
    assert house.first.requests[1].json["input"] == history


def test_streamed_calls_are_the_vendors_own_events(client, house):
    house.first.always = Vendor(CALLS)
    with client.responses.stream(model="own", input="Hello!", tools=[LOOK]) as stream:
        final = stream.get_final_response()
    assert [item.to_dict() for item in final.output][0]["encrypted_content"] == "gAAAA-proof"
    assert [item.arguments for item in final.output if item.type == "function_call"] == ['{"at": 1}', "{}"]
    assert house.record().state == "settled"
    assert house.first.requests[0].json["store"] is False


def test_what_the_vendor_adds_stays_and_what_is_ours_is_ours(auth_client, house):
    house.first.always = Vendor(TEXT | {"tomorrow": [1]})
    body = ask(auth_client, metadata={"a": "b"}).json()
    assert body["tomorrow"] == [1]
    assert body["id"] == f"resp_{house.record().request_id}"
    assert body["model"] == "own"
    assert body["usage"] == api.USAGE
    (sent,) = house.first.requests
    assert sent.path == "/v1/responses"
    assert sent.json == {
        "model": "gpt-6-luna",
        "input": "Hello!",
        "metadata": {"a": "b"},
        "max_output_tokens": 64,
        "store": False,
    }


COMPACTION = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA-short"}


def test_a_history_that_the_vendor_shortens_is_for_the_vendors_own_api(auth_client, house):
    house.first.always = Vendor(api.response(COMPACTION, api.message(api.text("Good day."))))
    shorter = {"context_management": [{"type": "compaction", "compact_threshold": 1_000}], "background": False}
    body = ask(auth_client, **shorter).json()
    assert body["output"][0] == COMPACTION
    assert house.first.requests[-1].json["context_management"] == shorter["context_management"]
    again = [COMPACTION, {"role": "user", "content": "And now?"}, {"type": "compaction_trigger"}]
    assert ask(auth_client, input=again).status_code == 200
    assert house.first.requests[-1].json["input"] == again
    for path, given in (("context_management", shorter), ("input[0].type", {"input": again})):
        error = ask(auth_client, "other", **given).json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", path)
    assert house.tokens() == (2 * 123, 0)


def test_a_response_repeats_what_was_asked_for(auth_client, house):
    house.second.always = Fault(text="Good day.")
    body = ask(auth_client, "other", tools=[LOOK], metadata={"a": "b"}, instructions="Be brief.").json()
    assert (body["tools"], body["metadata"], body["instructions"]) == ([LOOK], {"a": "b"}, "Be brief.")
    assert (body["tool_choice"], body["parallel_tool_calls"], body["error"]) == ("auto", True, None)


# --- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"store": True}, "unsupported_parameter", "store"),
        ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({"background": True}, "unsupported_parameter", "background"),
        ({"background_options": {"completion_window": "2h"}}, "unsupported_parameter", "background_options"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
        ({"input": [{"role": "user", "content": ""}]}, "invalid_message_format", "input[0].content"),
        ({"max_output_tokens": 0}, "invalid_request", "max_output_tokens"),
        ({"temperature": 0.5}, "unsupported_parameter", "temperature"),
        ({"model": "nowhere"}, "model_not_found", "model"),
    ],
)
def test_what_is_refused_is_named(auth_client, house, body, code, param):
    response = ask(auth_client, **body)
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert house.calls == (0, 0)
    assert house.tokens() == (0, 0)


def test_a_field_is_refused_in_the_clients_own_words(auth_client, house):
    error = ask(auth_client, "other", text={"format": {"type": "json_object"}}).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "text.format")


def test_the_vendors_own_words_reach_its_own_client(client, house):
    refusal = {"message": "Bad image.", "type": "invalid_request_error", "param": "input[0]", "code": "invalid_image"}
    house.first.always = status(400, body={"error": refusal})
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="own", input="Hello!")
    assert caught.value.body == refusal


def told(client) -> tuple[list[str], Any]:
    """The types of a stream's events, and the error in which it ends."""
    types: list[str] = []
    try:
        for event in client.responses.create(model="own", input="Hello!", stream=True):
            types.append(event.type)
    except openai.APIError as error:
        return types, error
    raise AssertionError("it ended as if it were whole")


@pytest.mark.parametrize("after", ["output_text.delta", "function_call_arguments.delta", "output_item.done"])
def test_a_stream_that_breaks_off_raises_and_is_never_whole(client, house, after):
    """Bug 21."""
    kinds = [event["type"] for event in api.events_of(CALLS)]
    house.first.always = Vendor(CALLS, len(kinds) - kinds[::-1].index(f"response.{after}"))
    types, error = told(client)
    assert error.code == "invalid_provider_response"
    assert types[-2:] == [f"response.{after}", "response.failed"]
    assert house.record().state == "truncated"
    assert house.tokens()[1] == 0


@pytest.mark.parametrize("said", ["response.failed", "error"])
def test_a_stream_that_fails_by_its_own_account(client, house, said):
    error = {"code": "server_error", "message": "Sorry."}
    last = {"type": said, "response": TEXT | {"status": "failed", "error": error}, **error}
    events = [*api.events_of(TEXT)[:-1], last]
    house.first.always = Fault("stream_paced", body=api.written(events), seconds=0)
    types, error = told(client)
    assert error.code == "provider_unavailable"
    assert types[-1] == "response.failed"
    assert house.tokens()[1] == 0


def test_a_failure_before_the_first_piece_is_an_ordinary_one_and_the_next_route_is_asked(client, house):
    failed = TEXT | {"status": "failed", "error": {"code": "server_error", "message": "Sorry."}}
    house.first.always = status(200, {}, failed)
    house.second.always = Vendor(TEXT)
    assert client.responses.create(model="pair", input="Hello!").output_text == "Good day."
    assert [call > 0 for call in house.calls] == [True, True]


def test_a_repeated_key_replays_the_answer(auth_client, house):
    house.first.always = Vendor(CALLS)
    key = {"HTTP_IDEMPOTENCY_KEY": "order-7"}
    body = {"model": "own", "input": "Hello!"}
    first, second = (auth_client.post("/v1/responses", body, format="json", **key) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.json() == second.json()
    assert len(house.first.requests) == 1


def test_a_repeated_key_streams_the_answer_again(client, house):
    house.first.always = Vendor(CALLS)
    for _ in range(2):
        with client.responses.stream(
            model="own", input="Hello!", extra_headers={"Idempotency-Key": "order-8"}
        ) as events:
            final = events.get_final_response()
        assert [item.arguments for item in final.output if item.type == "function_call"] == ['{"at": 1}', "{}"]
        assert final.usage.total_tokens == 123
    assert len(house.first.requests) == 1
