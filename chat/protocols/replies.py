"""What the formats' answers have in common when they are written."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from chat.types import Answer, Told

closed = with_config(ConfigDict(extra="forbid"))
Count = Annotated[int, Field(ge=0)]


class Noted(TypedDict):
    """What our header X-Cached says, in fields that other APIs do not have and their clients keep."""

    cached: NotRequired[
        Annotated[Literal[True], Field(description="An earlier answer, for free, since every provider failed.")]
    ]
    message: NotRequired[Annotated[str, Field(description="Why the answer is a cached one.")]]


def noted(answer: Answer | None) -> Noted:
    """Return the fields that say so where the answer is an earlier one."""
    return {"cached": True, "message": answer.message} if answer and answer.cached else {}


def type_of(error: Told, types: dict[int | str, str]) -> str:
    """Return a format's type of an error, by our code, else by the status, else by the status's hundred."""
    return next(types[key] for key in (error.code, error.status, error.status // 100) if key in types)


def param_of(context: dict[str, Any]) -> str | None:
    """Return the parameter at fault (`messages[0].content`), where one is known."""
    if "requested_model" in context:
        return "model"
    if context.get("reason") in ("context_length", "content_policy"):
        return "messages"
    names = [name for name in context.get("fields", ()) if name != "body"]
    place = context.get("param") or context.get("field") or next(iter(names), None)
    return place and str(place)


def spelled_out(error: Told) -> str:
    """Return the message with each fact that it only names (`available_models`) in the name's place."""

    def fact(name: re.Match[str]) -> str:
        value = error.context.get(name[1], name[0])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ", ".join(value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return re.sub(r"`(\w+)`", fact, error.message)
