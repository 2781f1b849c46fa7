"""Requests of Anthropic's Messages API: read from its clients."""

from __future__ import annotations

import pytest

from chat.exceptions import InvalidMessageFormatError, ModelNotFoundError, UnsupportedParameter, ValidationError
from chat.protocols import anthropic
from chat.types import (
    HINT,
    LISTED,
    STORED,
    UNKNOWN,
    Call,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Result,
    Text,
    Thinking,
    Tool,
)
from tests.support import messages as api


def read(*content, **body):
    return api.wish_of(*content, **body).request


def parts_of(*content):
    (message,) = read(*content).messages
    return message.parts


def needs_of(*content, **body):
    return [(need.kind, need.path) for need in read(*content, **body).needs]


# --- read -------------------------------------------------------------------------------------------------------------
def test_what_a_client_wants():
    wish = api.wish_of(max_tokens=50, temperature=0.5, top_p=0.5, stop_sequences=["x"], stream=True, system="Be brief.")
    request = wish.request
    assert (wish.most_tokens, wish.max_tokens, wish.stream) == (50, None, True)
    assert (request.temperature, request.top_p, request.stop) == (0.5, 0.5, ("x",))
    assert request.messages == (Message.of("system", "Be brief."), Message.of("user", "Hi"))
    assert request.raw.protocol == "anthropic"


def test_a_system_prompt_of_blocks_is_one_text():
    system = [api.text("Be brief.", cache_control={"type": "ephemeral"}), api.text(""), api.text("Be kind.")]
    assert read(system=system).messages[0] == Message.of("system", "Be brief.\n\nBe kind.")
    within = [api.USER, {"role": "system", "content": system}]
    assert read(messages=within).messages[1] == Message.of("system", "Be brief.\n\nBe kind.")


def test_the_blocks_of_a_user():
    url = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    page = {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}
    assert parts_of(api.text("a"), api.IMAGE, url, api.PAPER, api.NOTE, page) == (
        Text("a"),
        Image("image/png", api.PNG),
        Image(url="https://x.example/a.png"),
        Document("application/pdf", api.PDF, name="P"),
        Document("text/plain", text="a note"),
        Document(url="https://x.example/a.pdf"),
    )
    kinds = ["image_base64", "image_url", "document_pdf", "document_text", "document_url"]
    assert needs_of(api.text("a"), api.IMAGE, url, api.PAPER, api.NOTE, page) == [
        (kind, f"messages[0].content[{number}].source") for number, kind in enumerate(kinds, 1)
    ]


def test_calls_and_their_results():
    said = [api.thinking("hm"), api.text("So."), api.call("look", at="sky"), api.call("go", 2)]
    answered = [api.result("blue"), api.result([api.text("no"), api.IMAGE], 2, is_error=True), api.text("And?")]
    user, assistant, results = read(messages=api.talk("Hi", said, answered)).messages
    assert assistant.parts == (
        Thinking("hm", "EqQB-proof"),
        Text("So."),
        Call("toolu_0001", "look", '{"at":"sky"}'),
        Call("toolu_0002", "go", "{}"),
    )
    assert results.parts == (
        Result("toolu_0001", (Text("blue"),)),
        Result("toolu_0002", (Text("no"), Image("image/png", api.PNG)), True),
        Text("And?"),
    )
    assert needs_of(messages=api.talk("Hi", said, answered)) == [
        ("image_base64", "messages[2].content[1].content[1].source"),
        ("image_in_result", "messages[2].content[1].content"),
    ]


def test_tools_and_which_may_be_called():
    request = read(
        tools=[api.LOOK, {"type": "custom", "name": "go", "input_schema": {"type": "object"}, "strict": True}],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    )
    assert request.tools == (Tool("look", "Look at it.", api.SCHEMA), Tool("go", "", {"type": "object"}, True))
    assert request.choice == Choice("tool", "look", False)
    for mode in ("auto", "any", "none"):
        assert read(tools=[api.LOOK], tool_choice={"type": mode}).choice == Choice(mode)
    assert not request.needs


@pytest.mark.parametrize(
    ("body", "effort"),
    [
        ({}, ""),
        ({"thinking": {"type": "adaptive"}}, ""),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "xhigh"}}, "xhigh"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}, "output_config": {"effort": "low"}}, "low"),
    ],
)
def test_how_much_to_think(body, effort):
    assert (read(**body).effort, needs_of(**body)) == (effort, [])


def test_the_format_of_an_answer():
    request = read(output_config={"format": {"type": "json_schema", "schema": api.SCHEMA}})
    assert (request.format, request.needs) == (Format(api.SCHEMA, "output", True), ())


