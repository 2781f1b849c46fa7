"""A chat as Anthropic's clients ask for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.protocols import bodies, fields, turns
from chat.protocols.anthropic.body import Messages
from chat.types import SAMPLING, Catalogue, ChatRequest, Message, Need, Raw, Text, Upstream, Wish, parts_of

VERSION = "2023-06-01"
MODEL = re.compile(r"claude-(?:[a-z]+-)*(\d+)(?:[-.](\d{1,2})(?!\d))?")
"""A model's name, with its version: claude-haiku-4-5-20251001 is of 4.5, claude-opus-4-20250514 of 4."""
WITHOUT_SAMPLING = (4, 7)
"""The first version that refuses sampling fields. Source: Anthropic's migration guide to Claude Opus 4.7."""


NAME = "anthropic"
CARRIES = frozenset(("image_base64", "image_url"))


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    needs: list[Need] = []
    messages = turns.messages_of(given, needs, _read_message)
    body = bodies.read(Messages, given, model)
    needs += bodies.needs_of(Messages, given)
    prompt = Message("system", _parts(given.get("system") or ""))
    return Wish(
        model=model,
        request=ChatRequest(
            (prompt, *messages) if prompt.text.strip() else tuple(messages),
            temperature=body.temperature,
            top_p=body.top_p,
            stop=tuple(body.stop_sequences),
            needs=tuple(needs),
            raw=Raw(NAME, given),
        ),
        most_tokens=body.max_tokens,
        stream=body.stream,
        spelling={"stop": "stop_sequences"},
    )


def _parts(content: Any) -> Any:
    return parts_of(content) if isinstance(content, str) else tuple(Text(part["text"]) for part in content)


def _read_message(item: Any, place: str, needs: list[Need]) -> Message:
    item = turns.object_at(item, place)
    return Message(item["role"], _parts(item["content"]))


def without_thoughts(body):
    return dict(body)


def prompt_tokens(request, upstream, words):
    return words


def root(base_url: str) -> str:
    """See `Protocol.root`."""
    # The SDK's base URL has no /v1; who knows OpenAI's writes one.
    return base_url.strip().rstrip("/").removesuffix("/v1")


def headers(api_key: str) -> dict[str, str]:
    """See `Protocol.headers`."""
    return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})


def request_headers(request: ChatRequest) -> Mapping[str, str]:
    """See `Protocol.request_headers`."""
    return {}


def write_request(request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
    """See `Protocol.write_request`."""
    said = [message for message in request.messages if message.text.strip()]  # a blank block is refused
    system = "\n\n".join(message.text for message in said if message.role == "system")
    # The API itself joins turns of one role and lets the assistant begin, so turns go as they came.
    turns = [{"role": turn.role, "content": turn.text} for turn in said if turn.role != "system"]
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = turns[-1]["content"].rstrip()  # else refused
    optional = {
        k: v
        for k, v in fields.to_send(request, upstream, takes, verbatim=False).items()
        if k in ("temperature", "top_p", "stop")
    }
    if stops := optional.pop("stop", None):
        optional["stop_sequences"] = stops
    body: dict[str, Any] = {"model": upstream.model, "max_tokens": request.max_tokens, "messages": turns}
    if request.pseudonym:
        body["metadata"] = {"user_id": request.pseudonym}
    if stream:
        body["stream"] = True
    return body | thinking(upstream.effort) | optional | ({"system": system} if system else {})


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
    """See `Protocol.takes`. Source: Anthropic's API reference and its migration guides."""
    if name == "name":
        return False  # models read it, so to leave it out would change the conversation
    if name == "stop":
        return all(text.strip() for text in asked["stop"])
    if name not in SAMPLING:
        return True
    version = MODEL.search(upstream.model)
    if version and (int(version[1]), int(version[2] or 0)) >= WITHOUT_SAMPLING:
        return False
    # The two are refused together, so the one that asks for nothing gives way.
    temperature, top_p = float(asked.get("temperature", 1)), float(asked.get("top_p", 1))
    return temperature == 1 if name == "top_p" else temperature < 1 or temperature == top_p == 1


def thinking(effort: str) -> dict[str, Any]:
    """Return the fields that ask for this much thinking; none where an operator has not said how much."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"output_config": {"effort": "low" if effort == "minimal" else effort}} if effort else {}
