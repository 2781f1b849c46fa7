"""Requests of OpenAI's Responses API as clients send them: what is read, and what is wrong with one."""

from __future__ import annotations

import base64

import pytest

from chat.exceptions import InvalidMessageFormatError, ModelNotFoundError, ValidationError
from chat.protocols import responses
from chat.types import (
    Call,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
)
from tests.support import responses as api
from tests.support.responses import (
    CALL,
    CATALOGUE,
    OUTPUT,
    PDF,
    PNG,
    SCHEMA,
    USER,
    read,
    wish_of,
)


def test_a_text_is_the_users():
    wish = wish_of("Hi", instructions="Be brief.", max_output_tokens=50, temperature=0.5, top_p=0.5, stream=True)
    assert wish.request.messages == (Message.of("system", "Be brief."), Message.of("user", "Hi"))
    assert (wish.max_tokens, wish.request.temperature, wish.request.top_p, wish.stream) == (50, 0.5, 0.5, True)
    assert wish.usage_in_stream


def test_items_of_a_tool_conversation_become_turns():
    request = read(
        [
            {"type": "message", "role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "What is it like?"}]},
            api.reasoning("Hm.", proof="gAAAA"),
            api.message(api.text("Let me look."), api.refusal("Not there.")),
            CALL,
            CALL | {"call_id": "call_2", "arguments": ""},
            OUTPUT | {"call_id": "call_2", "output": [{"type": "input_text", "text": "clouds"}]},
            OUTPUT,
            {"role": "user", "content": "And now?"},
        ]
    )
    assert request.messages == (
        Message.of("system", "Be brief."),
        Message.of("user", "What is it like?"),
        Message(
            "assistant",
            (
                Thinking("Hm.", "gAAAA"),
                Text("Let me look."),
                Refusal("Not there."),
                Call("call_1", "look", '{"at": "sky"}'),
                Call("call_2", "look", "{}"),
            ),
        ),
        Message("user", (Result("call_2", (Text("clouds"),)), Result("call_1", (Text("blue"),)))),
        Message.of("user", "And now?"),
    )
    assert request.needs == ()


def test_a_result_goes_right_behind_its_call():
    first, second = CALL, CALL | {"call_id": "call_2"}
    messages = read([USER, first, USER, second, OUTPUT, OUTPUT | {"call_id": "call_2"}]).messages
    kinds = [[part.kind for part in message.parts] for message in messages]
    assert kinds == [["text"], ["call"], ["result"], ["text"], ["call"], ["result"]]
    assert [messages[2].parts[0].call_id, messages[5].parts[0].call_id] == ["call_1", "call_2"]


def test_two_texts_of_the_assistant_do_not_run_into_each_other():
    said = api.message(api.text("One.")), api.message(api.text("Two."))
    assert [message.text for message in read([USER, *said]).messages] == ["Hi", "One.", "Two."]


def test_images_and_files():
    request = read(
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
                    {"type": "input_image", "image_url": "https://a.example/b.png"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
                    {"type": "input_file", "filename": "b.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                    {"type": "input_file", "filename": "c.txt", "file_data": base64.b64encode(b"words").decode()},
                    {"type": "input_file", "file_url": "https://a.example/d.pdf"},
                ],
            },
            CALL,
            OUTPUT | {"output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]},
        ]
    )
    assert request.messages[0].parts == (
        Image("image/png", PNG, detail="low"),
        Image(url="https://a.example/b.png"),
        Document("application/pdf", PDF, name="a.pdf"),
        Document("application/pdf", PDF, name="b.pdf"),
        Document("text/plain", text="words", name="c.txt"),
        Document(url="https://a.example/d.pdf"),
    )
    assert [(need.kind, need.path) for need in request.needs] == [
        ("image_base64", "input[0].content[0].image_url"),
        ("image_url", "input[0].content[1].image_url"),
        ("document_pdf", "input[0].content[2].file_data"),
        ("document_pdf", "input[0].content[3].file_data"),
        ("document_text", "input[0].content[4].file_data"),
        ("document_url", "input[0].content[5].file_url"),
        ("image_base64", "input[2].output[0].image_url"),
        ("image_in_result", "input[2].output"),
    ]


def test_tools_choice_and_format():
    request = read(
        tools=[{"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA, "strict": True}],
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
        reasoning={"effort": "low", "summary": "auto"},
    )
    assert request.tools == (Tool("look", "Look.", SCHEMA, True),)
    assert request.choice == Choice("tool", "look", False)
    assert request.format == Format(SCHEMA, "answer", True)
    assert request.effort == "low"
    assert request.needs == ()


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("auto", Choice()),
        ("none", Choice("none")),
        ("required", Choice("any")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
            Choice("any", allowed=("look",)),
        ),
    ],
)
def test_which_tools_may_be_called(said, choice):
    assert read(tool_choice=said).choice == choice


WRONG = {
    "no input": (None, "input"),
    "a blank input": (" ", "input"),
    "no item": ([], "input"),
    "an item that is none": (["Hi"], "input[0]"),
    "an unknown role": ([{"role": "tool", "content": "Hi"}], "input[0].role"),
    "a blank content": ([{"role": "user", "content": " "}], "input[0].content"),
    "no content": ([{"role": "user"}], "input[0].content"),
    "a part without a type": ([{"role": "user", "content": [{"text": "Hi"}]}], "input[0].content[0]"),
    "a text that is none": (
        [{"role": "user", "content": [{"type": "input_text", "text": 3}]}],
        "input[0].content[0].text",
    ),
    "a broken data URL": (
        [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,x"}]}],
        "input[0].content[0].image_url",
    ),
    "a call without its output": ([USER, CALL], "input[1]"),
    "an output without its call": ([USER, OUTPUT], "input[1]"),
    "two outputs of one call": ([USER, CALL, OUTPUT, OUTPUT], "input[3]"),
    "an output before its call": ([USER, OUTPUT, CALL], "input[1]"),
    "arguments that are none": ([USER, CALL | {"arguments": 3}, OUTPUT], "input[1].arguments"),
    "nobody who asks": ([{"role": "developer", "content": "Hi"}], "input"),
}


@pytest.mark.parametrize(("said", "field"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_the_input_is_told_by_its_place(said, field):
    with pytest.raises(InvalidMessageFormatError) as caught:
        read(said)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_output_tokens": 5000}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": ["look"]}, "tools"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format"),
        ({"instructions": []}, "instructions"),
    ],
)
def test_what_is_wrong_with_a_field(body, field):
    with pytest.raises(ValidationError) as caught:
        read(**body)
    assert list(caught.value.fields) == [field]


def test_the_model_comes_first():
    with pytest.raises(ModelNotFoundError):
        responses.read_request({"model": "x", "input": []}, CATALOGUE, {})


def test_a_stored_conversation_may_have_the_calls():
    assert read([OUTPUT], previous_response_id="resp_1").messages == (
        Message("user", (Result("call_1", (Text("blue"),)),)),
    )
