"""Requests of Anthropic's clients on their way to its own servers, and what its models take and count."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from chat.protocols import anthropic, fields
from chat.types import (
    Upstream,
)
from tests.support import messages as api

HAIKU, OLDER = Upstream("claude-haiku-5-5"), Upstream("claude-haiku-4-5")


def read(*content, **body):
    return api.wish_of(*content, **body).request


def passed(*content, upstream=HAIKU, most=64, stream=False, **body):
    """What a client's own body becomes on its way."""
    request = replace(read(*content, **body), max_tokens=most)
    return anthropic.write_request(request, upstream, host="api.anthropic.com", stream=stream)


# --- headers ----------------------------------------------------------------------------------------------------------
def test_the_headers_that_belong_to_the_body_travel_with_it():
    """Bugs 12 and 13: a beta's header without its field is refused, and a field without its header."""
    sent = {
        "Anthropic-Version": "2026-10-21",
        "anthropic-beta": "context-management-2025-06-27,brand-new-2026-12-01",
        "Anthropic-Brand-New": "x",
        "anthropic-workspace-id": "wrkspc_1",
        "anthropic-user-profile-id": "up_1",
        "anthropic-api-key": "sk-1",
        "anthropic-odd": "a\nb",
        "X-Api-Key": "sk-1",
        "Authorization": "Bearer sk-1",
        "User-Agent": "x",
    }
    request = api.wish_of(headers=sent).request
    assert anthropic.request_headers(request) == {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "context-management-2025-06-27,brand-new-2026-12-01",
        "anthropic-brand-new": "x",
    }
    assert anthropic.request_headers(replace(request, raw=None)) == {}
    assert anthropic.headers("sk-2") == {"anthropic-version": "2023-06-01", "x-api-key": "sk-2"}


# --- passed on --------------------------------------------------------------------------------------------------------
def test_a_client_of_the_same_api_is_passed_on_as_it_came():
    thought = [api.thinking("hm"), api.call("look", at="sky")]
    body = {
        "messages": api.talk(
            [api.text("Hi", cache_control=api.CACHE), api.IMAGE], thought, [api.result([api.REFERENCE])]
        ),
        "system": [api.text("x-anthropic-billing-header: a"), api.text("Be brief.", cache_control=api.CACHE)],
        "tools": [api.LOOK, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"minimum": 1}}},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "metadata": {"user_id": "me"},
        "brand_new": {"a": 1},
    }
    assert passed(**body) == body | {"model": "claude-haiku-5-5", "max_tokens": 64}
    assert passed(stream=True, **body)["stream"] is True
    assert fields.refused(read(**body), HAIKU, anthropic) == ""


def test_nothing_is_added_and_an_operators_word_holds_where_the_client_says_none():
    operators = Upstream("claude-haiku-5-5", effort="low")
    assert passed() == {"model": "claude-haiku-5-5", "messages": [api.USER], "max_tokens": 64}
    assert passed(upstream=operators)["output_config"] == {"effort": "low"}
    for body in ({"thinking": {"type": "adaptive"}}, {"output_config": {"effort": "high"}}):
        sent = passed(upstream=operators, **body)
        assert {name: value for name, value in sent.items() if name in ("thinking", "output_config")} == body
    assert passed(upstream=Upstream("claude-haiku-4-5", temperature=0.5))["temperature"] == 0.5


def test_an_operators_temperature_is_not_sent_in_a_version_that_refuses_any():
    request = replace(api.wish_of(headers={"anthropic-version": "2026-10-21"}).request, max_tokens=64)
    sent = anthropic.write_request(request, Upstream("claude-haiku-4-5", temperature=0.5), host="x", stream=False)
    assert "temperature" not in sent


def test_what_an_operator_drops_is_left_out_also_within():
    config = {"effort": "high", "format": {"type": "json_schema", "schema": api.SCHEMA}}
    body = {"thinking": {"type": "adaptive"}, "output_config": config, "tool_choice": {"type": "auto"}}
    sent = passed(upstream=Upstream("claude-haiku-5-5", drop=frozenset({"effort", "choice"})), **body)
    assert (sent["output_config"], "thinking" in sent, "tool_choice" in sent) == (
        {"format": config["format"]},
        False,
        False,
    )


def test_and_so_is_thinking_of_which_the_client_does_not_say_how_much():
    adaptive = {"thinking": {"type": "adaptive"}}
    assert "thinking" not in passed(upstream=Upstream("claude-haiku-5-5", drop=frozenset({"effort"})), **adaptive)


