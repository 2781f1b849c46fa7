"""The models on offer, as OpenAI lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from typing_extensions import TypedDict

from chat.protocols.replies import Count, closed
from chat.types import Model


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


def write_model(model: Model) -> dict[str, Any]:
    """See `Protocol.write_model`. When it was made, models.toml does not say."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.routes[0].provider.key}


def write_models(models: Iterable[Model]) -> dict[str, Any]:
    """See `Protocol.write_models`."""
    return {"object": "list", "data": [write_model(model) for model in models]}
