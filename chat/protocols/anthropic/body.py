"""The bodies of Anthropic's API that a client sees, declared once."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from chat.protocols import schemas
from chat.protocols.bodies import Asks, Flag, Hint, Label, NotEmpty, Says, Share, VendorBody
from chat.protocols.replies import Count, Noted
from chat.types import LISTED, STORED, UNKNOWN

NAME = "anthropic"
ROLES = ("user", "assistant", "system")
MOST_SEQUENCES = 256
EFFORTS = ("low", "medium", "high", "xhigh", "max")
NOT_COUNTED = ("max_tokens", "stream", "thread", "metadata")
"""Fields that say nothing of the prompt."""
SYSTEM = {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "object"}}]}

AnObject = Annotated[dict[str, Any], Says("This must be an object.")]
Limit = Annotated[int, Field(ge=0), Says("This must be an integer, 0 or more.")]


class Metadata(VendorBody):
    user_id: Label | None = None


class OutputConfig(VendorBody):
    """How the answer is to be written. Values that nobody here knows are for the vendor to refuse."""

    effort: Annotated[Any, Asks(UNKNOWN, *EFFORTS)] = None
    format: AnObject | None = None


class Thinking(VendorBody):
    """How much the model is to think: these fields say no more than what of it is shown."""

    type: Annotated[Any, Asks(UNKNOWN, "enabled", "adaptive", "disabled")] = None
    budget_tokens: Hint = None
    display: Hint = None
    block_binding: Hint = None


class Messages(VendorBody):
    """The body of a chat. Messages, the system prompt and tools are read apart; fields that are not here are the
    vendor's own."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    messages: Annotated[Any, WithJsonSchema(schemas.messages_schema(ROLES))]
    # Its clients must send one, and fill in the most that any model gives: an upper bound, not a need.
    max_tokens: Limit
    system: Annotated[Any, WithJsonSchema(SYSTEM)] = None
    temperature: Share | None = None
    top_p: Share | None = None
    stop_sequences: Annotated[
        list[NotEmpty],
        Field(max_length=MOST_SEQUENCES),
        Says(f"This must be a list of up to {MOST_SEQUENCES} strings that are not empty."),
    ] = []
    stream: Flag = False
    tools: Annotated[list[dict[str, Any]], Says("This must be a list of objects.")] = []
    tool_choice: AnObject | None = None
    thinking: AnObject | None = None
    output_config: OutputConfig = OutputConfig()
    context_management: AnObject | None = None
    metadata: Metadata = Metadata()
    container: Any = None
    cache_control: Hint = None
    diagnostics: Hint = None
    betas: Annotated[Any, Asks(UNKNOWN, [])] = None
    top_k: Annotated[Any, Asks(UNKNOWN)] = None
    billing_policy: Annotated[Any, Asks(LISTED)] = None
    fallbacks: Annotated[Any, Asks(LISTED, [])] = None
    # Redeemed by the organization, so by any user of our key: it would find that of another.
    fallback_credit_token: Annotated[Any, Asks(STORED)] = None
    inference_geo: Annotated[Any, Asks(LISTED)] = None
    mcp_servers: Annotated[Any, Asks(LISTED, [])] = None
    service_tier: Annotated[Any, Asks(LISTED, "auto", "standard_only")] = None
    speed: Annotated[Any, Asks(LISTED, "standard")] = None
    # Whom the vendor bills and counts for it, which the headers of these names are kept back for.
    user_profile_id: Annotated[Any, Asks(LISTED)] = None
    workspace_id: Annotated[Any, Asks(LISTED)] = None


def request_schema() -> dict[str, Any]:
    """See `Face.request_schema`."""
    return schemas.nullable(schemas.schema_of(Messages))


def count_schema() -> dict[str, Any]:
    """Return the schema of a request to count the tokens of a prompt: that of a chat, without what is not read."""
    schema = request_schema()
    read = {name: value for name, value in schema["properties"].items() if name not in NOT_COUNTED}
    return schema | {"properties": read, "required": [name for name in schema["required"] if name in read]}


# --- answers, which may have further fields of the vendor's -----------------------------------------------------------
class Block(TypedDict):
    type: Annotated[str, Field(description="text, tool_use or thinking, or another of the vendor's.")]
    text: NotRequired[str]


class Counts(TypedDict):
    input_tokens: Annotated[Count, Field(description="Without those of the vendor's cache.")]
    output_tokens: Count
    cache_creation_input_tokens: NotRequired[Count | None]
    cache_read_input_tokens: NotRequired[Count | None]


class WholeMessage(Noted):
    """A whole answer."""

    id: Annotated[str, Field(pattern="^msg_")]
    type: str
    role: str
    model: str
    content: list[Block]
    stop_reason: Annotated[str, Field(description="end_turn, max_tokens, stop_sequence, tool_use, refusal …")]
    stop_sequence: str | None
    usage: Counts


REPLY = WholeMessage


class Counted(TypedDict):
    """The tokens of a prompt."""

    input_tokens: Count


COUNT = Counted