def test_a_pseudonym_takes_the_place_of_the_clients_own_name():
    request = replace(read(metadata={"user_id": "me", "x": 1}), max_tokens=64, pseudonym="p")
    sent = anthropic.write_request(request, HAIKU, host="api.anthropic.com", stream=False)
    assert sent["metadata"] == {"user_id": "p", "x": 1}


@pytest.mark.parametrize(
    ("asked", "most", "sent"),
    [
        ((32_000, 30_000), 16_000, (16_000, {"type": "enabled", "budget_tokens": 15_999})),
        ((32_000, 4_000), 16_000, (16_000, {"type": "enabled", "budget_tokens": 4_000})),
        ((32_000, 30_000), 1_000, (1_000, {"type": "disabled"})),
        ((16_000, 30_000), 16_000, (16_000, {"type": "enabled", "budget_tokens": 30_000})),
    ],
)
def test_thinking_fits_into_a_limit_that_is_ours(asked, most, sent):
    limit, budget = asked
    body = passed(most=most, max_tokens=limit, thinking={"type": "enabled", "budget_tokens": budget})
    assert (body["max_tokens"], body["thinking"]) == sent


def test_a_limit_of_nothing_fills_the_vendors_cache():
    assert passed(max_tokens=0, most=1)["max_tokens"] == 0


def test_thoughts_are_taken_out_of_a_body():
    body = {
        "messages": api.talk(
            "Hi", [api.thinking("hm"), api.redacted()], "Go on", [api.thinking("hm"), api.call("look")]
        ),
        "thinking": {"type": "adaptive"},
    }
    assert anthropic.without_thoughts(body) == {
        "messages": [
            api.USER,
            {"role": "user", "content": "Go on"},
            {"role": "assistant", "content": [api.call("look")]},
        ],
        "thinking": {"type": "adaptive"},
    }


# --- what a model takes -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("upstream", "body", "objection"),
    [
        (HAIKU, {"temperature": 0.5}, "temperature"),
        (HAIKU, {"temperature": 1}, ""),
        (OLDER, {"temperature": 0.5}, ""),
        (OLDER, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (HAIKU, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, ""),
        (HAIKU, {"stop_sequences": [" "]}, "stop"),
        (HAIKU, {"tools": [api.SEARCH]}, "tools[0].type"),
        (replace(HAIKU, takes={"web_search_20260318": True}), {"tools": [api.SEARCH]}, ""),
        (HAIKU, {"messages": api.talk([api.FILE])}, "messages[0].content[0].source.file_id"),
        (replace(HAIKU, allow_stored=True), {"messages": api.talk([api.FILE])}, ""),
        (HAIKU, {"speed": "fast"}, "speed"),
        (HAIKU, {"brand_new": 1}, ""),
    ],
)
def test_what_stands_against_a_route_of_the_same_api(upstream, body, objection):
    assert fields.refused(read(**body), upstream, anthropic) == objection


def test_tokens_are_reserved_for_what_nobody_reads():
    plain = anthropic.prompt_tokens(read(), OLDER, 10)
    assert plain == 10
    assert anthropic.prompt_tokens(read(tools=[api.LOOK]), OLDER, 10) == 860
    assert anthropic.prompt_tokens(read(tools=[{"type": "bash_20250124", "name": "bash"}]), OLDER, 10) > 860
    assert anthropic.prompt_tokens(read(), HAIKU, 1000) == 1350
    thought = api.talk("Hi", [api.thinking("", "x" * 4000), api.call("look")], [api.result("x")])
    assert anthropic.prompt_tokens(read(messages=thought), OLDER, 10) == 1010


def png(width, height):
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + b"\x08\x02\0\0\0").decode()


@pytest.mark.parametrize(
    ("size", "older", "newer"),
    [((280, 280), 100, 100), ((1568, 784), 1568, 1568), ((8000, 8000), 1568, 4784), ((1, 1), 1, 1), (None, 1568, 4784)],
)
def test_tokens_of_an_image(size, older, newer):
    image = api.IMAGE | {"source": {"type": "base64", "media_type": "image/png", "data": png(*size) if size else "xx"}}
    assert anthropic.prompt_tokens(read(image), OLDER, 0) == older
    assert anthropic.prompt_tokens(read(image), HAIKU, 0) == newer
