"""What the faces of other APIs answer, as JSON Schema: read by the OpenAPI schema alone, and held true by its tests."""

from __future__ import annotations

from typing import Any

from chat.problems.envelopes import closed
from chat.problems.facts import COUNT, TEXT

NOTED = {
    "cached": {"const": True, "description": "An earlier answer, for free, since every provider failed."},
    "message": TEXT | {"description": "Why the answer is a cached one."},
}
"""In place where X-Cached is; no fields of the other APIs."""


def answer(properties: dict[str, Any]) -> dict[str, Any]:
    schema = closed(properties)
    return schema | {"properties": properties | NOTED}


def const(value: str) -> dict[str, Any]:
    return {"type": "string", "const": value}


def items(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


NONE = {"type": "null"}
CHAT_COMPLETION = answer(
    {
        "id": TEXT | {"pattern": "^chatcmpl-"},
        "object": const("chat.completion"),
        "created": COUNT | {"description": "Seconds since 1970."},
        "model": TEXT,
        "system_fingerprint": NONE,
        "choices": items(
            closed(
                {
                    "index": {"type": "integer", "const": 0},
                    "message": closed({"role": const("assistant"), "content": TEXT, "refusal": NONE}),
                    "logprobs": NONE,
                    "finish_reason": {"type": "string", "enum": ["stop", "length", "content_filter"]},
                }
            )
        ),
        "usage": closed({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}),
    }
)
MESSAGE = answer(
    {
        "id": TEXT | {"pattern": "^msg_"},
        "type": const("message"),
        "role": const("assistant"),
        "model": TEXT,
        "content": items(closed({"type": const("text"), "text": TEXT})),
        "stop_reason": {"type": "string", "enum": ["end_turn", "max_tokens", "refusal"]},
        "stop_sequence": NONE,
        "usage": closed({"input_tokens": COUNT, "output_tokens": COUNT}),
    }
)
MODEL = closed({"id": TEXT, "object": const("model"), "created": COUNT, "owned_by": TEXT})
MODELS = closed({"object": const("list"), "data": items(MODEL)})
