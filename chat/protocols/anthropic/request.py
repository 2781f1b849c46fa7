"""A chat as Anthropic's clients ask for it, and as its servers are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chat.exceptions import UnsupportedParameter
from chat.protocols import bodies, fields, turns
from chat.protocols.anthropic import content, tools, translate
from chat.protocols.anthropic.abilities import THINKS, takes, version_of
from chat.protocols.anthropic.body import NAME, NOT_COUNTED, Messages, Metadata, OutputConfig
from chat.protocols.payload import as_list, as_object
from chat.types import UNKNOWN, Catalogue, ChatRequest, Message, Need, Raw, Upstream, Wish

VERSION = "2023-06-01"
KEPT_BACK = re.compile(
    r"anthropic-(?:workspace-id|user-profile-id|organization-id|.*(?:key|token|secret|auth|credential).*)"
)
"""Headers that would name somebody else's account, or hold a credential."""
LEAST_BUDGET = 1_024
"""Tokens of thinking, the least that can be asked for by their number."""
SPELLING = {"stop": "stop_sequences", "choice": "tool_choice", "format": "output_config.format"}
CARRIES = frozenset(
    (
        *("image_base64", "image_url", "document_pdf", "document_text", "document_url"),
        *("image_in_result", "document_in_result"),
    )
)


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """See `Protocol.read_request`. A system prompt goes first."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    if given.get("thread") is not None:
        raise UnsupportedParameter("thread")  # the vendor would keep it where other users could find it
    needs: list[Need] = []
    messages = turns.messages_of(given, needs, content.read_message)
    said = given.get("system")
    system = () if said is None else content.system_of(said, "system", needs)
    body = bodies.read(Messages, given, model)
    needs += bodies.needs_of(Messages, given)
    needs += turns.stored_in({name: given[name] for name in given if name not in Messages.model_fields})
    needs += bodies.needs_of(OutputConfig, as_object(given.get("output_config")), "output_config.")
    needs += bodies.needs_of(Metadata, as_object(given.get("metadata")), "metadata.")
    needs += tools.context_needs(body.context_management)
    needs += tools.container_needs(body.container)
    if not body.max_tokens:
        needs.append(Need(UNKNOWN, "max_tokens"))  # the vendor is to fill its cache, and to say nothing
    effort, field = tools.effort_of(body.thinking, body.output_config, needs)
    request = ChatRequest(
        ((Message("system", system),) if turns.has_words(system) else ()) + tuple(messages),
        temperature=body.temperature,
        top_p=body.top_p,
        stop=tuple(body.stop_sequences),
        tools=tools.tools_of(body.tools, needs),
        choice=tools.choice_of(body.tool_choice, needs),
        format=tools.format_of(body.output_config, needs),
        effort=effort,
        needs=tuple(needs),
        raw=Raw(NAME, given, _travelling(headers)),
    )
    return Wish(
        model=model,
        request=request,
        most_tokens=body.max_tokens or 1,
        stream=body.stream,
        usage_in_stream=True,
        spelling=SPELLING | {"effort": field},
    )


def read_count(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """Return the chat whose prompt is to be counted, which needs no limit. Raises as `read_request` does."""
    body = {name: value for name, value in bodies.object_of(data).items() if name not in NOT_COUNTED}
    wish = read_request({**body, "max_tokens": 1}, catalogue, headers)
    return replace(wish, request=replace(wish.request, raw=Raw(NAME, body, _travelling(headers))))


def _travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that belong to the body: a field of a beta without its header is refused, and the other way
    round."""
    named = {name.lower(): value for name, value in headers.items()}
    return {
        name: value
        for name, value in named.items()
        if name.startswith("anthropic-") and not KEPT_BACK.fullmatch(name) and re.fullmatch(r"[ -~]{1,4096}", value)
    }


