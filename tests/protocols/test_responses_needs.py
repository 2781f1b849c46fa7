"""What only the Responses API can do, what costs more, and what is stored: told by its place in a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.exceptions import UnsupportedParameter
from chat.protocols import fields, responses
from chat.types import (
    LISTED,
    STORED,
    UNKNOWN,
)
from tests.support import responses as api
from tests.support.responses import (
    CALL,
    OUTPUT,
    PLAIN,
    USER,
    needs_of,
    read,
    write,
)

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
    "an image of an earlier answer": (
        {"said": [USER, {"type": "image_generation_call", "id": "ig_1"}]},
        [(STORED, "input[1].id")],
    ),
    "an image that comes along": (
        {"said": [USER, {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"}]},
        [(UNKNOWN, "input[1].type")],
    ),
    "a file that an answer speaks of": (
        {"said": [USER, {"role": "assistant", "content": [{**api.text("a"), "annotations": [{"file_id": "file-1"}]}]}]},
        [(STORED, "input[1].content[0].annotations[0].file_id")],
    ),
    "an image that nobody else has a place for": (
        {"said": [{"role": "developer", "content": [{"type": "input_image", "image_url": "https://a.example"}]}, USER]},
        [(UNKNOWN, "input[0].content[0]"), ("image_url", "input[0].content[0].image_url")],
    ),
    "a file beside a message": (
        {"said": [USER | {"attached": [{"file_id": "file-1"}]}]},
        [(STORED, "input[0].attached[0].file_id"), (UNKNOWN, "input[0].attached")],
    ),
    "a part with something of tomorrow's": (
        {"said": [{"role": "user", "content": [{"type": "input_text", "text": "a", "mood": "good"}]}]},
        [(UNKNOWN, "input[0].content[0].mood")],
    ),
    "somebody's skill": (
        {"tools": [{"type": "shell", "environment": {"type": "container_auto", "skills": [{"skill_id": "skill_1"}]}}]},
        [(LISTED, "tools[0].type"), (STORED, "tools[0].environment.skills[0].skill_id")],
    ),
    "a tunnel into our network": (
        {"tools": [{"type": "mcp", "server_label": "a", "tunnel_id": "tunnel_1"}]},
        [(LISTED, "tools[0].type"), (STORED, "tools[0].tunnel_id")],
    ),
    "no answer at all": (
        {"prompt_cache_options": {"mode": "explicit", "prewarm": True}},
        [(UNKNOWN, "prompt_cache_options.prewarm")],
    ),
    "numbers for each token": ({"include": ["message.output_text.logprobs"]}, [(UNKNOWN, "include")]),
    "a shorter history": (
        {"context_management": [{"type": "compaction", "compact_threshold": 9}]},
        [(UNKNOWN, "context_management")],
    ),
    "a history that was shortened": (
        {"said": [{"type": "compaction", "encrypted_content": "x"}, USER, {"type": "compaction_trigger"}]},
        [(UNKNOWN, "input[0].type"), (UNKNOWN, "input[2].type")],
    ),
    "some of the tools, and none of them": (
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        [(UNKNOWN, "tool_choice.tools")],
    ),
    "some of the tools, one of them the vendor's": (
        {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]}},
        [(UNKNOWN, "tool_choice.tools")],
    ),
    "a format with something of tomorrow's": (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "mood": "good"}}},
        [(UNKNOWN, "text.format.mood")],
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
    "one of reasoning's": ({"reasoning": {"context": "all_turns"}}, [(UNKNOWN, "reasoning.context")]),
    "a dearer way to think": ({"reasoning": {"mode": "pro"}}, [(LISTED, "reasoning.mode")]),
    "a right of our organization's": ({"access_programs": {"cyber": "x"}}, [(LISTED, "access_programs")]),
    "a file in a field of tomorrow's": (
        {"dream": [{"of": {"file_ids": ["file-1"]}}]},
        [(STORED, "dream[0].of.file_ids"), (UNKNOWN, "dream")],
    ),
    "a file in a part of tomorrow's": (
        {"said": [{"role": "user", "content": [{"type": "screenshot", "file_id": "file-1"}]}]},
        [(STORED, "input[0].content[0].file_id"), (UNKNOWN, "input[0].content[0].screenshot")],
    ),
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
        "background_options": {"completion_window": "soonest"},
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m", "prewarm": False},
        "context_management": [],
        "previous_response_id": None,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "reasoning": {"summary": "auto", "effort": None},
        "stream_options": {"include_obfuscation": False},
        "top_logprobs": 0,
    }
    assert needs_of(**harmless) == []


def test_a_schema_may_have_any_names():
    names = {"type": "object", "properties": {"file_id": {"type": "string"}, "container": {"const": "x"}}}
    function = {"type": "function", "name": "f", "parameters": names}
    listed = {"type": "mcp_list_tools", "id": "m", "server_label": "s", "tools": [{"name": "f", "input_schema": names}]}
    body = {"tools": [function], "text": {"format": {"type": "json_schema", "name": "a", "schema": names}}}
    assert needs_of([USER, {"type": "additional_tools", "role": "developer", "tools": [function]}], **body) == [
        (UNKNOWN, "input[1].type")
    ]
    assert needs_of([USER, listed]) == [(UNKNOWN, "input[1].type")]


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("background", {"background": True, "background_options": {"completion_window": "2h"}}),
        ("background_options", {"background_options": {"completion_window": "8h"}}),
        ("background_options", {"background": False, "background_options": {"continuation_id": "x"}}),
    ],
)
def test_an_answer_that_is_fetched_later_is_refused_by_name(param, body):
    with pytest.raises(UnsupportedParameter) as caught:
        read(**body)
    assert caught.value.param == param


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


def test_what_stands_within_a_field_is_not_let_through_by_leaving_it_out():
    request = replace(read(tools=[{"type": "web_search"}]), max_tokens=64)
    assert fields.refused(request, replace(PLAIN, drop=frozenset({"web_search"})), responses) == "tools[0].type"


def test_an_operator_lists_what_reaches_out():
    request = replace(read(tools=[{"type": "web_search"}]), max_tokens=64)
    assert fields.refused(request, PLAIN, responses) == "tools[0].type"
    assert fields.refused(request, replace(PLAIN, takes={"web_search": True}), responses) == ""
