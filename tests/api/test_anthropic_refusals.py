"""`POST /v1/messages`: what is refused, by which name, and what is accepted since it asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.asking import ANTHROPIC, post, refused, sent

pytestmark = pytest.mark.django_db
TEXT = {"type": "text", "text": "x"}
FILE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}


def asked_by(role, content):
    return {"messages": [{"role": "user", "content": "x"}, {"role": role, "content": content}]}


# --- what is not to be had --------------------------------------------------------------------------------------------
HARMLESS: list[tuple[str, Any]] = [
    *[(name, None) for name in ("tools", "thinking", "output_config", "container", "context_management", "thread")],
    *[(name, []) for name in ("tools", "mcp_servers", "betas", "fallbacks")],
    *[("metadata", value) for value in (None, {}, {"user_id": None}, {"user_id": "a" * 512})],
    ("cache_control", {"type": "ephemeral"}),
    ("context_management", {"edits": [{"type": "clear_tool_uses_20250919"}]}),
    ("output_config", {}),
    ("service_tier", "auto"),
    ("service_tier", "standard_only"),
    ("speed", "standard"),
    ("thinking", {"type": "disabled"}),
    ("tool_choice", {"type": "none"}),
]


@pytest.mark.parametrize(("name", "value"), HARMLESS, ids=repr)
def test_what_asks_for_nothing_changes_nothing(rig, name, value):
    assert sent(rig, ANTHROPIC, **{name: value}) == sent(rig, ANTHROPIC)


ELSEWHERE = [
    ("top_k", {"top_k": 1}),
    ("max_tokens", {"max_tokens": 0}),
    ("thinking.type", {"thinking": {"type": "between_tools"}}),
    ("output_config.task_budget", {"output_config": {"task_budget": {"type": "tokens", "total": 1}}}),
    ("context_management.edits[0].type", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("betas", {"betas": ["context-1m"]}),
    ("brand_new", {"brand_new": 1}),
    ("tools[0].type", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
    ("messages[1].content[0].citations", asked_by("assistant", [TEXT | {"citations": [{"type": "page_location"}]}])),
    ("messages[1].content[1].type", asked_by("user", [TEXT, {"type": "smell"}])),
    (
        "messages[1].name",
        {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "x", "name": "a"}]},
    ),
    ("system[1].type", {"system": [TEXT, {"type": "image"}]}),
]
EVERYWHERE = [
    *[(name, {name: "x"}) for name in ("inference_geo", "mcp_servers", "container", "fallbacks")],
    *[(name, {name: "x"}) for name in ("fallback_credit_token", "user_profile_id", "workspace_id")],
    ("speed", {"speed": "fast"}),
    ("service_tier", {"service_tier": "priority"}),
    ("tools[0].type", {"tools": [{"type": "web_search_20260318", "name": "web_search"}]}),
    ("messages[1].content[0].source.file_id", asked_by("user", [FILE])),
]


@pytest.mark.parametrize(("param", "changes"), [*ELSEWHERE, *EVERYWHERE[:-1]], ids=repr)
@pytest.mark.parametrize("stream", [False, True])
def test_what_only_the_vendor_can_do_is_refused_by_its_name_elsewhere(rig, param, changes, stream):
    error = refused(rig, ANTHROPIC, "unsupported_parameter", stream=stream, **changes)
    assert error["details"] == {"error_code": "unsupported_parameter", "param": param}
    assert param in error["message"]


@pytest.mark.parametrize(("param", "changes"), ELSEWHERE, ids=repr)
def test_and_goes_on_to_the_vendor(rig, param, changes):
    assert post(rig.configure("anthropic"), ANTHROPIC, **changes).status_code == 200


@pytest.mark.parametrize(("param", "changes"), EVERYWHERE, ids=repr)
def test_what_costs_more_or_is_stored_is_refused_there_too(rig, param, changes):
    error = refused(rig.configure("anthropic"), ANTHROPIC, "unsupported_parameter", **changes)
    assert error["details"]["param"] == param


# --- what is wrong ----------------------------------------------------------------------------------------------------
NO_STOPS: list[Any] = ["x", [""], ["x"] * 257, [5], {}]
WRONG = [
    ("model", {"model": None}),
    ("model", {"model": ["alone"]}),
    *[("max_tokens", {"max_tokens": value}) for value in (None, -1, 7.0, True, "7")],
    *[("temperature", {"temperature": value}) for value in (-0.1, 1.1, True, "1")],
    *[("top_p", {"top_p": value}) for value in (-0.1, 1.1, "1")],
    *[("stop_sequences", {"stop_sequences": value}) for value in NO_STOPS],
    *[("metadata", {"metadata": value}) for value in ([], [None], "x", 5)],
    *[("metadata.user_id", {"metadata": {"user_id": value}}) for value in (5, "a" * 513)],
    ("stream", {"stream": 1}),
    ("tools", {"tools": {}}),
    ("tools[0].name", {"tools": [{}]}),
    ("tool_choice", {"tool_choice": {"type": "all"}}),
    ("thinking", {"thinking": "much"}),
]


@pytest.mark.parametrize(("name", "changes"), WRONG, ids=repr)
def test_a_field_that_is_wrong_is_named(rig, name, changes):
    error = refused(rig, ANTHROPIC, "invalid_request", **changes)
    assert set(error["details"]["fields"]) == {name}


def test_all_wrong_fields_are_named_at_once(rig):
    error = refused(rig, ANTHROPIC, "invalid_request", max_tokens=None, top_p=2, metadata={"user_id": 1})
    assert set(error["details"]["fields"]) == {"max_tokens", "top_p", "metadata.user_id"}
    assert error["details"]["fields"]["max_tokens"] == ["This field is required."]


NO_SYSTEM: list[Any] = [5, {}, True]
NO_BLOCKS: list[Any] = ["x", {}]
NO_TEXTS: list[Any] = [{"type": "text"}, {"type": "text", "text": None}]
MALFORMED = [
    ("messages", {"messages": None}),
    ("messages", {"messages": []}),
    ("messages", {"messages": {"role": "user"}}),
    ("messages", {"messages": [{"role": "assistant", "content": "x"}]}),
    ("messages[0]", {"messages": ["Hello!"]}),
    *[("messages[1].role", asked_by(role, "x")) for role in ("developer", None, ["user"])],
    *[("messages[1].content", asked_by("user", content)) for content in (None, 5, "", " ", [], [TEXT | {"text": ""}])],
    *[("messages[1].content[0]", asked_by("user", [block])) for block in NO_BLOCKS],
    *[("messages[1].content[0].text", asked_by("user", [block])) for block in NO_TEXTS],
    *[("system", {"system": value}) for value in NO_SYSTEM],
    ("system[0]", {"system": ["Be brief."]}),
]


@pytest.mark.parametrize(("field", "changes"), MALFORMED, ids=repr)
def test_a_message_that_is_malformed_is_pointed_at(rig, field, changes):
    assert refused(rig, ANTHROPIC, "invalid_message_format", **changes)["details"]["field"] == field
