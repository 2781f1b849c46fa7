"""A talk in another protocol as Anthropic's servers take it: its turns, and the ids and names in them."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chat.protocols import anthropic
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
    compact,
)
from tests.support import messages as api
from tests.support.translated import HAIKU, SONNET_4_6, asked_by_openais, said, write


def turns(*messages):
    return write(*messages)["messages"]


def user(*parts):
    return Message("user", parts)


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
