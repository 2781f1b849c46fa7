"""`POST /v1/messages`: what is refused, by which name, and what is accepted since it asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from chat.protocols.anthropic.body import OTHER_BLOCKS, Messages
from chat.protocols.bodies import Only
from tests.support.asking import ANTHROPIC, refused, sent

pytestmark = pytest.mark.django_db
TEXT = {"type": "text", "text": "x"}
CACHED = TEXT | {"cache_control": {"type": "ephemeral"}}


def asked_by(role, content):
    return {"messages": [{"role": "user", "content": "x"}, {"role": role, "content": content}]}


# --- what is not to be had --------------------------------------------------------------------------------------------
NOTHING = {
    name: only.values
    for name, field in Messages.model_fields.items()
    for only in field.metadata
    if isinstance(only, Only)
}
HARMLESS = [(name, value) for name, values in NOTHING.items() for value in (None, *values)]
LABELS = [("metadata", value) for value in (None, {}, {"user_id": None}, {"user_id": "a" * 512})]


@pytest.mark.parametrize(("name", "value"), [*HARMLESS, *LABELS], ids=repr)
def test_what_asks_for_nothing_changes_nothing(rig, name, value):
    assert sent(rig, ANTHROPIC, **{name: value}) == sent(rig, ANTHROPIC)


OTHERWISE = [
    *[(name, {"something": "else"}) for name in NOTHING],
    ("top_k", 1),
    ("top_k", 0),
    ("thinking", {"type": "enabled", "budget_tokens": 1024}),
    ("thinking", {"type": "disabled", "display": "omitted"}),
    ("tools", [{"name": "f", "input_schema": {"type": "object"}}]),
    ("tool_choice", {"type": "auto"}),
    ("service_tier", "priority"),
    ("speed", "fast"),
    ("cache_control", {"type": "ephemeral"}),
    ("betas", ["context-1m"]),
]


@pytest.mark.parametrize(("name", "value"), OTHERWISE, ids=repr)
@pytest.mark.parametrize("stream", [False, True])
def test_what_asks_for_more_is_refused_by_its_name(rig, name, value, stream):
    error = refused(rig, ANTHROPIC, "unsupported_parameter", stream=stream, **{name: value})
    assert error["details"] == {"error_code": "unsupported_parameter", "param": name}
    assert name in error["message"]


BLOCKS = [
    *[("messages[1].content[1].type", asked_by("user", [TEXT, {"type": kind}])) for kind in OTHER_BLOCKS],
    ("messages[1].content[0].type", asked_by("assistant", [{"type": "thinking", "thinking": "hm"}])),
    ("messages[1].content[0].cache_control", asked_by("user", [CACHED])),
    ("messages[1].content[0].citations", asked_by("assistant", [TEXT | {"citations": [{"type": "page_location"}]}])),
    ("system[0].cache_control", {"system": [CACHED]}),
    ("system[1].type", {"system": [TEXT, {"type": "image"}]}),
]


@pytest.mark.parametrize(("param", "changes"), BLOCKS)
def test_so_is_what_a_block_asks_for(rig, param, changes):
    assert refused(rig, ANTHROPIC, "unsupported_parameter", **changes)["details"]["param"] == param


def test_a_blocks_type_is_told_what_may_be_in_its_place(rig):
    message = refused(rig, ANTHROPIC, "unsupported_parameter", system=[TEXT, {"type": "image"}])["message"]
    assert message.startswith("system[1].type 'image' is not supported here; only text is.")
    assert "eave it out" not in message


# --- what is wrong ----------------------------------------------------------------------------------------------------
NO_STOPS: list[Any] = ["x", [""], ["x"] * 257, [5], {}]
WRONG = [
    ("max_token", {"max_token": 7}),
    ("max_completion_tokens", {"max_completion_tokens": 7}),
    ("stop", {"stop": ["x"]}),
    ("model", {"model": None}),
    ("model", {"model": ["alone"]}),
    *[("max_tokens", {"max_tokens": value}) for value in (None, 0, -1, 7.0, True, "7")],
    *[("temperature", {"temperature": value}) for value in (-0.1, 1.1, True, "1")],
    *[("top_p", {"top_p": value}) for value in (-0.1, 1.1, "1")],
    *[("stop_sequences", {"stop_sequences": value}) for value in NO_STOPS],
    *[("metadata", {"metadata": value}) for value in ([], [None], "x", 5)],
    *[("metadata.user_id", {"metadata": {"user_id": value}}) for value in (5, "a" * 513)],
    ("metadata.team", {"metadata": {"team": "x"}}),
    ("stream", {"stream": 1}),
]


@pytest.mark.parametrize(("name", "changes"), WRONG, ids=repr)
def test_a_field_that_is_wrong_or_unknown_is_named(rig, name, changes):
    error = refused(rig, ANTHROPIC, "invalid_request", **changes)
    assert set(error["details"]["fields"]) == {name}


def test_all_wrong_fields_are_named_at_once(rig):
    error = refused(rig, ANTHROPIC, "invalid_request", max_tokens=None, top_p=2, metadata={"a": 1}, weather="fine")
    assert set(error["details"]["fields"]) == {"max_tokens", "top_p", "metadata.a", "weather"}
    assert error["details"]["fields"]["max_tokens"] == ["This field is required."]


NO_SYSTEM: list[Any] = [5, {}, True]
MALFORMED = [
    ("messages", {"messages": None}),
    ("messages", {"messages": []}),
    ("messages", {"messages": {"role": "user"}}),
    ("messages", {"messages": [{"role": "assistant", "content": "x"}]}),
    ("messages[0]", {"messages": ["Hello!"]}),
    ("messages[1]", {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "x", "name": "a"}]}),
    *[("messages[1].role", asked_by(role, "x")) for role in ("system", "developer", None, ["user"])],
    *[("messages[1].content", asked_by("user", content)) for content in (None, 5, "", " ", [], [TEXT | {"text": ""}])],
    *[
        ("messages[1].content[0]", asked_by("user", [block]))
        for block in ("x", {}, {"type": "text"}, {"type": "text", "text": None}, {"type": "smell"}, TEXT | {"a": 1})
    ],
    *[("system", {"system": value}) for value in NO_SYSTEM],
    ("system[0]", {"system": ["Be brief."]}),
]


@pytest.mark.parametrize(("field", "changes"), MALFORMED, ids=repr)
def test_a_message_that_is_malformed_is_pointed_at(rig, field, changes):
    assert refused(rig, ANTHROPIC, "invalid_message_format", **changes)["details"]["field"] == field
