"""The bodies of OpenAI's API that a client sees, declared once."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from chat.protocols import bodies
from chat.protocols.bodies import Body, Flag, Label, NotEmpty, Only, Says, Share, Tokens
from chat.protocols.replies import Count, Noted, closed
from chat.types import FinishReason

MOST_STOPS = 4
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


def request_schema() -> dict[str, Any]:
    """Return the schema of the body of a request."""
    schema = bodies.nullable(bodies.schema_of(ChatCompletion))
    given = {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]}
    streaming = {"properties": {"stream": {"const": True}}, "required": ["stream"]}
    # Both limits may be given where they are equal, for which there is no keyword.
    limits = ("max_tokens", "max_completion_tokens")
    both = {"properties": {name: {"type": "integer"} for name in limits}, "required": list(limits)}
    return schema | {"allOf": [{"if": given, "then": streaming}, {"not": both}]}


# --- answers ----------------------------------------------------------------------------------------------------------
@closed
class Said(TypedDict):
    role: Literal["assistant"]
    content: str
    refusal: None


@closed
class Choice(TypedDict):
    index: Literal[0]
    message: Said
    logprobs: None
    finish_reason: FinishReason


@closed
class Counts(TypedDict):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


@closed
class Completion(Noted):
    """A whole answer."""

    id: Annotated[str, Field(pattern="^chatcmpl-")]
    object: Literal["chat.completion"]
    created: Annotated[Count, Field(description="Seconds since 1970.")]
    model: str
    system_fingerprint: None
    choices: list[Choice]
    usage: Counts


REPLY = Completion


@closed
class Entry(TypedDict):
    id: str
    object: Literal["model"]
    created: Count
    owned_by: str


@closed
class Listing(TypedDict):
    object: Literal["list"]
    data: list[Entry]
