"""Requests of OpenAI's Responses API: read from its clients, written for its servers, and the same after both."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.exceptions import InvalidMessageFormatError, ModelNotFoundError, UnsupportedParameter, ValidationError
from chat.protocols import fields, openai, responses
from chat.types import (
    LISTED,
    STORED,
    UNKNOWN,
    Call,
    Catalogue,
    ChatRequest,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Model,
    Need,
    Opaque,
    Raw,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    Upstream,
)
from tests.support import responses as api

CATALOGUE = Catalogue({"m": Model("m", (), 4096, 64)}, {}, {})
GPT, PLAIN = Upstream("gpt-6-luna"), Upstream("some-model")
PNG = base64.b64encode(b"\x89PNG...").decode()
PDF = base64.b64encode(b"%PDF-1.7 ...").decode()
SCHEMA = {
    "type": "object",
    "properties": {"at": {"type": "string"}},
    "required": ["at"],
    "additionalProperties": False,
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "sky"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "blue"}
USER = {"role": "user", "content": "Hi"}


def wish_of(said="Hi", **body):
    return responses.read_request({"model": "m", "input": said, **body}, CATALOGUE, {})


def read(said="Hi", **body):
    return wish_of(said, **body).request


def write(request, upstream=PLAIN, *, stream=False):
    return responses.write_request(replace(request, max_tokens=64), upstream, host="api.openai.com", stream=stream)


def passed(*, upstream=PLAIN, stream=False, **body):
    """What a client's own body becomes on its way."""
    return write(read(**body), upstream, stream=stream)


def needs_of(*args, **body):
    return [(need.kind, need.path) for need in read(*args, **body).needs]


# --- read -------------------------------------------------------------------------------------------------------------
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


