"""The bodies of OpenAI's Responses API that a client sees, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from chat.protocols import schemas
from chat.protocols.bodies import Asks, Flag, Hint, Label, Says, Share, Tokens, VendorBody
from chat.protocols.openai.body import Effort, Listed
from chat.protocols.replies import Count, Noted
from chat.protocols.turns import MOST_MESSAGES
from chat.types import LISTED, STORED, UNKNOWN

NAME = "responses"
ITEM = {"type": "object", "description": "A message, a call, a call's output, or reasoning."}
INPUT = {
    "anyOf": [
        {"type": "string", "pattern": r"\S"},
        {"type": "array", "items": ITEM, "minItems": 1, "maxItems": MOST_MESSAGES},
    ],
    "description": f"What the user says, or the whole conversation: 1 to {MOST_MESSAGES} items.",
}
AT_ONCE: tuple[Any, ...] = (None, {}, {"completion_window": "soonest"})
"""The options of an answer in the background that ask for nothing."""
AnObject = Annotated[dict[str, Any], Says("This must be an object.")]


class Reasoning(VendorBody):
    effort: Effort | None = None
    summary: Hint = None
    generate_summary: Hint = None
    context: Annotated[Any, Asks(UNKNOWN, "auto")] = None
    mode: Annotated[Any, Asks(LISTED, "standard")] = None


class TextConfig(VendorBody):
    format: AnObject | None = None
    verbosity: Annotated[Any, Asks("verbosity", "medium")] = None


class CacheOptions(VendorBody):
    """What is to be cached of the prompt: fields that save money, but for one that asks for no answer at all, and one
    that names another request."""

    mode: Hint = None
    ttl: Hint = None
    prewarm: Annotated[Any, Asks(UNKNOWN, False)] = None
    comparison_response_id: Annotated[Any, Asks(STORED)] = None


class Create(VendorBody):
    """The body of a request. Items, tools and formats are read apart; fields that are not here are the vendor's own."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    input: Annotated[Any, WithJsonSchema(INPUT)]
    instructions: Annotated[str, Says("This must be a string.")] = ""
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2), Says("This must be a number from 0 to 2.")] | None = None
    top_p: Share | None = None
    stream: Flag = False
    tools: Listed = []
    tool_choice: Annotated[Any, Field(description="auto, none, required, one function, or allowed_tools.")] = None
    parallel_tool_calls: Flag | None = None
    text: TextConfig = TextConfig()
    reasoning: Reasoning = Reasoning()
    background: Annotated[Flag, WithJsonSchema({"enum": [False, None]})] = False
    background_options: Annotated[Any, WithJsonSchema({"enum": [*AT_ONCE]})] = None
    user: Label = ""
    safety_identifier: Label = ""
    prompt_cache_key: Label = ""
    prompt_cache_options: Hint = None
    prompt_cache_retention: Hint = None
    metadata: Hint = None
    include: Hint = None
    max_tool_calls: Hint = None
    stream_options: Hint = None
    image: Hint = None
    truncation: Annotated[Any, Asks(UNKNOWN, "disabled")] = None
    top_logprobs: Annotated[Any, Asks(UNKNOWN, 0)] = None
    context_management: Annotated[Any, Asks(UNKNOWN, [])] = None
    access_programs: Annotated[Any, Asks(LISTED)] = None
    moderation: Annotated[Any, Asks(LISTED)] = None
    service_tier: Annotated[Any, Asks(LISTED, "auto", "default")] = None
    store: Annotated[Any, Asks(STORED, False)] = None
    previous_response_id: Annotated[Any, Asks(STORED)] = None
    conversation: Annotated[Any, Asks(STORED)] = None
    prompt: Annotated[Any, Asks(STORED)] = None


def request_schema() -> dict[str, Any]:
    """See `Face.request_schema`."""
    return schemas.nullable(schemas.schema_of(Create))


# --- answers, which may have further fields of the vendor's -----------------------------------------------------------
class Item(TypedDict):
    id: str
    type: Annotated[str, Field(description="message, function_call or reasoning, or another of the vendor's.")]


class InputDetails(TypedDict):
    cached_tokens: Count
    cache_write_tokens: Count


class OutputDetails(TypedDict):
    reasoning_tokens: Count


class Counts(TypedDict):
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class Incomplete(TypedDict):
    reason: Annotated[str, Field(description="max_output_tokens or content_filter.")]


class Response(Noted):
    """A whole answer."""

    id: Annotated[str, Field(pattern="^resp_")]
    object: Literal["response"]
    created_at: Annotated[float, Field(ge=0, description="Seconds since 1970.")]
    status: Literal["completed", "incomplete"]
    error: None
    incomplete_details: Incomplete | None
    model: str
    output: list[Item]
    parallel_tool_calls: bool
    tool_choice: Any
    tools: list[dict[str, Any]]
    usage: Counts
    instructions: NotRequired[Any]
    text: NotRequired[Any]


REPLY = Response
