"""The bodies of OpenAI's Chat Completions API that a client sees, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from chat.protocols import schemas
from chat.protocols.bodies import Asks, Flag, Hint, Label, NotEmpty, Says, Share, Tokens, VendorBody
from chat.protocols.replies import Count, Noted
from chat.types import LISTED, STORED, UNKNOWN

NAME = "openai"
MOST_STOPS = 4
MOST_ANSWERS = 128
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user"}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


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


class StreamOptions(VendorBody):
    include_usage: Flag | None = None
    include_obfuscation: Hint = None


Stops = Annotated[
    list[NotEmpty], Field(max_length=256), Says("This must be a string or a list of strings that are not empty.")
]
STOP = {"anyOf": [{"type": "string", "minLength": 1}, schemas.schema_of(Stops), {"type": "null"}]}
Answers = Annotated[int, Field(ge=1, le=MOST_ANSWERS), Says(f"This must be an integer from 1 to {MOST_ANSWERS}.")]
Effort = Annotated[Literal[EFFORTS], Says(f"This must be one of {', '.join(EFFORTS)}.")]  # type: ignore[valid-type]
Listed = Annotated[list[dict[str, Any]], Says("This must be a list of objects.")]


class ChatCompletion(VendorBody):
    """The body of a chat. Messages, tools and formats are read apart; fields that are not here are the vendor's own."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    messages: Annotated[Any, WithJsonSchema(schemas.messages_schema(tuple(ROLES)))]
    max_completion_tokens: Tokens | None = None
    max_tokens: Annotated[Tokens, AfterValidator(_one_limit)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2), Says("This must be a number from 0 to 2.")] | None = None
    top_p: Share | None = None
    stop: Annotated[Stops, BeforeValidator(_listed), WithJsonSchema(STOP)] = []
    n: Answers = 1
    stream: Flag = False
    stream_options: Annotated[StreamOptions, AfterValidator(_of_a_stream)] = StreamOptions()
    tools: Listed = []
    tool_choice: Annotated[Any, Field(description="auto, none, required, one function, or allowed_tools.")] = None
    parallel_tool_calls: Flag | None = None
    response_format: Annotated[dict[str, Any], Says("This must be an object.")] | None = None
    reasoning_effort: Effort | None = None
    user: Label = ""
    safety_identifier: Label = ""
    prompt_cache_key: Label = ""
    metadata: Hint = None
    prompt_cache_options: Hint = None
    prompt_cache_retention: Hint = None
    verbosity: Annotated[Any, Asks("verbosity", "medium")] = None
    audio: Annotated[Any, Asks("audio")] = None
    modalities: Annotated[Any, Asks("audio", ["text"])] = None
    frequency_penalty: Annotated[Any, Asks(UNKNOWN, 0)] = None
    presence_penalty: Annotated[Any, Asks(UNKNOWN, 0)] = None
    functions: Annotated[Any, Asks(UNKNOWN, [])] = None
    function_call: Annotated[Any, Asks(UNKNOWN, "none")] = None
    logit_bias: Annotated[Any, Asks(UNKNOWN, {})] = None
    logprobs: Annotated[Any, Asks(UNKNOWN, False)] = None
    top_logprobs: Annotated[Any, Asks(UNKNOWN, 0)] = None
    prediction: Annotated[Any, Asks(UNKNOWN)] = None
    seed: Annotated[Any, Asks(UNKNOWN)] = None
    moderation: Annotated[Any, Asks(LISTED)] = None
    service_tier: Annotated[Any, Asks(LISTED, "auto", "default")] = None
    store: Annotated[Any, Asks(STORED, False)] = None
    previous_response_id: Annotated[Any, Asks(STORED)] = None
    conversation: Annotated[Any, Asks(STORED)] = None
    web_search_options: Annotated[Any, Asks(LISTED)] = None
    best_of: Annotated[Any, Asks(LISTED, 1)] = None
    models: Annotated[Any, Asks(LISTED, [])] = None
    plugins: Annotated[Any, Asks(LISTED, [])] = None
    search_parameters: Annotated[Any, Asks(LISTED)] = None
    data_sources: Annotated[Any, Asks(LISTED, [])] = None
    preset: Annotated[Any, Asks(STORED)] = None
    deferred: Annotated[Any, Asks(STORED, False)] = None


def request_schema() -> dict[str, Any]:
    """Return the schema of the body of a request."""
    schema = schemas.nullable(schemas.schema_of(ChatCompletion))
    given = {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]}
    streaming = {"properties": {"stream": {"const": True}}, "required": ["stream"]}
    # Both limits may be given where they are equal, for which there is no keyword.
    limits = ("max_tokens", "max_completion_tokens")
    both = {"properties": {name: {"type": "integer"} for name in limits}, "required": list(limits)}
    return schema | {"allOf": [{"if": given, "then": streaming}, {"not": both}]}


# --- answers, which may have further fields of the vendor's -----------------------------------------------------------
class Function(TypedDict):
    name: str
    arguments: Annotated[str, Field(description="The text of a JSON object.")]


class ToolCall(TypedDict):
    id: str
    type: str
    function: NotRequired[Function]


class Said(TypedDict):
    role: Literal["assistant"]
    content: str | None
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCall] | None]


class OneChoice(TypedDict):
    index: Count
    message: Said
    finish_reason: str | None


class Counts(TypedDict):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class Completion(Noted):
    """A whole answer."""

    id: Annotated[str, Field(pattern="^chatcmpl-")]
    object: Literal["chat.completion"]
    created: Annotated[Count, Field(description="Seconds since 1970.")]
    model: str
    choices: list[OneChoice]
    usage: Counts


REPLY = Completion
