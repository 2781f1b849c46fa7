"""The models on offer, as one object that the clients of both vendors read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chat.protocols.replies import Count, closed
from chat.types import Model

NEVER = "1970-01-01T00:00:00Z"
"""For a time that both APIs require and models.toml does not have."""


@closed
class Entry(TypedDict):
    """A model: OpenAI's fields first, then those that are Anthropic's alone."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_tokens: Annotated[int | None, Field(description="The most that a chat may ask for; null: it does not chat.")]


@closed
class Listing(TypedDict):
    """All models on offer, on one page."""

    object: Literal["list"]
    data: list[Entry]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None


def write_model(model: Model) -> dict[str, Any]:
    """Return one model on offer."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": model.routes[0].provider.key,
        "type": "model",
        "display_name": model.name,
        "created_at": NEVER,
        "lifecycle": "active",
        "max_tokens": model.max_output_tokens or None,
    }


def write_models(models: Iterable[Model]) -> dict[str, Any]:
    """Return the list of the models on offer."""
    data = [write_model(model) for model in models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": False} | ends
