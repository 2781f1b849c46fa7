"""A chat as OpenAI's clients ask for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from chat.exceptions import InvalidMessageFormatError, UnsupportedParameter
from chat.protocols import bodies, fields
from chat.protocols.bodies import Body, Flag, Label, NotEmpty, Only, Says, Share, Tokens, echo
from chat.types import SAMPLING, Catalogue, ChatRequest, Message, Upstream, Wish

MOST_STOPS = 4
REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)(?!\S*-chat\b))")
"""The beginning of the names of OpenAI's models that think. They refuse sampling while they do."""
ALWAYS_THINKING = re.compile(r"(?:ft:)?o\d")
OPENAI_HOSTS = (
    ".openai.com",
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
OTHER_ROLES = ("tool", "function")
OTHER_PARTS = ("image_url", "input_audio", "file", "refusal")
NAME = re.compile(r"[^\s<|\\/>]{1,64}")
"""A participant's name, as OpenAI's reference has it."""
MAY_BE_BLANK = ("system", "assistant")
OF_A_MESSAGE: bodies.Harmless = {
    # What an answer carries besides its text, so that it can be sent back as it came.
    "refusal": (),
    "annotations": ([],),
    "audio": (),
    "tool_calls": ([],),
    "function_call": (),
}
OF_A_PART: bodies.Harmless = {"prompt_cache_breakpoint": ()}


def _one_limit(value: int, info: ValidationInfo) -> int:
    if info.data.get("max_completion_tokens", value) not in (value, None):
        raise PydanticCustomError("complaint", "This differs from max_completion_tokens; send one of them.")
    return value


def _of_a_stream(value: StreamOptions, info: ValidationInfo) -> StreamOptions:
    if not info.data.get("stream"):
        raise PydanticCustomError("complaint", "This needs stream to be true.")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class StreamOptions(Body):
    include_usage: Flag | None = None
    include_obfuscation: Annotated[Any, Only(False)] = None


Stops = Annotated[
    list[NotEmpty],
    Field(max_length=MOST_STOPS),
    Says(f"This must be a list of up to {MOST_STOPS} strings that are not empty."),
]
STOP = {"anyOf": [{"type": "string", "minLength": 1}, bodies.schema_of(Stops), {"type": "null"}]}


class ChatCompletion(Body):
    """The body of a chat. The messages are read apart, since the first fault in them is told alone."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    messages: Annotated[Any, WithJsonSchema(bodies.messages_schema(tuple(ROLES), OF_A_PART, OF_A_MESSAGE))]
    max_completion_tokens: Tokens | None = None
    max_tokens: Annotated[Tokens, AfterValidator(_one_limit)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2), Says("This must be a number from 0 to 2.")] | None = None
    top_p: Share | None = None
    stop: Annotated[Stops, BeforeValidator(_listed), WithJsonSchema(STOP)] = []
    stream: Flag = False
    stream_options: Annotated[StreamOptions, AfterValidator(_of_a_stream)] = StreamOptions()
    user: Label = ""
    safety_identifier: Label = ""
    prompt_cache_key: Label = ""
    audio: Annotated[Any, Only()] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    function_call: Annotated[Any, Only("none")] = None
    functions: Annotated[Any, Only([])] = None
    logit_bias: Annotated[Any, Only({})] = None
    logprobs: Annotated[Any, Only(False)] = None
    metadata: Annotated[Any, Only({})] = None
    modalities: Annotated[Any, Only(["text"])] = None
    moderation: Annotated[Any, Only()] = None
    n: Annotated[Any, Only(1)] = None
    parallel_tool_calls: Annotated[Any, Only(True, False)] = None
    prediction: Annotated[Any, Only()] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    prompt_cache_options: Annotated[Any, Only()] = None
    prompt_cache_retention: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only()] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    seed: Annotated[Any, Only()] = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    store: Annotated[Any, Only(False)] = None
    tool_choice: Annotated[Any, Only("none")] = None
    tools: Annotated[Any, Only([])] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    verbosity: Annotated[Any, Only("medium")] = None
    web_search_options: Annotated[Any, Only()] = None


def read_request(data: Any, catalogue: Catalogue) -> Wish:
    """See `Protocol.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue)
    items = bodies.list_of_messages(given.get("messages"))
    read = tuple(_read_message(item, f"messages[{number}]") for number, item in enumerate(items))
    messages = bodies.with_a_users(read, items)
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


def request_schema() -> dict[str, Any]:
    """Return the schema of the body of a request."""
    schema = bodies.nullable(bodies.schema_of(ChatCompletion))
    given = {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]}
    streaming = {"properties": {"stream": {"const": True}}, "required": ["stream"]}
    # Both limits may be given where they are equal, for which there is no keyword.
    limits = ("max_tokens", "max_completion_tokens")
    both = {"properties": {name: {"type": "integer"} for name in limits}, "required": list(limits)}
    return schema | {"allOf": [{"if": given, "then": streaming}, {"not": both}]}


def _read_message(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        complaint = "A message is an object with a role and a content."
        raise InvalidMessageFormatError(complaint, field=place, received=echo(item))
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
    if extra := item.keys() - {"role", "content", "name", *OF_A_MESSAGE}:
        complaint = "A message has a role and a content, and nothing else."
        raise InvalidMessageFormatError(complaint, field=place, received=echo(sorted(extra)))
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