# --- what only this API can do, what costs more, what is stored -------------------------------------------------------
NEEDS = {
    "store": ({"store": True}, [(STORED, "store")]),
    "an earlier response": ({"previous_response_id": "resp_1"}, [(STORED, "previous_response_id")]),
    "a conversation": ({"conversation": {"id": "conv_1"}}, [(STORED, "conversation")]),
    "a prompt": ({"prompt": {"id": "pmpt_1"}}, [(STORED, "prompt")]),
    "a response to compare": (
        {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
        [(STORED, "prompt_cache_options.comparison_response_id")],
    ),
    "an item by its id": ({"said": [USER, {"id": "msg_1"}]}, [(STORED, "input[1].id")]),
    "a named reference": ({"said": [USER, {"type": "item_reference", "id": "msg_1"}]}, [(STORED, "input[1].id")]),
    "an image by its id": (
        {"said": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
        [(STORED, "input[0].content[0].file_id")],
    ),
    "a screenshot by its id": (
        {"said": [USER, {"type": "computer_call_output", "call_id": "c", "output": {"file_id": "file-1"}}]},
        [(STORED, "input[1].output.file_id"), (UNKNOWN, "input[1].type")],
    ),
    "a search tool": ({"tools": [{"type": "web_search"}]}, [(LISTED, "tools[0].type")]),
    "files to search": (
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        [(LISTED, "tools[0].type"), (STORED, "tools[0].vector_store_ids")],
    ),
    "somebody's container": (
        {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        [(LISTED, "tools[0].type"), (STORED, "tools[0].container")],
    ),
    "a tool that nobody knows": ({"tools": [{"type": "teleport"}]}, [(LISTED, "tools[0].type")]),
    "a tool within a namespace": (
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp", "server_url": "https://a.example"}]}]},
        [(UNKNOWN, "tools[0].type"), (LISTED, "tools[0].tools[0].type")],
    ),
    "a tool within the input": (
        {"said": [USER, {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}]},
        [(LISTED, "input[1].tools[0].type"), (UNKNOWN, "input[1].type")],
    ),
    "a custom tool": ({"tools": [{"type": "custom", "name": "patch"}]}, [("custom_tool", "tools[0]")]),
    "a shell of the client's": (
        {"tools": [{"type": "shell", "environment": {"type": "local"}}]},
        [(UNKNOWN, "tools[0].type")],
    ),
    "a shell of the vendor's": (
        {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]},
        [(LISTED, "tools[0].type")],
    ),
    "a tool that is loaded later": (
        {"tools": [{"type": "function", "name": "f", "parameters": {}, "defer_loading": True}]},
        [(UNKNOWN, "tools[0].defer_loading")],
    ),
    "a price": ({"service_tier": "priority"}, [(LISTED, "service_tier")]),
    "few words": ({"text": {"verbosity": "low"}}, [("verbosity", "text.verbosity")]),
    "an object": ({"text": {"format": {"type": "json_object"}}}, [("json_object", "text.format")]),
    "a field of tomorrow's": ({"dream": True}, [(UNKNOWN, "dream")]),
    "one of reasoning's": ({"reasoning": {"mode": "pro"}}, [(UNKNOWN, "reasoning.mode")]),
    "sound": (
        {"said": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        [("audio", "input[0].content[0].input_audio")],
    ),
    "cut arguments": (
        {"said": [USER, CALL | {"arguments": '{"at'}, OUTPUT]},
        [(UNKNOWN, "input[1].arguments")],
    ),
    "a call from a program": (
        {"said": [USER, CALL | {"caller": {"type": "program", "caller_id": "p"}}, OUTPUT]},
        [(UNKNOWN, "input[1].caller")],
    ),
}


@pytest.mark.parametrize(("body", "needs"), NEEDS.values(), ids=NEEDS)
def test_needs_are_told_by_their_places(body, needs):
    assert sorted(needs_of(**body)) == sorted(needs)


def test_what_asks_for_nothing_and_what_only_saves_is_no_need():
    harmless = {
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "truncation": "disabled",
        "max_tool_calls": 3,
        "service_tier": "auto",
        "background": False,
        "previous_response_id": None,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "reasoning": {"summary": "auto", "effort": None},
        "stream_options": {"include_obfuscation": False},
        "top_logprobs": 0,
    }
    assert needs_of(**harmless) == []


def test_an_answer_that_is_fetched_later_is_refused_by_name():
    with pytest.raises(UnsupportedParameter) as caught:
        read(background=True)
    assert caught.value.param == "background"


@pytest.mark.parametrize(
    ("upstream", "refused"),
    [
        (PLAIN, "store"),
        (replace(PLAIN, allow_stored=True), ""),
        (replace(PLAIN, drop=frozenset({"store"})), ""),
    ],
)
def test_an_operator_says_whether_anything_is_stored(upstream, refused):
    request = replace(read(store=True), max_tokens=64)
    assert fields.refused(request, upstream, responses) == refused
    assert write(request, upstream)["store"] is upstream.allow_stored


def test_an_operator_lists_what_reaches_out():
    request = replace(read(tools=[{"type": "web_search"}]), max_tokens=64)
    assert fields.refused(request, PLAIN, responses) == "tools[0].type"
    assert fields.refused(request, replace(PLAIN, takes={"web_search": True}), responses) == ""


# --- what is wrong ----------------------------------------------------------------------------------------------------
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


# --- passed on --------------------------------------------------------------------------------------------------------
CODEX = {
    "instructions": "You are a coding agent.",
    "said": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it"}]},
        api.reasoning(proof="gAAAA"),
        api.message(api.text("I look."), phase="commentary"),
        CALL,
        OUTPUT,
    ],
    "tools": [
        {"type": "function", "name": "look", "description": "", "strict": False, "parameters": SCHEMA},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "019a-session",
    "text": {"verbosity": "low"},
}


def test_a_request_as_codex_sends_it_goes_on_as_it_is():
    sent = write(read(**CODEX), GPT, stream=True)
    body = {**CODEX, "input": CODEX["said"]}
    del body["said"]
    assert sent == body | {"model": "gpt-6-luna", "max_output_tokens": 64}


def test_nothing_is_ever_stored_unless_somebody_says_so():
    assert passed()["store"] is False
    assert write(ChatRequest((Message.of("user", "Hi"),)))["store"] is False


def test_what_is_sent_for_a_whole_answer_asks_for_no_stream():
    sent = passed(stream_options={"include_obfuscation": False})
    assert not {"stream", "stream_options"} & sent.keys()


def test_an_operators_effort_and_temperature_stand_in_for_none():
    upstream = replace(GPT, effort="none", temperature=0.7)
    assert passed(upstream=upstream)["temperature"] == 0.7
    assert passed(upstream=upstream, reasoning={"summary": "auto"})["reasoning"] == {
        "summary": "auto",
        "effort": "none",
    }
    assert passed(upstream=upstream, reasoning={"effort": "low"})["reasoning"] == {"effort": "low"}
    assert "temperature" not in passed(upstream=upstream, reasoning={"effort": "low"})
    assert passed(upstream=replace(PLAIN, drop=frozenset({"top_p"})), top_p=0.5).get("top_p") is None


def test_a_pseudonym_stands_in_the_place_of_the_clients_own():
    sent = write(replace(read(safety_identifier="own"), pseudonym="hmac"))
    assert sent["safety_identifier"] == "hmac"


def test_reasoning_that_only_a_store_would_have_is_left_out():
    bare = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    open_one = {
        "type": "reasoning",
        "id": "rs_2",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }
    request = read([USER, bare, open_one, api.message(api.text("Yes."))])
    assert write(request)["input"] == [USER, open_one, api.message(api.text("Yes."))]
    assert request.messages[1].parts == (Thinking("Hm."), Text("Yes."))


def test_without_its_thoughts_a_history_has_no_ids_by_which_they_are_missed():
    """Bug 25: an encrypted thought opens in its own organization alone."""
    body = {
        "model": "m",
        "input": [USER, api.reasoning(), api.message(api.text("Yes.")), api.call("look", "{}"), OUTPUT],
    }
    kept = responses.without_thoughts(body)["input"]
    assert [item.get("type") for item in kept] == [None, "message", "function_call", "function_call_output"]
    assert not any("id" in item for item in kept)
    assert "id" in body["input"][2]
    assert responses.without_thoughts({"input": "Hi"}) == {"input": "Hi"}


# --- translated -------------------------------------------------------------------------------------------------------
def test_a_chat_of_another_protocol():
    request = ChatRequest(
        (
            Message.of("system", "Be brief."),
            Message.of("system", "Be kind."),
            Message(
                "user", (Text("What is it?"), Image("image/png", PNG), Document("application/pdf", PDF, name="a.pdf"))
            ),
            Message("assistant", (Thinking("Hm.", "sig"), Text("Let me look."), Text(""), Call("toolu_1", "look", ""))),
            Message("user", (Result("toolu_1", (Text("clouds"), Image("image/png", PNG)), is_error=True), Text("So?"))),
            Message.of("system", "It is noon."),
            Message("assistant", (Refusal("I can't."),)),
            Message(
                "user", (Document("text/plain", text="words", name="b.txt"), Document(url="https://a.example/c.pdf"))
            ),
        ),
        tools=(Tool("look", "Look.", SCHEMA), Tool("now", strict=True)),
        choice=Choice("any", parallel=False, allowed=("look",)),
        format=Format(SCHEMA, strict=True),
        effort="low",
    )
    assert write(request, GPT, stream=True) == {
        "model": "gpt-6-luna",
        "max_output_tokens": 64,
        "store": False,
        "stream": True,
        "instructions": "Be brief.\n\nBe kind.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                ],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
            {"type": "function_call", "call_id": "toolu_1", "name": "look", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "toolu_1",
                "output": [
                    {"type": "input_text", "text": "Error: "},
                    {"type": "input_text", "text": "clouds"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                ],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "It is noon."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "I can't."}]},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "b.txt\nwords"},
                    {"type": "input_file", "file_url": "https://a.example/c.pdf"},
                ],
            },
        ],
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "output", "schema": SCHEMA, "strict": True}},
        "tools": [
            {"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA, "strict": False},
            {
                "type": "function",
                "name": "now",
                "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
                "strict": True,
            },
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
        "parallel_tool_calls": False,
    }


def test_an_error_of_a_tool_says_so_first():
    result = Result("c", (Text("no"), Text("way")), is_error=True)
    request = ChatRequest(
        (Message.of("user", "Hi"), Message("assistant", (Call("c", "f", "{}"),)), Message("user", (result,)))
    )
    assert write(request)["input"][-1]["output"] == "Error: no\nway"


@pytest.mark.parametrize("call_id", ["x" * 90, "functions.look:0", "ids with ümlauts"])
def test_ids_that_the_api_refuses_are_mended_alike(call_id):
    request = ChatRequest(
        (
            Message.of("user", "Hi"),
            Message("assistant", (Call(call_id, "f", "{}"),)),
            Message("user", (Result(call_id, (Text("yes"),)),)),
        )
    )
    call, result = write(request)["input"][1:]
    assert call["call_id"] == result["call_id"] != call_id
    assert len(call["call_id"]) <= 64
    assert call["call_id"].replace("_", "").replace("-", "").isalnum()


def test_few_words_are_carried():
    chat = {"model": "m", "messages": [USER], "verbosity": "low"}
    request = openai.read_request(chat, CATALOGUE, {}).request
    assert fields.refused(replace(request, max_tokens=64), GPT, responses) == ""
    assert write(request, GPT)["text"] == {"verbosity": "low"}


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"stop": ("x",)}, "stop"),
        ({"n": 2}, "n"),
        ({"messages": (Message.of("user", "Hi", "ada"),)}, "name"),
        ({"temperature": 0.5}, "temperature"),
        ({"temperature": 1}, ""),
        ({"temperature": 0.5, "effort": "none"}, ""),
        ({"max_tokens": 15}, "max_tokens"),
        ({"max_tokens": 16}, ""),
        ({"tools": (Tool("f", parameters={"type": "object", "properties": {"a": {}}}, strict=True),)}, "tools"),
        ({"tools": (Tool("f", parameters={"type": "object", "properties": {"a": {}}}),), "effort": "high"}, ""),
        ({"format": Format({"type": "object"}, strict=True)}, "format"),
        ({"format": Format({"type": "object"}, strict=False)}, ""),
        ({"format": Format(None)}, ""),
        ({"needs": (Need(UNKNOWN, "seed", "seed", 1),)}, "seed"),
    ],
)
def test_what_it_cannot_do_for_others_skips_the_route(changes, refused):
    request = replace(ChatRequest((Message.of("user", "Hi"),), 64), **changes)
    assert fields.refused(request, GPT, responses) == refused


