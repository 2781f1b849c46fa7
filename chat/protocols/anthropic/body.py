"""The bodies of Anthropic's API that a client sees, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from chat.protocols import bodies
from chat.protocols.bodies import Body, Bound, Flag, Label, NotEmpty, Only, Says, Share
from chat.protocols.replies import Count, Noted, closed

ROLES = ("user", "assistant")
OTHER_BLOCKS = (
    "image",
    "document",
    "search_result",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "web_search_tool_result",
    "container_upload",
)
MOST_SEQUENCES = 256
OF_A_BLOCK: bodies.Harmless = {"cache_control": (), "citations": ([],)}
SYSTEM = {
    "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": bodies.part_schema(OF_A_BLOCK)}],
}


class Metadata(Body):
    user_id: Label | None = None


class Messages(Body):
    """The body of a chat. The messages and the system prompt are read apart, since the first fault in them is told
    alone."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models."})]
    messages: Annotated[Any, WithJsonSchema(bodies.messages_schema(ROLES, OF_A_BLOCK, {}))]
    # Its clients must send one, and fill in the most that any model gives: an upper bound, not a need.
    max_tokens: Bound
    system: Annotated[Any, WithJsonSchema(SYSTEM)] = None
    temperature: Share | None = None
    top_p: Share | None = None
    stop_sequences: Annotated[
        list[NotEmpty],
        Field(max_length=MOST_SEQUENCES),
        Says(f"This must be a list of up to {MOST_SEQUENCES} strings that are not empty."),
    ] = []
    stream: Flag = False
    metadata: Metadata = Metadata()
    betas: Annotated[Any, Only([])] = None
    cache_control: Annotated[Any, Only()] = None
    container: Annotated[Any, Only()] = None
    context_management: Annotated[Any, Only()] = None
    diagnostics: Annotated[Any, Only()] = None
    inference_geo: Annotated[Any, Only()] = None
    mcp_servers: Annotated[Any, Only([])] = None
    output_config: Annotated[Any, Only({})] = None
    output_format: Annotated[Any, Only()] = None
    service_tier: Annotated[Any, Only("auto", "standard_only")] = None
    speed: Annotated[Any, Only("standard")] = None
    thinking: Annotated[Any, Only({"type": "disabled"})] = None
    tool_choice: Annotated[Any, Only({"type": "none"})] = None
    tools: Annotated[Any, Only([])] = None
    top_k: Annotated[Any, Only()] = None
    user_profile_id: Annotated[Any, Only()] = None
    workspace_id: Annotated[Any, Only()] = None


def request_schema() -> dict[str, Any]:
    """Return the schema of the body of a request."""
    return bodies.nullable(bodies.schema_of(Messages))


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
