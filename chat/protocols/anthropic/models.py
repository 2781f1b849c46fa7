"""The models on offer, as Anthropic lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chat.types import Model

NEVER = "1970-01-01T00:00:00Z"
"""For a time that the API requires and models.toml does not have."""


def write_model(model: Model) -> dict[str, Any]:
    """See `Protocol.write_model`."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": NEVER,
        "lifecycle": "active",
        "max_tokens": model.max_output_tokens,
    }


def write_models(models: Iterable[Model]) -> dict[str, Any]:
    """See `Protocol.write_models`. All are on the first page."""
    data = [write_model(model) for model in models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False} | ends