def test_a_model_that_always_thinks_cannot_be_told_not_to():
    request = ChatRequest((Message.of("user", "Hi"),), 64, effort="none")
    assert fields.refused(request, Upstream("gpt-6.1-sol"), responses) == "effort"
    assert "reasoning" not in write(request, Upstream("gpt-4.1-mini"))


def test_prompts_cost_what_nobody_here_reads():
    request = read([USER, api.reasoning(proof="x" * 4000), {"type": "compaction", "encrypted_content": "y" * 400}])
    assert responses.prompt_tokens(request, GPT, 10) > 10 + 1000 + 100
    assert responses.prompt_tokens(ChatRequest((Message.of("user", "Hi"),)), GPT, 10) == 10


# --- written and read again -------------------------------------------------------------------------------------------
WORDS = st.text(min_size=1, max_size=30).filter(str.strip)
ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2).map(json.dumps)
IMAGES = st.one_of(
    st.binary(max_size=9).map(lambda data: Image("image/png", base64.b64encode(data).decode(), detail="high")),
    st.just(Image(url="https://a.example/b.png", detail="low")),
)
FILES = st.just(Document("application/pdf", PDF, name="a.pdf")) | st.just(Document(url="https://a.example/b.pdf"))
SAID = st.lists(st.builds(Text, WORDS) | IMAGES | FILES, min_size=1, max_size=3).map(tuple)
OUTPUTS = st.builds(Text, WORDS).map(lambda said: (said,)) | st.tuples(
    IMAGES, st.builds(Text, WORDS)
)  # texts are joined
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


