"""A server of OpenAI's Embeddings API: behaviours for `LoopbackProvider.always`, as strict as the vendor's own."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback import Fault, Recorded, status

FIELDS = {"model", "input", "encoding_format", "dimensions", "user", "tomorrow"}


def vector(number: int, dimensions: int = 4) -> list[float]:
    """The vector of the `number`-th input; its numbers are of single precision."""
    return [(number + 1) / 2**place for place in range(dimensions)]


def packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def unpacked(text: str) -> list[float]:
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@dataclass
class Vendor:
    """Answers with `vector(number)` for each input, in the form that is asked for or in `form`. `changes` replace
    fields of the answer; `backwards` gives the vectors in another order than asked for."""

    form: str = ""
    backwards: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    def __call__(self, recorded: Recorded) -> Fault:
        sent = recorded.json
        if not recorded.path.endswith("/embeddings") or not sent.keys() <= FIELDS:
            return refusal("Unrecognized request argument supplied.")
        given = sent["input"]
        several = isinstance(given, list) and not isinstance(given[0], int)
        inputs = given if several else [given]
        if any(len(item) > 30_000 for item in inputs):
            return refusal("This model's maximum context length is 8192 tokens, however you requested 9000 tokens.")
        form = self.form or sent.get("encoding_format", "float")
        made = [vector(number, sent.get("dimensions", 4)) for number in range(len(inputs))]
        data = [
            {"object": "embedding", "index": number, "embedding": packed(numbers) if form == "base64" else numbers}
            for number, numbers in enumerate(made)
        ]
        usage = {"prompt_tokens": 7 * len(inputs), "total_tokens": 7 * len(inputs)}
        body = {"object": "list", "data": data[::-1] if self.backwards else data, "model": "x-1", "usage": usage}
        return status(200, {"content-type": "application/json"}, body | {"extra": 1} | self.changes)


def refusal(message: str) -> Fault:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return status(400, body={"error": error})
