"""Requests to servers of OpenAI's Responses API: those of its own clients, and those of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.protocols import fields, openai, responses
from chat.types import (
    UNKNOWN,
    Call,
    ChatRequest,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Need,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    Upstream,
)
from tests.support import responses as api
from tests.support.responses import (
    CALL,
    CATALOGUE,
    GPT,
    OUTPUT,
    PDF,
    PLAIN,
    PNG,
    SCHEMA,
    USER,
    passed,
    read,
    write,
)

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
    said = api.message(api.text("Yes."))
    request = read([USER, bare, open_one, said])
    assert write(request)["input"] == [USER, open_one, {name: said[name] for name in said if name != "id"}]
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
