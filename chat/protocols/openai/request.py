"""A chat as OpenAI's clients ask for it, and as its servers are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.protocols import bodies, fields, images, turns
from chat.protocols.openai import content, thoughts, translate
from chat.protocols.openai.body import MOST_STOPS, NAME, ChatCompletion, StreamOptions
from chat.protocols.openai.strict import is_strict
from chat.protocols.payload import as_list, as_object
from chat.types import SAMPLING, STORED, Catalogue, ChatRequest, Format, Need, Raw, Upstream, Wish

REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)(?!\S*-chat\b))")
"""The beginning of the names of OpenAI's models that think. They refuse sampling while they do."""
ALWAYS_THINKING = re.compile(r"(?:ft:)?(?:o\d|gpt-6\.1-sol|gpt-6-astra)")
VERSION = re.compile(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?(?!\S*-chat\b)")
TOOLS_ON_RESPONSES = (5, 4)
"""The first version that takes functions on chat/completions only where it does not think."""
OPENAI_HOSTS = (
    ".openai.com",
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)
SPELLING = {"effort": "reasoning_effort", "choice": "tool_choice", "format": "response_format"}
CARRIES = frozenset(
    (
        *("image_base64", "image_url", "document_pdf", "document_text"),
        *("json_object", "image_in_result", "document_in_result"),
    )
)


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """See `Protocol.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    needs: list[Need] = []
    messages = turns.messages_of(given, needs, content.read_message)
    body = bodies.read(ChatCompletion, given, model)
    needs += bodies.needs_of(ChatCompletion, given)
    needs += bodies.needs_of(StreamOptions, as_object(given.get("stream_options")), "stream_options.")
    known = ChatCompletion.model_fields.keys() - {"prompt_cache_options"}
    needs += turns.stored_in({name: given[name] for name in given if name not in known})
    if isinstance(as_object(given.get("audio")).get("voice"), dict):
        needs.append(Need(STORED, "audio.voice", "audio"))  # one that was made for us, of somebody's own
    named = next((f"messages[{number}].name" for number, message in enumerate(messages) if message.name), "name")
    request = ChatRequest(
        turns.results_joined(messages),
        temperature=body.temperature,
        top_p=body.top_p,
        stop=tuple(body.stop),
        tools=content.tools_of(body.tools, needs),
        choice=content.choice_of(body.tool_choice, body.parallel_tool_calls, needs),
        format=content.format_of(body.response_format, needs),
        effort=body.reasoning_effort or "",
        n=body.n,
        needs=tuple(needs),
        raw=Raw(NAME, given),
    )
    return Wish(
        model=model,
        request=request,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stream=body.stream,
        usage_in_stream=body.stream_options.include_usage is True,
        spelling=SPELLING | {"name": named},
    )


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
    verbatim = request.is_verbatim(NAME)
    sent = fields.to_send(request, upstream, takes, verbatim=verbatim)
    if verbatim:
        body = fields.passed_on(request, upstream, sent, SPELLING)
        for name in ("max_tokens", "max_completion_tokens", "stream"):
            body.pop(name, None)
        if "temperature" in sent:
            body["temperature"] = sent["temperature"]
    else:
        if not REASONING.match(upstream.bare_model):
            sent.pop("effort", None)
        body = translate.body_of(request, sent) | fields.accepted(request, upstream)
    body |= {"model": upstream.model, upstream.limit_field or _limit_field(host): request.max_tokens}
    if upstream.effort:
        body.setdefault("reasoning_effort", upstream.effort)
    if request.pseudonym:
        body["safety_identifier"] = request.pseudonym
    options = body.pop("stream_options", None) or {}
    if stream:
        body |= {"stream": True, "stream_options": options | {"include_usage": True}}
    return body


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
    """See `Protocol.takes`. Source: OpenAI's guides to its reasoning models and to GPT-6."""
    model, effort = upstream.bare_model, asked.get("effort") or upstream.effort
    thinks = REASONING.match(model) and (effort != "none" or bool(ALWAYS_THINKING.match(model)))
    if name in SAMPLING:
        return not thinks
    if name == "tools" and thinks and _version(model) >= TOOLS_ON_RESPONSES:
        return False
    if verbatim:
        return True
    if name == "stop":
        return len(asked["stop"]) <= MOST_STOPS
    if name == "tools":
        return all(is_strict(tool.parameters) for tool in asked["tools"] if tool.strict)
    if name == "format":
        form: Format = asked["format"]
        return form.schema is None or form.strict is False or is_strict(form.schema)
    return True


def without_thoughts(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `Protocol.without_thoughts`."""
    kept = [thoughts.without(message) for message in as_list(body.get("messages"))]
    return {**body, "messages": [message for message in kept if message is not None]}


def prompt_tokens(request: ChatRequest, upstream: Upstream, words: int) -> int:
    """See `Protocol.prompt_tokens`. Source: OpenAI's guide to images and vision."""
    hidden = fields.hidden_tokens(request) if request.is_verbatim(NAME) else 0
    return words + hidden + sum(images.openai_tokens(part, upstream.bare_model) for part in request.media())


def _version(model: str) -> tuple[int, int]:
    found = VERSION.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _limit_field(host: str) -> str:
    # OpenAI's newer models refuse `max_tokens`. Several compatible servers (Ollama, LM Studio, older llama.cpp) ignore
    # its successor in silence, which would leave the output, and so the user's budget, without a bound.
    return "max_completion_tokens" if host.partition(":")[0].endswith(OPENAI_HOSTS) else "max_tokens"
