"""A chat of another protocol as Anthropic's servers take it: what is mended, and what a route cannot do."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocols import anthropic, fields, openai
from chat.types import (
    Call,
    ChatRequest,
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
    Upstream,
    compact,
)
from tests.support import messages as api

HAIKU, OPUS = Upstream("claude-haiku-5-5"), Upstream("claude-opus-5-5")
SONNET_4_6, HAIKU_4_5, PLAIN = Upstream("claude-sonnet-4-6"), Upstream("claude-haiku-4-5"), Upstream("some-model")
LOOK = Tool("look", "Look at it.", api.SCHEMA)


def write(*messages, upstream=HAIKU, **fields_):
    request = ChatRequest(messages or (Message.of("user", "Hi"),), 64, **fields_)
    return anthropic.write_request(request, upstream, host="api.anthropic.com", stream=False)


def turns(*messages):
    return write(*messages)["messages"]


def user(*parts):
    return Message("user", parts)


def said(*parts):
    return Message("assistant", parts)


def asked_by_openais(**body):
    """What a client of OpenAI's wants."""
    given = {"model": "m", "messages": [api.USER], **body}
    return replace(openai.read_request(given, api.CATALOGUE, {}).request, max_tokens=64)


def objection(upstream=HAIKU, **body):
    return fields.refused(asked_by_openais(**body), upstream, anthropic)


def call_of(name, number=1, arguments="{}"):
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


# --- turns ------------------------------------------------------------------------------------------------------------
def test_the_results_of_parallel_calls_stand_first_in_the_one_next_turn():
    """Bug 15."""
    talk = [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call_of("look", 1, '{"at": "sky"}'), call_of("go", 2, "")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {"role": "user", "content": "And?"},
    ]
    request = asked_by_openais(messages=talk)
    assert anthropic.write_request(request, HAIKU, host="x", stream=False)["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sky"}},
                {"type": "tool_use", "id": "call_2", "name": "go", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "blue"},
                {"type": "tool_result", "tool_use_id": "call_2"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_a_result_is_put_before_what_stands_before_it():
    (*_, last) = turns(
        user(Text("Hi")), said(Call("a", "look", "")), user(Text("So:"), Result("a", (Text("x"),), True))
    )
    assert [block["type"] for block in last["content"]] == ["tool_result", "text"]
    assert last["content"][0] == {"type": "tool_result", "tool_use_id": "a", "content": "x", "is_error": True}


def test_what_says_nothing_is_left_out():
    """Bug 14: an empty text beside calls is refused, and so is a blank one."""
    found = turns(user(Text(" "), Text("Hi")), said(Text(""), Call("a", "look", "{}")), user(Result("a", (Text(""),))))
    assert found[0] == {"role": "user", "content": "Hi"}
    assert [block["type"] for block in found[1]["content"]] == ["tool_use"]
    assert found[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]
    assert turns(said(Text(" ")), user(Text("Hi")), said(Text("So \n"))) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "So"},
    ]


def test_thoughts_are_never_told_to_another():
    assert turns(user(Text("Hi")), said(Thinking("hm", "proof"), Text("So.")), user(Text("Go on"))) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Go on"},
    ]


def test_a_refusal_is_a_text():
    assert turns(user(Text("Hi")), said(Refusal("No.")), user(Text("Why?")))[1]["content"] == "No."


def test_system_texts_are_joined():
    body = write(
        Message.of("system", "Be brief."), user(Text("Hi")), Message.of("system", " "), Message.of("system", "!")
    )
    assert (body["system"], body["messages"]) == ("Be brief.\n\n!", [api.USER])


def test_images_and_documents_also_in_results():
    """Bug 16: an image is one, and not the text of its base64."""
    image, paper = Image("image/png", api.PNG), Document("application/pdf", api.PDF, name="P")
    url, note = Image(url="https://x.example/a.png", detail="high"), Document("text/plain", text="a note")
    assert turns(user(image, paper, url, note))[0]["content"] == [
        api.IMAGE,
        api.PAPER,
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        api.NOTE,
    ]
    last = turns(user(Text("Hi")), said(Call("a", "look", "{}")), user(Result("a", (Text("See:"), image))))[-1]
    assert last["content"][0]["content"] == [{"type": "text", "text": "See:"}, api.IMAGE]
    assert turns(user(Image("image/jpg", "x")))[0]["content"][0]["source"]["media_type"] == "image/jpeg"


# --- ids and names ----------------------------------------------------------------------------------------------------
def test_an_id_outside_the_apis_characters_is_made_fit_on_both_sides():
    """Bug 10."""
    _, call, result = turns(
        user(Text("Hi")), said(Call("call:1.a", "look", "{}")), user(Result("call:1.a", (Text("x"),)))
    )
    written = call["content"][0]["id"]
    assert re.fullmatch(r"call_1_a_[0-9a-f]{8}", written)
    assert result["content"][0]["tool_use_id"] == written


