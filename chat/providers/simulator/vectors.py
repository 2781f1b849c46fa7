"""The simulator's embeddings: texts that have words in common are near each other, others are not."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

from chat.protocols import embeddings
from chat.providers.simulator.answers import CHARS_PER_TOKEN
from chat.types import ChatRequest, Reply, Usage

DIMENSIONS = 1_536
PLACES = 8
"""The places of a vector in which a word shows."""


def embedded(request: ChatRequest) -> Reply:
    """Return a unit vector for each input, in the form that is asked for; always the same for the same input."""
    body = request.raw.body if request.raw else {}
    inputs = embeddings.inputs_of(body.get("input"))
    dimensions = body.get("dimensions") or DIMENSIONS
    in_base64 = body.get("encoding_format") == "base64"
    data = []
    for number, words in enumerate(inputs):
        vector = vector_of(words, dimensions)
        made = embeddings.packed_in_base64(vector) if in_base64 else vector
        data.append({"object": "embedding", "index": number, "embedding": made})
    counts = (len(words) if isinstance(words, list) else len(words) // CHARS_PER_TOKEN + 1 for words in inputs)
    return Reply((), "stop", Usage(sum(counts), 0), raw={"object": "list", "data": data})


def vector_of(words: str | Sequence[int], dimensions: int) -> list[float]:
    """Return the vector of a text, or of a list of tokens."""
    found = re.findall(r"\w+", words.casefold()) if isinstance(words, str) else [str(token) for token in words]
    vector = [0.0] * dimensions
    for word in found or [str(words)]:
        digest = hashlib.sha512(word.encode("utf-8", "replace")).digest()
        for start in range(0, PLACES * 8, 8):
            place = int.from_bytes(digest[start : start + 8])
            vector[(place >> 1) % dimensions] += 1.0 if place & 1 else -1.0
    length = math.sqrt(sum(number * number for number in vector))
    if not length:  # its words cancel each other out
        vector[0] = length = 1.0
    return [number / length for number in vector]
