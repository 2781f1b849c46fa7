"""A chat as OpenAI's clients ask for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.exceptions import InvalidMessageFormatError, UnsupportedParameter
from chat.protocols import bodies, fields
from chat.protocols.bodies import echo
from chat.protocols.openai.body import (
    MAY_BE_BLANK,
    MOST_STOPS,
    NAME,
    OF_A_MESSAGE,
    OF_A_PART,
    OTHER_PARTS,
    OTHER_ROLES,
    ROLES,
    ChatCompletion,
)
from chat.types import SAMPLING, Catalogue, ChatRequest, Message, Upstream, Wish

REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)(?!\S*-chat\b))")
"""The beginning of the names of OpenAI's models that think. They refuse sampling while they do."""
ALWAYS_THINKING = re.compile(r"(?:ft:)?o\d")
OPENAI_HOSTS = (
    ".openai.com",
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)


def read_request(data: Any, catalogue: Catalogue) -> Wish:
    """See `Protocol.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    messages = bodies.messages_of(given, _read_message)
    body = bodies.read(ChatCompletion, given, model)
    named = next((f"messages[{number}].name" for number, message in enumerate(messages) if message.name), "name")
    return Wish(
        model=model,
        messages=messages,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=tuple(body.stop),
        stream=body.stream,
        usage_in_stream=body.stream_options.include_usage is True,
        spelling={"name": named},
    )


def _read_message(item: Any, place: str) -> Message:
    item = bodies.object_at(item, place)
    bodies.only_harmless(item, OF_A_MESSAGE, place)
    role, name = item.get("role"), item.get("name")
    if isinstance(role, str) and role in OTHER_ROLES:
        *others, last = ROLES
        raise UnsupportedParameter(f"{place}.role", kind=role, only=f"{', '.join(others)} and {last} are")
    if not isinstance(role, str) or role not in ROLES:
        complaint = f"The role must be one of {', '.join(ROLES)}."
        raise InvalidMessageFormatError(complaint, field=f"{place}.role", received=echo(role))
    may_be_blank = ROLES[role] in MAY_BE_BLANK
    parts = bodies.text_parts(item.get("content"), f"{place}.content", OF_A_PART, OTHER_PARTS)
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        complaint = "A name is 1 to 64 characters, none of them white space or one of < | \\ / >."
        raise InvalidMessageFormatError(complaint, field=f"{place}.name", received=echo(name))
    bodies.no_more_than(item, ("role", "content", "name", *OF_A_MESSAGE), place)
    parts = () if parts is None and item.get("content") is None and may_be_blank else parts
    bodies.check_content(item, parts, place, may_be_blank=may_be_blank)
    return Message(ROLES[role], parts or (), name or "")


def root(base_url: str) -> str:
    """See `Protocol.root`."""
    return base_url


def headers(api_key: str) -> dict[str, str]:
    """See `Protocol.headers`."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def request_headers(request: ChatRequest) -> Mapping[str, str]:
    """See `Protocol.request_headers`."""
    # OpenAI keeps it beside its own id, so that its support can find a request that never got an answer.
    return {"X-Client-Request-Id": request.request_id} if re.fullmatch(r"[!-~]{1,512}", request.request_id) else {}


def write_request(request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
    """See `Protocol.write_request`."""
    optional = fields.to_send(request, upstream, takes)
    named = optional.pop("name", False)
    body: dict[str, Any] = {
        "model": upstream.model,
        "messages": [_message(message, named) for message in request.messages],
        upstream.limit_field or _limit_field(host): request.max_tokens,
    }
    if upstream.effort:
        body["reasoning_effort"] = upstream.effort
    if request.pseudonym:
        body["safety_identifier"] = request.pseudonym
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body | optional


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
    """See `Protocol.takes`. Source: OpenAI's guides to its reasoning models and to GPT-6."""
    model = upstream.model.rpartition("/")[2]  # OpenRouter's names begin with the maker's
    if name == "stop":
        return len(asked["stop"]) <= MOST_STOPS
    if name in SAMPLING and REASONING.match(model):
        return upstream.effort == "none" and not ALWAYS_THINKING.match(model)
    return True


def _message(message: Message, named: bool) -> dict[str, str]:
    name = {"name": message.name} if named and message.name else {}
    return {"role": message.role, "content": message.text, **name}


def _limit_field(host: str) -> str:
    # OpenAI's newer models refuse `max_tokens`. Several compatible servers (Ollama, LM Studio, older llama.cpp) ignore
    # its successor in silence, which would leave the output, and so the user's budget, without a bound.
    return "max_completion_tokens" if host.partition(":")[0].endswith(OPENAI_HOSTS) else "max_tokens"