def test_an_id_that_a_server_gives_again_is_another():
    round_ = (said(Call("0", "look", "{}")), user(Result("0", (Text("x"),))))
    found = turns(user(Text("Hi")), *round_, *round_, *round_)
    calls = [turn["content"][0]["id"] for turn in found if turn["role"] == "assistant"]
    results = [turn["content"][0]["tool_use_id"] for turn in found[2:] if turn["role"] == "user"]
    assert calls == results == ["0", "0_2", "0_3"]


def test_a_name_that_is_too_long_is_the_same_everywhere():
    """Bug 9; a name that the API takes is left alone."""
    long, fit = "mcp__" + "weather_" * 20, "x" * 128
    tools = (Tool(long), Tool(fit))
    talk = user(Text("Hi")), said(Call("a", long, "{}")), user(Result("a", (Text("x"),)))
    body = write(*talk, tools=tools, choice=Choice("tool", long))
    written = body["tools"][0]["name"]
    assert (len(written), written[:119]) == (128, long[:119])
    assert body["tool_choice"]["name"] == body["messages"][1]["content"][0]["name"] == written
    assert body["tools"][1]["name"] == fit


# --- tools and formats ------------------------------------------------------------------------------------------------
def test_tools():
    body = write(tools=(LOOK, Tool("go"), Tool("see", "", api.SCHEMA, True), Tool("hear", "", {"properties": {}})))
    assert body["tools"] == [
        {"name": "look", "description": "Look at it.", "input_schema": api.SCHEMA},
        {"name": "go", "input_schema": {"type": "object", "properties": {}}},
        {"name": "see", "input_schema": api.SCHEMA, "strict": True},
        {"name": "hear", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert "tool_choice" not in body
    assert "tool_choice" not in write(choice=Choice("any"))


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (Choice("auto"), {"type": "auto"}),
        (Choice("none"), {"type": "none"}),
        (Choice("any"), {"type": "any"}),
        (Choice("tool", "look"), {"type": "tool", "name": "look"}),
        (Choice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (Choice("tool", "look", False), {"type": "tool", "name": "look", "disable_parallel_tool_use": True}),
        (Choice("none", parallel=False), {"type": "none"}),
        (Choice("auto", parallel=True), {"type": "auto"}),
    ],
)
def test_which_tools_may_be_called(choice, written):
    assert write(tools=(LOOK,), choice=choice)["tool_choice"] == written


def test_only_the_allowed_tools_are_sent():
    body = write(tools=(LOOK, Tool("go")), choice=Choice("any", allowed=("go",)))
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["go"], {"type": "any"})


def test_a_format_is_the_apis_own_and_no_forced_tool():
    """Bug 6."""
    body = write(format=Format(api.SCHEMA, "output", True), effort="high")
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": api.SCHEMA}, "effort": "high"}
    assert body["thinking"] == {"type": "adaptive"}
    assert not {"tools", "tool_choice"} & body.keys()


def test_the_words_about_a_format_stand_in_its_schema():
    said = write(format=Format(api.SCHEMA, "place", True, "Where it is."))["output_config"]["format"]["schema"]
    assert said == api.SCHEMA | {"description": "Where it is."}
    own = api.SCHEMA | {"description": "A place."}
    assert write(format=Format(own, "place", True, "Where it is."))["output_config"]["format"]["schema"] == own


# --- thinking ---------------------------------------------------------------------------------------------------------
def thinks(effort, upstream=HAIKU, **more):
    body = write(upstream=upstream, effort=effort, **more)
    return {name: body[name] for name in ("thinking", "output_config") if name in body}


def test_effort():
    for ours, theirs in (("minimal", "low"), ("low", "low"), ("xhigh", "xhigh"), ("max", "max")):
        assert thinks(ours) == {"output_config": {"effort": theirs}, "thinking": {"type": "adaptive"}}
    assert thinks("none") == {"thinking": {"type": "disabled"}}
    assert thinks("") == {}
    assert thinks("high", PLAIN) == {}
    assert thinks("", Upstream("claude-haiku-5-5", effort="low")) == {"output_config": {"effort": "low"}}


def test_no_thinking_is_asked_for_beside_a_forced_call():
    for choice in (Choice("any"), Choice("tool", "look")):
        assert thinks("high", tools=(LOOK,), choice=choice) == {"output_config": {"effort": "high"}}


# --- what a route cannot do -------------------------------------------------------------------------------------------
JSON = {"type": "json_schema", "json_schema": {"name": "x", "schema": api.SCHEMA}}
LOOSE = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def tool(**more):
    return {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, **more}}


