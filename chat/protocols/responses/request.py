"""A chat as clients of the Responses API ask for it, and as its servers are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.exceptions import UnsupportedParameter
from chat.protocols import bodies, fields, openai, turns
from chat.protocols.openai.request import ALWAYS_THINKING, REASONING
from chat.protocols.openai.strict import is_strict
from chat.protocols.payload import as_list, as_object
from chat.protocols.responses import items, tools, translate
from chat.protocols.responses.body import AT_ONCE, NAME, CacheOptions, Create, Reasoning, TextConfig
from chat.protocols.turns import fault
from chat.types import (
    SAMPLING,
    UNKNOWN,
    Catalogue,
    ChatRequest,
    Message,
    Need,
    Raw,
    Upstream,
    Wish,
)

SPELLING = {
    "max_tokens": "max_output_tokens",
    "effort": "reasoning.effort",
    "choice": "tool_choice",
    "format": "text.format",
}
OF_BODY = {"effort": "reasoning", "choice": "tool_choice", "format": "text"}
"""The fields of the body that hold the fields of a request."""
CARRIES = frozenset(
    (
        *("image_base64", "image_url", "document_pdf", "document_text", "document_url", "document_other"),
        *("json_object", "image_in_result", "document_in_result", "verbosity"),
    )
)
LEAST_OUTPUT = 16
"""The smallest limit of an answer that the API takes."""
CONTINUED_BY = ("previous_response_id", "conversation")
LOGPROBS = "message.output_text.logprobs"
"""Of all that may be included the one that a client cannot do without: it has asked for numbers."""
WITH_IDS = ("message", "function_call", "custom_tool_call")


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """See `Protocol.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    needs: list[Need] = []
    messages = _messages(given, needs)
    _refuse_background(given)
    body = bodies.read(Create, given, model)
    needs += bodies.needs_of(Create, given)
    needs += bodies.needs_of(Reasoning, given.get("reasoning") or {}, "reasoning.")
    needs += bodies.needs_of(TextConfig, given.get("text") or {}, "text.")
    needs += bodies.needs_of(CacheOptions, as_object(given.get("prompt_cache_options")), "prompt_cache_options.")
    needs += turns.stored_in({name: given[name] for name in given if name not in Create.model_fields})
    if LOGPROBS in as_list(given.get("include")):
        needs.append(Need(UNKNOWN, "include"))
    prompt = (Message.of("system", body.instructions),) if body.instructions else ()
    request = ChatRequest(
        (*prompt, *messages),
        temperature=body.temperature,
        top_p=body.top_p,
        tools=tools.tools_of(body.tools, needs),
        choice=tools.choice_of(body.tool_choice, body.parallel_tool_calls, needs),
        format=tools.format_of(body.text.format, needs),
        effort=body.reasoning.effort or "",
        needs=tuple(needs),
        raw=Raw(NAME, given),
    )
    return Wish(
        model=model,
        request=request,
        max_tokens=body.max_output_tokens,
        stream=body.stream,
        usage_in_stream=True,
        spelling=SPELLING,
    )


def _refuse_background(given: Mapping[str, Any]) -> None:
    """Raise `UnsupportedParameter` where the answer is to be fetched later: it would have to be stored, and to be paid
    for when nobody is there."""
    if given.get("background") is True:
        raise UnsupportedParameter("background")
    if given.get("background_options") not in AT_ONCE:
        raise UnsupportedParameter("background_options")


def _messages(given: Mapping[str, Any], needs: list[Need]) -> tuple[Message, ...]:
    said = given.get("input")
    if isinstance(said, str) and said.strip():
        return (Message.of("user", said),)
    if not isinstance(said, list):
        complaint = (
            "This field is required." if said is None else "This must be a text that is not blank, or a list of items."
        )
        raise fault(complaint, "input", said)
    if not 1 <= len(said) <= turns.MOST_MESSAGES:
        raise fault(f"There must be 1 to {turns.MOST_MESSAGES} items, not {len(said)}.", "input", said)
    continues = any(given.get(name) for name in CONTINUED_BY)
    for number, item in enumerate(said):
        if isinstance(item, dict) and item.get("type") != "mcp_list_tools":  # whose tools are an answer
            tools.tools_of(item.get("tools"), needs, f"input[{number}].tools")
    read = ((f"input[{number}]", items.read_item(item, f"input[{number}]", needs)) for number, item in enumerate(said))
    messages = tuple(items.joined(read, continues=continues))
    if not any(message.role == "user" for message in messages):
        raise fault("At least one item must be the user's.", "input", said)
    return messages


def write_request(request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
    """See `Protocol.write_request`. Nothing is kept at the vendor, where other users could find it, but where an
    operator allows that and the client asks for it."""
    verbatim, kept = request.is_verbatim(NAME), False
    sent = fields.to_send(request, upstream, takes, verbatim=verbatim)
    if verbatim:
        body = fields.passed_on(request, upstream, sent, OF_BODY)
        if isinstance(said := body["input"], list) and any(map(items.is_bare, said)):
            body["input"] = [_without_id(item) for item in said if not items.is_bare(item)]
        if "temperature" in sent:
            body["temperature"] = sent["temperature"]
        kept = upstream.allow_stored and body.get("store") is True
    else:
        if not REASONING.match(upstream.bare_model):
            sent.pop("effort", None)
        body = translate.body_of(request, sent) | fields.accepted(request, upstream)
    body |= {"model": upstream.model, "max_output_tokens": request.max_tokens, "store": kept}
    if upstream.effort and not request.effort:
        body["reasoning"] = (body.get("reasoning") or {}) | {"effort": upstream.effort}
    if request.pseudonym:
        body["safety_identifier"] = request.pseudonym
    if not stream:
        body.pop("stream_options", None)
    body.pop("stream", None)
    return body | ({"stream": True} if stream else {})


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
    """See `Protocol.takes`. Source: OpenAI's guides to its reasoning models and to migrating to Responses."""
    model, effort = upstream.bare_model, asked.get("effort") or upstream.effort
    always = bool(ALWAYS_THINKING.match(model))
    if name in SAMPLING:
        return not REASONING.match(model) or (effort == "none" and not always)
    if verbatim:
        return True
    if name in ("stop", "n", "name"):
        return False  # the API has no such field
    if name == "max_tokens":
        return bool(asked[name] >= LEAST_OUTPUT)
    if name == "effort":
        return effort != "none" or not always
    if name == "tools":
        return all(is_strict(tool.parameters) for tool in asked[name] if tool.strict)
    return not (name == "format" and asked[name].strict) or is_strict(asked[name].schema)


def without_thoughts(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `Protocol.without_thoughts`. What a model said with them goes without its id, too: the vendor knows by it
    which thoughts are missing."""
    said = body.get("input")
    if not isinstance(said, list):
        return dict(body)
    kept = [item for item in said if not (isinstance(item, dict) and item.get("type") == "reasoning")]
    return {**body, "input": [_without_id(item) for item in kept]}


def _without_id(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") not in WITH_IDS:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def prompt_tokens(request: ChatRequest, upstream: Upstream, words: int) -> int:
    """See `Protocol.prompt_tokens`."""
    return openai.prompt_tokens(request, upstream, words) + (
        fields.hidden_tokens(request) if request.is_verbatim(NAME) else 0
    )
