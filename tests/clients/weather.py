"""What each client talks about: the weather in two cities, asked of a tool, and then a report by a schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from chat.models import UsageRecord

QUESTION = "How is the weather in Rome and in Oslo?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "The weather of a city.", "parameters": SCHEMA, "strict": True}
WEATHER = {"Rome": "sunny", "Oslo": "snow"}
SAID = "They say: sunny, snow"


class Report(BaseModel):
    """The weather of a city."""

    model_config = ConfigDict(extra="forbid")
    city: str
    degrees: int


REPORT = Report(city="Rome", degrees=21)


def bills() -> list[tuple[str, int, int, int, bool]]:
    """What was charged: all three vendors report the same usage."""
    fields = ("state", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated")
    return list(UsageRecord.objects.order_by("pk").values_list(*fields))


BILL = ("settled", 36, 87, 12, False)