NO_NEEDS = [
    {"cache_control": api.CACHE, "diagnostics": {"previous_message_id": None}, "metadata": {"user_id": "x"}},
    {"service_tier": "auto", "speed": "standard", "mcp_servers": [], "betas": []},
    {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}},
    {"tools": [api.LOOK | {"cache_control": api.CACHE, "eager_input_streaming": True, "input_examples": [{}]}]},
    {"tools": [api.LOOK | {"defer_loading": False, "allowed_callers": ["direct"]}]},
    {"messages": [{"role": "user", "content": [api.text("a", cache_control=api.CACHE, citations=[])]}]},
    {"messages": [*api.talk("Hi", [api.call("look") | {"caller": {"type": "direct"}}], [api.result("x")])]},
    {"messages": [*api.talk("Hi", [api.redacted(), api.text("a")]), api.USER]},
]


@pytest.mark.parametrize("body", NO_NEEDS, ids=str)
def test_what_every_route_can_do_or_do_without(body):
    assert [need for need in needs_of(**body) if need[0] != HINT] == []


def block(block, *where):
    """A user's message with a block, and what it needs there."""
    return {"messages": api.talk([block])}, [(kind, f"messages[0].content[0]{path}") for kind, path in where]


CROPPED = {"type": "base64", "media_type": "image/png", "data": api.PNG, "crop": 1}
DEFINITION = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": api.SEARCH}}
NEEDS = [
    block({"type": "search_result", "source": "x", "title": "x", "content": []}, (UNKNOWN, ".type")),
    block(api.FILE, (UNKNOWN, ".type"), (STORED, ".source.file_id")),
    block({"type": "container_upload", "file_id": "file_1"}, (UNKNOWN, ".type"), (STORED, ".file_id")),
    block(api.NOTE | {"citations": {"enabled": True}}, (UNKNOWN, ".citations"), ("document_text", ".source")),
    block({"type": "image", "source": CROPPED}, (UNKNOWN, ".source.crop"), ("image_base64", ".source")),
    block(api.NOTE | {"context": "c"}, (UNKNOWN, ".context"), ("document_text", ".source")),
    block(api.text("a", citations=[{"type": "char_location"}]), (UNKNOWN, ".citations")),
    block({"type": "smell"}, (UNKNOWN, ".type")),
    (
        {"messages": api.talk("Hi", [api.call("look")], [api.result([api.REFERENCE])])},
        [(UNKNOWN, "messages[2].content[0].content[0].type")],
    ),
    (
        {"messages": [api.USER, {"role": "system", "content": [DEFINITION]}]},
        [(UNKNOWN, "messages[1].content[0].type"), (LISTED, "messages[1].content[0].tool.definition.type")],
    ),
    (
        {"messages": [api.USER, {"role": "system", "content": "x", "clear_at": "never"}]},
        [(UNKNOWN, "messages[1].clear_at")],
    ),
    (
        {"messages": [*api.talk("Hi", [api.IMAGE, api.NOTE]), api.USER]},
        [
            *(("image_base64", "messages[1].content[0].source"), ("document_text", "messages[1].content[1].source")),
            *((UNKNOWN, f"messages[1].content[{number}]") for number in range(2)),
        ],
    ),
    ({"messages": [*api.talk([api.call("look")])]}, [(UNKNOWN, "messages[0].content[0]")]),
    (
        {"messages": [api.USER | {"attached": {"file_id": "x"}}]},
        [(UNKNOWN, "messages[0].attached"), (STORED, "messages[0].attached.file_id")],
    ),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, [("client_tool", "tools[0].type")]),
    ({"tools": [{"type": "text_editor_20250728", "name": "e"}]}, [("client_tool", "tools[0].type")]),
    ({"tools": [{"type": "computer_toolset_20260801"}]}, [("client_tool", "tools[0].type")]),
    ({"tools": [api.SEARCH]}, [(LISTED, "tools[0].type")]),
    ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, [(LISTED, "tools[0].type")]),
    ({"tools": [{"type": "brand_new", "name": "x"}]}, [(LISTED, "tools[0].type")]),
    ({"tools": [{"type": ["x"]}]}, [(LISTED, "tools[0].type")]),
    ({"tools": [api.LOOK | {"defer_loading": True}]}, [(UNKNOWN, "tools[0].defer_loading")]),
    ({"tools": [api.LOOK | {"allowed_callers": ["code_execution"]}]}, [(UNKNOWN, "tools[0].allowed_callers")]),
    ({"thinking": {"type": "between_tools"}}, [(UNKNOWN, "thinking.type")]),
    ({"output_config": {"effort": "ultra"}}, [(UNKNOWN, "output_config.effort")]),
    ({"output_config": {"format": {"type": "regex"}}}, [(UNKNOWN, "output_config.format")]),
    ({"output_config": {"task_budget": {"total": 1}}}, [(UNKNOWN, "output_config.task_budget")]),
    (
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        [(UNKNOWN, "context_management.edits[0].type")],
    ),
    ({"compaction": {"type": "summarize"}}, [(UNKNOWN, "compaction")]),
    ({"top_k": 5}, [(UNKNOWN, "top_k")]),
    ({"max_tokens": 0}, [(UNKNOWN, "max_tokens")]),
    ({"container": "container_1"}, [(STORED, "container")]),
    ({"container": {"id": None, "skills": []}}, [(LISTED, "container")]),
    ({"container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]}}, [(LISTED, "container")]),
    (
        {"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}},
        [(STORED, "container.skills[0]"), (LISTED, "container")],
    ),
    *[({name: "x"}, [(LISTED, name)]) for name in ("inference_geo", "billing_policy", "fallbacks", "mcp_servers")],
    *[({name: "x"}, [(LISTED, name)]) for name in ("user_profile_id", "workspace_id")],
    ({"fallback_credit_token": {"token": "x"}}, [(STORED, "fallback_credit_token")]),
    ({"service_tier": "priority"}, [(LISTED, "service_tier")]),
    ({"speed": "fast"}, [(LISTED, "speed")]),
    ({"brand_new": 1}, [(UNKNOWN, "brand_new")]),
    ({"brand_new": [{"file_id": "x"}]}, [(UNKNOWN, "brand_new"), (STORED, "brand_new[0].file_id")]),
    ({"metadata": {"team": "x"}}, [(UNKNOWN, "metadata.team")]),
]


@pytest.mark.parametrize(("body", "needs"), NEEDS, ids=str)
def test_what_not_every_route_can_do(body, needs):
    assert needs_of(**body) == needs


def test_what_stays_with_the_vendor_is_refused_with_the_word_that_its_package_knows():
    with pytest.raises(UnsupportedParameter) as caught:
        read(thread={"type": "create"})
    assert caught.value.param == "thread"
    assert read(thread=None)


@pytest.mark.parametrize(
    ("field", "turns"),
    [
        ("messages[0].role", [{"role": "robot", "content": "Hi"}]),
        ("messages[0].role", [{"role": ["user"], "content": "Hi"}]),
        ("messages[0].content", [{"role": "user", "content": " "}]),
        ("messages[0].content", [{"role": "user", "content": None}]),
        ("messages[0].content[0]", api.talk([5])),
        ("messages[0].content[0]", api.talk([{"text": "Hi"}])),
        ("messages[0].content[0].text", api.talk([{"type": "text"}])),
        ("messages[0].content[0].source", api.talk([{"type": "image"}])),
        (
            "messages[0].content[0].source.data",
            api.talk([{"type": "image", "source": {"type": "base64", "media_type": "x"}}]),
        ),
        ("messages[1].content[0].input", api.talk("Hi", [api.call("look") | {"input": "x"}])),
        ("messages[1]", api.talk("Hi", [api.call("look")])),
        ("messages[0]", api.talk([api.result("x")])),
        ("messages[2]", api.talk("Hi", [api.call("look"), api.call("go", 2)], [api.result("x", 3)])),
    ],
)
def test_a_message_that_is_wrong_is_pointed_at(field, turns):
    with pytest.raises(InvalidMessageFormatError) as caught:
        read(messages=turns)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("max_tokens", {"max_tokens": -1}),
        ("tools", {"tools": {}}),
        ("tools[0].name", {"tools": [{"input_schema": {}}]}),
        ("tools[0].input_schema", {"tools": [{"name": "x"}]}),
        ("tools[0].strict", {"tools": [api.LOOK | {"strict": "x"}]}),
        ("tool_choice", {"tool_choice": {"type": "tool"}}),
        ("tool_choice", {"tool_choice": {"type": ["x"]}}),
        ("thinking", {"thinking": "x"}),
        ("output_config", {"output_config": "x"}),
        ("output_config.format", {"output_config": {"format": "x"}}),
        ("context_management", {"context_management": "x"}),
    ],
)
def test_a_field_that_is_wrong_is_named(field, body):
    with pytest.raises(ValidationError) as caught:
        read(**body)
    assert list(caught.value.fields) == [field]


def test_the_model_comes_first():
    with pytest.raises(ModelNotFoundError):
        anthropic.read_request({"model": "x", "messages": [], "thread": {}}, api.CATALOGUE, {})
