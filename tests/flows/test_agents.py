"""Whole agents find all that they ask for in the simulator, for clients without keys."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.flows.simulated import SCHEMA, said

pytestmark = pytest.mark.django_db(transaction=True)

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude-3",
    "max_tokens": 32_000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [{"name": name, "description": name, "input_schema": SCHEMA} for name in ("Bash", "Read", "mcp__a__b")],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "user_1_session_2"},
}
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,context-management-2025-06-27",
    "x-claude-code-session-id": "1",
}


def test_claude_code_finds_all_it_asks_for(anthropics, auth_client):
    block = {"type": "text", "text": '/think /tool Bash {"city": "Bern"}', "cache_control": {"type": "ephemeral"}}
    assert auth_client.head("/").status_code == 200
    models = auth_client.get("/v1/models?limit=1000", headers=HEADERS).json()["data"]
    assert "claude-3" in [model["id"] for model in models]
    asked = CLAUDE_CODE | {"messages": [said("user", [block])]}
    counted = auth_client.post("/v1/messages/count_tokens?beta=true", asked, format="json", headers=HEADERS).json()
    assert counted["input_tokens"] > 100

    def ask(messages: Any) -> Any:
        with anthropics.beta.messages.stream(**CLAUDE_CODE | {"messages": messages}, extra_headers=HEADERS) as events:
            return events.get_final_message()

    first = ask(asked["messages"])
    assert ([part.type for part in first.content], first.stop_reason) == (["thinking", "tool_use"], "tool_use")
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": [{"type": "text", "text": "done"}]}
    last = ask([*asked["messages"], said("assistant", first.to_dict()["content"]), said("user", [result])])
    assert last.content[0].text.startswith('Bash answered: "done".')


def test_codex_finds_all_it_asks_for(openais):
    schema = {"type": "object", "properties": {"cmd": {"type": "array", "items": {"type": "string"}}}}
    asked: Any = {
        "model": "gpt-4",
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "/think /tool shell"}]},
        ],
        "tools": [
            {"type": "function", "name": "shell", "description": "", "strict": False, "parameters": schema},
            {
                "type": "custom",
                "name": "apply_patch",
                "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
            },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "session",
        "text": {"verbosity": "low"},
    }
    with openais.responses.stream(**asked) as events:
        first = events.get_final_response()
    call = first.output[-1]
    assert (call.type, json.loads(call.arguments)) == ("function_call", {"cmd": ["cmd"]})
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    last = openais.responses.create(**asked | {"input": [*asked["input"], *first.output, output]})
    assert last.output_text.startswith('shell answered: "done".')
    with pytest.raises(openai.BadRequestError) as forced:
        openais.responses.create(**asked | {"tool_choice": {"type": "custom", "name": "apply_patch"}})
    assert forced.value.param == "tool_choice"
