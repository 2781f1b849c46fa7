"""How the faces' tests ask, and how they read what comes."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.test import APIClient

OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
RESPONSES = "/v1/responses"
PATHS = (OPENAI, ANTHROPIC)


def body_for(path: str, **changes: Any) -> dict[str, Any]:
    """The least that a chat must say there, with `changes`."""
    said = {"input": "Hello!"} if path == RESPONSES else {"messages": [{"role": "user", "content": "Hello!"}]}
    least: dict[str, Any] = {"model": "alone", **said}
    return least | ({"max_tokens": 64} if path == ANTHROPIC else {}) | changes


def client_of(rig: Any, **headers: str) -> Any:
    """A client with the rig's key, unless it has other `Authorization`."""
    client = APIClient(headers={"Authorization": f"Bearer {rig.token}"} | headers)
    client.raise_request_exception = False
    return client


def post(rig: Any, path: str, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    return client_of(rig).post(path, body_for(path, **changes), format="json", headers=headers)


def sent(rig: Any, path: str, **changes: Any) -> dict[str, Any]:
    """What reaches the provider of a chat that is accepted."""
    response = post(rig, path, **changes)
    assert response.status_code == 200, response.content
    payload: dict[str, Any] = rig.first.requests[-1].json
    return payload


def refused(rig: Any, path: str, code: str, **changes: Any) -> dict[str, Any]:
    """The error object of a chat that is refused with 400 and of which no provider hears."""
    before = rig.calls
    response = post(rig, path, **changes)
    error: dict[str, Any] = response.json()["error"]
    found = error["code"] if path == OPENAI else error["details"]["error_code"]
    assert (response.status_code, found, error["type"]) == (400, code, "invalid_request_error"), error
    assert (rig.calls, rig.tokens()) == (before, (0, 0))
    return error


def events_of(response: Any) -> list[tuple[str, Any]]:
    """Names ("" if none) and data of a stream's events; of a comment ":" and its text."""
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream; charset=utf-8"), (
        response.content
    )
    blocks = b"".join(response.streaming_content).decode().split("\n\n")
    assert blocks.pop() == ""
    return [_parsed(block) for block in blocks]


def _parsed(block: str) -> tuple[str, Any]:
    if block.startswith(":"):
        return ":", block
    *names, data = block.split("\n")
    assert data.startswith("data: ")
    text = data.removeprefix("data: ")
    return "".join(names).removeprefix("event: "), text if text == "[DONE]" else json.loads(text)