def root(base_url: str) -> str:
    """See `Protocol.root`."""
    # The SDK's base URL has no /v1; who knows OpenAI's writes one.
    return base_url.strip().rstrip("/").removesuffix("/v1")


def headers(api_key: str) -> dict[str, str]:
    """See `Protocol.headers`."""
    return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})


def request_headers(request: ChatRequest) -> Mapping[str, str]:
    """See `Protocol.request_headers`."""
    return request.raw.headers if request.raw and request.raw.protocol == NAME else {}


# --- writing ----------------------------------------------------------------------------------------------------------
def write_request(request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
    """See `Protocol.write_request`."""
    verbatim = request.is_verbatim(NAME)
    sent = fields.to_send(request, upstream, takes, verbatim=verbatim)
    if verbatim:
        body = _passed_on(request, upstream, sent)
    else:
        body = translate.body_of(request, sent) | fields.accepted(request, upstream)
        choice = request.choice
        forced = choice is not None and choice.mode in ("any", "tool")
        if "effort" in sent and version_of(upstream) >= THINKS:
            _add(body, thinking(sent["effort"], adaptive=not forced))
    config = as_object(body.get("output_config"))
    if upstream.effort and not request.effort and "thinking" not in body and not config.get("effort"):
        _add(body, thinking(upstream.effort, adaptive=False))
    if request.pseudonym:
        body["metadata"] = {**as_object(body.get("metadata")), "user_id": request.pseudonym}
    body.pop("stream", None)
    return body | {"model": upstream.model} | _limit(request, body) | ({"stream": True} if stream else {})


def _passed_on(request: ChatRequest, upstream: Upstream, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the client's own body, without what is not to be `sent`."""
    body = fields.passed_on(request, upstream, sent, SPELLING)
    config = dict(as_object(body.get("output_config")))
    left_out = {*upstream.drop, *request.optional()} - sent.keys()
    if "effort" in left_out:
        body.pop("thinking", None)
        config.pop("effort", None)
    if "format" in left_out:
        config.pop("format", None)
    if "output_config" in body and config != body["output_config"]:
        body["output_config"] = config
    # An operator's temperature: the API's newer versions refuse any.
    if "temperature" in sent and request_headers(request).get("anthropic-version", VERSION) == VERSION:
        body["temperature"] = sent["temperature"]
    return body


def _limit(request: ChatRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the output limit, and the thinking that fits into it where ours is lower than the client's."""
    if body.get("max_tokens") == 0:
        return {"max_tokens": 0}
    limit, said = {"max_tokens": request.max_tokens}, as_object(body.get("thinking"))
    budget = said.get("budget_tokens")
    if not isinstance(budget, int) or not request.max_tokens <= budget < body["max_tokens"]:
        return limit
    if request.max_tokens <= LEAST_BUDGET:
        return limit | {"thinking": {"type": "disabled"}}
    return limit | {"thinking": {**said, "budget_tokens": request.max_tokens - 1}}


def _add(body: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add fields to a body, those within `output_config` to the others there."""
    config = as_object(body.get("output_config")) | as_object(more.get("output_config"))
    body |= {**more, "output_config": config} if config else more


def thinking(effort: str, *, adaptive: bool) -> dict[str, Any]:
    """Return the fields that ask for this much thinking."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    config = {"output_config": {"effort": "low" if effort == "minimal" else effort}}
    return config | ({"thinking": {"type": "adaptive"}} if adaptive else {})


def without_thoughts(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `Protocol.without_thoughts`. A turn that was no more than thoughts goes with them."""
    kept = [_thoughtless(message) for message in as_list(body.get("messages"))]
    return {**body, "messages": [message for message in kept if message is not None]}


def _thoughtless(message: Any) -> Any:
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list):
        return message
    kept = [block for block in blocks if as_object(block).get("type") not in ("thinking", "redacted_thinking")]
    if len(kept) == len(blocks):
        return message
    return {**message, "content": kept} if kept else None
