"""The simulator does what models do, for clients without keys: tools, thinking, forms, images, limits and breaks."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from jsonschema import validate

from chat.models import UsageRecord
from tests.flows.simulated import FORECAST, IN_BERN, PDF, PNG, SCHEMA, by_chat, by_messages, function, said

pytestmark = pytest.mark.django_db(transaction=True)


# --- tools ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_of_openais(openais, stream):
    asked = [said("user", f"{IN_BERN}\n/tool weather")]
    first = by_chat(openais, asked, stream=stream, tools=[function()])
    one, other = first.tool_calls
    assert (one.function.name, json.loads(one.function.arguments)) == ("weather", {"city": "Bern"})
    assert json.loads(other.function.arguments) == {"city": "city", "unit": "C"}
    assert one.id != other.id
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": words} for call, words in ((one, "12°"), (other, ""))
    ]
    history = [*asked, first.model_dump(exclude_none=True, include={"role", "tool_calls"}), *results]
    last = by_chat(openais, history, stream=stream, tools=[function()])
    assert last.content.startswith('weather answered: "12°". weather answered: "".')
    assert not last.tool_calls


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_of_responses(openais, stream):
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}

    def ask(items: Any) -> Any:
        if not stream:
            return openais.responses.create(model="gpt-4", input=items, tools=[tool])
        with openais.responses.stream(model="gpt-4", input=items, tools=[tool]) as events:
            return events.get_final_response()

    first = ask(IN_BERN)
    (call,) = first.output
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Bern"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "12°"}
    last = ask([said("user", IN_BERN), call, result])
    assert last.output_text.startswith('weather answered: "12°".')


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_of_anthropics_with_an_image_and_a_failure(anthropics, stream):
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    first = by_messages(anthropics, f"/think {IN_BERN} /tool weather", stream=stream, tools=tools)
    thought, one, other = first.content
    assert (first.stop_reason, thought.type, one.input) == ("tool_use", "thinking", {"city": "Bern"})
    assert first.usage.output_tokens_details.thinking_tokens > 5
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    results = [
        {"type": "tool_result", "tool_use_id": one.id, "content": [{"type": "text", "text": "12°"}, image]},
        {"type": "tool_result", "tool_use_id": other.id, "content": "no such city", "is_error": True},
    ]
    history = [said("user", IN_BERN), said("assistant", first.to_dict()["content"]), said("user", results)]
    last = by_messages(anthropics, "", stream=stream, tools=tools, messages=history)
    assert last.stop_reason == "end_turn"
    (text,) = last.content
    seen = "an image (image/png, 89 bytes, 512 x 256)"
    assert text.text.startswith(f'weather answered: "12°" and {seen}. weather failed: "no such city".')


OTHER = [function(), function("time")]


@pytest.mark.parametrize(
    ("content", "options", "called"),
    [
        ("Hello!", {"tool_choice": "required"}, ["weather"]),
        ("/tool time {}", {"tool_choice": "required"}, ["time"]),
        ("Hello!", {"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"]),
        (IN_BERN, {"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"]),
        ("/tool time /tool weather", {"parallel_tool_calls": False}, ["time"]),
        ("/tool time{}", {}, ["time"]),
        ("Please /tool time", {}, []),
    ],
)
def test_who_chooses_the_tool(openais, content, options, called):
    answer = by_chat(openais, content, tools=OTHER, **options)
    assert [call.function.name for call in answer.tool_calls or ()] == called
    for call in answer.tool_calls or ():
        assert isinstance(json.loads(call.function.arguments), dict)


@pytest.mark.parametrize(
    ("content", "options", "answer"),
    [
        ("/tool nope", {"tools": OTHER}, "This request has no tool nope to call. Its tools are: weather, time."),
        (IN_BERN, {}, "This request has no tool weather to call. It has none."),
        (IN_BERN, {"tools": OTHER, "tool_choice": "none"}, "This request has no tool weather to call. It has none."),
        ("/tool", {"tools": OTHER}, "Send /tool NAME {json}, or /tool NAME alone."),
        ("/tool time {'a': 1}", {"tools": OTHER}, "The arguments of time are no JSON object."),
        ('/tool time {"a": NaN}', {"tools": OTHER}, "The arguments of time are no JSON object."),
        ("/tool time now", {"tools": OTHER}, "After the arguments stands something else."),
        ("/fault truncated_call", {}, "This request has no tool to call."),
    ],
)
def test_a_call_that_cannot_be_is_explained(openais, content, options, answer):
    assert by_chat(openais, content, **options).content.startswith(answer)


def test_arguments_that_no_instance_fits_are_explained(openais):
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "deep", "parameters": endless}}
    assert "fit the schema of deep" in by_chat(openais, "/tool deep", tools=[tool]).content


# --- thinking, forms, images ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_comes_first_and_is_counted(anthropics, openais, stream):
    answer = by_messages(anthropics, "/think about orchids", stream=stream)
    thought, text = answer.content
    assert thought.thinking.startswith("The question is about orchids.")
    assert thought.signature
    assert "orchids" in text.text
    again = [said("user", "/think about orchids"), said("assistant", answer.to_dict()["content"]), said("user", "And?")]
    assert by_messages(anthropics, "", messages=again).content[0].type == "text"
    usage = openais.responses.create(model="gpt-4", input="/think about orchids").usage
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens


def test_a_thought_is_told_in_its_own_events(anthropics):
    with anthropics.messages.stream(model="claude-3", max_tokens=99, messages=[said("user", "/think")]) as events:
        kinds = [event.delta.type for event in events if event.type == "content_block_delta"]
    thoughts = kinds.count("thinking_delta")
    assert thoughts > 5
    assert kinds[: thoughts + 1] == ["thinking_delta"] * thoughts + ["signature_delta"]
    assert set(kinds[thoughts + 1 :]) == {"text_delta"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_form_is_kept(openais, anthropics, stream):
    form: Any = {"type": "json_schema", "json_schema": {"name": "forecast", "schema": FORECAST, "strict": True}}
    answers = [
        by_chat(openais, "Tomorrow?", stream=stream, response_format=form).content,
        openais.responses.create(
            model="gpt-4",
            input="Tomorrow?",
            text={"format": {"type": "json_schema", "name": "forecast", "schema": FORECAST, "strict": True}},
        ).output_text,
        by_messages(anthropics, "Tomorrow?", output_config={"format": {"type": "json_schema", "schema": FORECAST}})
        .content[0]
        .text,
    ]
    for answer in answers:
        validate(json.loads(answer), FORECAST)
    any_object = by_chat(openais, "Tomorrow, as JSON?", stream=stream, response_format={"type": "json_object"})
    assert "tomorrow" in json.loads(any_object.content)["answer"]


def test_images_and_documents_are_described_and_counted(anthropics, openais):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    answer = openais.chat.completions.create(model="gpt-4", messages=[said("user", parts)])
    seen = (
        "an image (image/png, 89 bytes, 512 x 256) and the address of an image, which is not opened and "
        "a document a.pdf (application/pdf, 1,000 bytes)"
    )
    assert f"You sent {seen}." in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 3_200 + 1_568 + 19 * 10  # a page, the largest image, and this one
    text = {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "Öl"}}
    answer = by_messages(anthropics, [text, {"type": "text", "text": "And this?"}])
    assert "a document Notes (text/plain, 3 bytes)" in answer.content[0].text


# --- limits -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_the_limit_cuts_what_comes_first(openais, anthropics, stream):
    answer = by_messages(anthropics, "/think", stream=stream, max_tokens=4)
    assert ([block.type for block in answer.content], answer.stop_reason) == (["thinking"], "max_tokens")
    assert answer.usage.output_tokens == answer.usage.output_tokens_details.thinking_tokens == 4
    cut = openais.chat.completions.create(
        model="gpt-4", messages=[said("user", IN_BERN)], tools=[function()], max_completion_tokens=2
    ).choices[0]
    assert (cut.finish_reason, cut.message.tool_calls[0].function.arguments) == ("length", '{"city":'[:8])


def test_the_clients_own_stop_text_ends_the_answer(anthropics):
    answer = by_messages(anthropics, "Hello!", stop_sequences=["nothing", "about"])
    assert (answer.content[0].text, answer.stop_reason, answer.stop_sequence) == (
        "Good question ",
        "stop_sequence",
        "about",
    )


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"extra_body": {"tomorrow": 1}}, "tomorrow"),
        ({"store": True}, "store"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
)
def test_what_is_one_vendors_own_is_refused(openais, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        by_chat(openais, "Hello!", **options)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
    assert not UsageRecord.objects.exclude(tokens_used=0, reserved=0).exists()


# --- breaks -----------------------------------------------------------------------------------------------------------
BREAKS = ["truncated", "truncated_call", "truncated_thinking"]
LATE_BREAKS = [f"{IN_BERN} /fault truncated", "/think /fault truncated"]


@pytest.mark.parametrize("content", [*(f"/fault {name}" for name in BREAKS), *LATE_BREAKS])
def test_what_breaks_off_never_looks_whole(openais, anthropics, content):
    tool: Any = {"name": "weather", "input_schema": SCHEMA}
    with pytest.raises(openai.APIError):
        by_chat(openais, content, stream=True, tools=[function()])
    with pytest.raises(openai.APIError):
        list(
            openais.responses.create(
                model="gpt-4", input=content, stream=True, tools=[{"type": "function", **function()["function"]}]
            )
        )
    heard = []
    with pytest.raises(anthropic.APIStatusError) as broken:
        heard.extend(
            anthropics.messages.create(
                model="claude-3", max_tokens=500, stream=True, tools=[tool], messages=[said("user", content)]
            )
        )
    assert "broke off" in broken.value.message
    last = next(event for event in reversed(heard) if event.type == "content_block_delta")
    kind = "thinking" if "thinking" in content else "input_json" if "call" in content or "/tool" in content else "text"
    assert last.delta.type == f"{kind}_delta"
    assert heard[-1] is last  # nothing says that the block or the message has ended
    states = UsageRecord.objects.values_list("state", flat=True)
    assert [*states] == ["truncated"] * 3
    with pytest.raises(openai.InternalServerError) as whole:
        by_chat(openais, content, tools=[function()])
    assert whole.value.code == "invalid_provider_response"
    assert UsageRecord.objects.latest("pk").tokens_used == 0