@st.composite
def conversations(draw):
    """Turns as a client of any protocol has them."""
    messages = [Message.of("system", draw(WORDS))] if draw(st.booleans()) else []
    messages.append(Message("user", draw(SAID)))
    for turn in range(draw(st.integers(0, 3))):
        calls = tuple(
            Call(f"call_{turn}_{number}", draw(NAMES), draw(ARGUMENTS)) for number in range(draw(st.integers(0, 2)))
        )
        words = (Text(draw(WORDS)),) if draw(st.booleans()) or not calls else ()
        messages.append(Message("assistant", words + calls))
        results = tuple(Result(call.id, draw(OUTPUTS)) for call in calls)
        messages += [Message("user", results)] if results else []
        messages.append(Message("user", draw(SAID)))
    return tuple(messages)


TOOLS = st.lists(
    st.builds(Tool, NAMES, st.just("") | WORDS, st.just(SCHEMA), st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)


@settings(deadline=None, max_examples=50)
@given(conversations(), TOOLS, st.sampled_from([None, Format(None), Format(SCHEMA, "answer", True)]), st.data())
def test_a_chat_that_was_written_reads_the_same(messages, tools, form, data):
    choices = [None, *([Choice("any", parallel=True), Choice("tool", tools[0].name), Choice("none")] if tools else [])]
    request = ChatRequest(messages, tools=tools, choice=data.draw(st.sampled_from(choices)), format=form, effort="high")
    sent = json.loads(json.dumps(write(request, GPT)))
    again = responses.read_request(sent | {"model": "m"}, CATALOGUE, {}).request
    assert again.messages == request.messages
    assert (again.tools, again.choice, again.format, again.effort) == (tools, request.choice, form, "high")
    assert {need.kind for need in again.needs} <= responses.CARRIES
    # And what a client of this API sent goes on as it is.
    assert write(again, GPT) == sent


def test_parts_of_the_vendors_own_are_nobody_elses():
    opaque = Opaque("responses", {"type": "input_audio"})
    request = ChatRequest((Message("user", (Text("Hi"), opaque)),), raw=Raw("anthropic", {}))
    assert write(request)["input"][0]["content"] == [{"type": "input_text", "text": "Hi"}]
