"""The bodies of Anthropic's API that a client sees, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from chat.protocols import schemas
from chat.protocols.bodies import Asks, Body, Bound, Flag, Label, NotEmpty, Says, Share, VendorBody
from chat.protocols.replies import Count, Noted, closed

ROLES = ("user", "assistant")
MOST_SEQUENCES = 256


class Metadata(Body):
    user_id: Label | None = None


class Messages(VendorBody):
    """The body of a chat. The messages and the system prompt are read apart, since the first fault in them is told
    alone."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    messages: Annotated[Any, WithJsonSchema(schemas.messages_schema(ROLES))]
    # Its clients must send one, and fill in the most that any model gives: an upper bound, not a need.
    max_tokens: Bound
    system: Any = None
    temperature: Share | None = None
    top_p: Share | None = None
    stop_sequences: Annotated[
        list[NotEmpty],
        Field(max_length=MOST_SEQUENCES),
        Says(f"This must be a list of up to {MOST_SEQUENCES} strings that are not empty."),
    ] = []
    stream: Flag = False
    metadata: Metadata = Metadata()
    betas: Annotated[Any, Asks("unknown", [])] = None
    cache_control: Annotated[Any, Asks("unknown")] = None
    container: Annotated[Any, Asks("unknown")] = None
    context_management: Annotated[Any, Asks("unknown")] = None
    diagnostics: Annotated[Any, Asks("unknown")] = None
    inference_geo: Annotated[Any, Asks("unknown")] = None
    mcp_servers: Annotated[Any, Asks("unknown", [])] = None
    output_config: Annotated[Any, Asks("unknown", {})] = None
    output_format: Annotated[Any, Asks("unknown")] = None
    service_tier: Annotated[Any, Asks("unknown", "auto", "standard_only")] = None
    speed: Annotated[Any, Asks("unknown", "standard")] = None
    thinking: Annotated[Any, Asks("unknown", {"type": "disabled"})] = None
    tool_choice: Annotated[Any, Asks("unknown", {"type": "none"})] = None
    tools: Annotated[Any, Asks("unknown", [])] = None
    top_k: Annotated[Any, Asks("unknown")] = None
    user_profile_id: Annotated[Any, Asks("unknown")] = None
    workspace_id: Annotated[Any, Asks("unknown")] = None


def request_schema() -> dict[str, Any]:
    """Return the schema of the body of a request."""
    return schemas.nullable(schemas.schema_of(Messages))


# --- answers ----------------------------------------------------------------------------------------------------------
@closed
class Block(TypedDict):
    type: Literal["text"]
    text: str


@closed
class Counts(TypedDict):
    input_tokens: Count
    output_tokens: Count


@closed
class WholeMessage(Noted):
    """A whole answer."""

    id: Annotated[str, Field(pattern="^msg_")]
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "refusal"]
    stop_sequence: str | None
    usage: Counts


REPLY = WholeMessage