@pytest.mark.parametrize(
    ("upstream", "body", "refused"),
    [
        (HAIKU, {}, ""),
        (HAIKU, {"temperature": 0.5}, "temperature"),
        (HAIKU, {"temperature": 1}, ""),
        (HAIKU_4_5, {"temperature": 0.5}, ""),
        (HAIKU_4_5, {"temperature": 1.5}, "temperature"),
        (SONNET_4_6, {"temperature": 0.5, "reasoning_effort": "low"}, "temperature"),
        (HAIKU, {"reasoning_effort": "low"}, ""),
        (HAIKU_4_5, {"reasoning_effort": "low"}, "effort"),
        (HAIKU_4_5, {"reasoning_effort": "none"}, ""),
        (OPUS, {"reasoning_effort": "none"}, "effort"),
        (PLAIN, {"reasoning_effort": "low"}, ""),
        (HAIKU, {"n": 2}, "n"),
        (HAIKU, {"stop": ["a", " "]}, "stop"),
        (HAIKU, {"stop": list("abcd")}, ""),
        (HAIKU, {"seed": 1}, "seed"),
        (HAIKU, {"logprobs": True}, "logprobs"),
        (HAIKU, {"verbosity": "low"}, "verbosity"),
        (HAIKU, {"verbosity": "medium", "user": "x", "metadata": {}, "store": False}, ""),
        (HAIKU, {"service_tier": "flex"}, "service_tier"),
        (HAIKU, {"response_format": {"type": "json_object"}}, "format"),
        (HAIKU, {"response_format": JSON}, ""),
        (HAIKU, {"response_format": LOOSE}, "format"),
        (HAIKU, {"tools": [tool()], "tool_choice": "required", "parallel_tool_calls": False}, ""),
        (OPUS, {"tools": [tool()], "tool_choice": "auto"}, ""),
        (OPUS, {"tools": [tool()], "tool_choice": "required"}, "choice"),
        (HAIKU, {"tools": [tool(strict=True)]}, "tools"),
        (HAIKU, {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        (HAIKU, {"messages": [{"role": "user", "name": "Ann", "content": "Hi"}]}, "name"),
    ],
)
def test_what_stands_against_a_route(upstream, body, refused):
    assert objection(upstream, **body) == refused


def test_what_an_operator_says_that_a_server_takes_goes_on():
    upstream = replace(PLAIN, takes={"seed": True})
    request = asked_by_openais(seed=7)
    assert fields.refused(request, upstream, anthropic) == ""
    assert anthropic.write_request(request, upstream, host="x", stream=False)["seed"] == 7


# --- there and back ---------------------------------------------------------------------------------------------------
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(
    lambda words: words == words.strip() != ""
)
TEXT = st.builds(Text, WORDS)
IMAGE = st.sampled_from([Image("image/png", api.PNG), Image(url="https://x.example/a.png")])
PAPER = st.sampled_from(
    [
        Document("application/pdf", api.PDF, name="P"),
        Document("text/plain", text="a note"),
        Document(url="https://x.example/a.pdf", name="Q"),
    ]
)
GIVEN = st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | WORDS, max_size=3).map(compact)


@st.composite
def conversations(draw):
    """Messages as other formats make them, of which none says nothing."""
    messages = draw(st.lists(st.builds(Message.of, st.just("system"), WORDS), max_size=1))
    messages.append(user(*draw(st.lists(TEXT | IMAGE | PAPER, min_size=1, max_size=3))))
    for number in range(draw(st.integers(0, 3))):
        calls = [Call(f"call_{number}_{n}", "look", draw(GIVEN)) for n in range(draw(st.integers(0, 2)))]
        messages.append(said(*draw(st.lists(TEXT, min_size=not calls, max_size=1)), *calls))
        inner = st.lists(TEXT | IMAGE | PAPER, max_size=2).map(tuple)
        results = [Result(call.id, draw(inner), draw(st.booleans())) for call in calls]
        messages.append(user(*results, *draw(st.lists(TEXT, min_size=not calls, max_size=1))))
    return tuple(messages)


@given(
    conversations(),
    st.lists(st.builds(Tool, st.sampled_from("abc"), WORDS, st.just(api.SCHEMA), st.sampled_from([None, True]))),
    st.sampled_from([Choice("auto"), Choice("none"), Choice("any"), Choice("tool", "a", False)]),
    st.sampled_from(["", "none", "low", "max"]),
    st.sampled_from([None, Format(api.SCHEMA, strict=True)]),
    st.lists(WORDS, max_size=3).map(tuple),
)
def test_what_was_written_is_read_as_the_same(messages, tools, choice, effort, form, stop):
    request = ChatRequest(
        messages, 64, tools=tuple(tools), choice=choice if tools else None, effort=effort, format=form, stop=stop
    )
    body = anthropic.write_request(request, SONNET_4_6, host="x", stream=False)
    found = anthropic.read_request(body | {"model": "m"}, api.CATALOGUE, {})
    assert found.most_tokens == 64
    assert replace(found.request, needs=(), raw=None, max_tokens=64) == request
    assert all(need.kind in anthropic.CARRIES for need in found.request.needs)
