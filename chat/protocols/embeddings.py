"""OpenAI's Embeddings API: texts in, vectors out.

Source: platform.openai.com/docs/api-reference/embeddings, and the types of the package openai. There are no streams, no
tools and no thoughts here. The body goes on as it came, and so does the answer.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from chat.protocols import bodies, fields, openai, schemas
from chat.protocols.bodies import Label, Says, VendorBody
from chat.protocols.openai import ERRORS as ERRORS
from chat.protocols.openai import EventWriter as EventWriter
from chat.protocols.openai import error_schema as error_schema
from chat.protocols.openai import headers as headers
from chat.protocols.openai import read_error as read_error
from chat.protocols.openai import read_event as read_event
from chat.protocols.openai import request_headers as request_headers
from chat.protocols.openai import root as root
from chat.protocols.openai import without_thoughts as without_thoughts
from chat.protocols.payload import UnusableReply, as_object, count, usage_of
from chat.protocols.replies import Count
from chat.types import (
    EMBEDDINGS,
    Answer,
    Catalogue,
    ChatRequest,
    FinishReason,
    Message,
    Raw,
    Reply,
    Told,
    Upstream,
    Wish,
)

NAME = EMBEDDINGS
VENDOR = "api.openai.com"
PATH = "/embeddings"
COUNT_PATH = ""
MODELS_PATH = "/models"
LARGEST_REPLY = 64 * 1024 * 1024
"""2,048 vectors of 3,072 numbers each in base64 are 34 MB, written out as numbers up to 140."""
TERMINATOR: bytes | None = None
MAY_OMIT_TERMINATOR = False
FINISH_REASONS: Mapping[str, FinishReason] = {}
CARRIES: frozenset[str] = frozenset()

MOST_INPUTS = 2_048
MOST_DIMENSIONS = 8_192
FLOAT = 4
"""Bytes of a number of a vector in base64: little-endian, of single precision."""
WRONG_INPUT = (
    f"This must be a string, a list of 1 to {MOST_INPUTS:,} strings, a list of tokens, or a list of those; none empty."
)


def _inputs(value: Any) -> Any:
    if not inputs_of(value) or not all(inputs_of(value)):
        raise PydanticCustomError("complaint", WRONG_INPUT)
    return value


class Embeddings(VendorBody):
    """The body of a request."""

    model: Annotated[Any, WithJsonSchema({"type": "string", "description": "One of GET /v1/models that embeds."})]
    input: Annotated[
        Any,
        AfterValidator(_inputs),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {
                        "type": "array",
                        "items": {"type": "string", "minLength": 1},
                        "minItems": 1,
                        "maxItems": MOST_INPUTS,
                    },
                    {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
                    {
                        "type": "array",
                        "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
                        "minItems": 1,
                        "maxItems": MOST_INPUTS,
                    },
                ]
            }
        ),
    ]
    encoding_format: Annotated[Literal["float", "base64"], Says("This must be float or base64.")] = "float"
    dimensions: (
        Annotated[int, Field(ge=1, le=MOST_DIMENSIONS), Says(f"This must be an integer from 1 to {MOST_DIMENSIONS:,}.")]
        | None
    ) = None
    user: Label = ""


class Vector(TypedDict):
    object: Literal["embedding"]
    index: Count
    embedding: Annotated[list[float] | str, Field(description="Numbers, or base64 of them (float32, little-endian).")]


class Counts(TypedDict):
    prompt_tokens: Count
    total_tokens: Count


class Vectors(TypedDict):
    """The vectors, one for each input, in its order."""

    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: Counts


REPLY = Vectors


def request_schema() -> dict[str, Any]:
    """See `Face.request_schema`."""
    return schemas.nullable(schemas.schema_of(Embeddings))


def inputs_of(value: Any) -> Sequence[str | list[int]]:
    """Return the inputs in the field `input`, none of one that is no such field. A list of tokens is one input."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        return ()
    if value and all(type(item) is int and item >= 0 for item in value):
        return (value,)
    texts = all(isinstance(item, str) for item in value)
    lists = all(isinstance(item, list) and all(type(token) is int and token >= 0 for token in item) for item in value)
    return value if len(value) <= MOST_INPUTS and (texts or lists) else ()


def read_request(data: Any, catalogue: Catalogue, headers: Mapping[str, str]) -> Wish:
    """See `Face.read_request`."""
    given = bodies.object_of(data)
    model = bodies.model_of(given, catalogue, "embedding")
    body = bodies.read(Embeddings, given, model)
    request = asking(given, inputs_of(body.input))
    return Wish(model=model, request=replace(request, needs=tuple(bodies.needs_of(Embeddings, given))))


def asking(body: Mapping[str, Any], inputs: Sequence[str | list[int]]) -> ChatRequest:
    """Return the request for the vectors of `inputs`: each text is a message, so that it is counted and kept private
    as one is."""
    texts = (text for text in inputs if isinstance(text, str))
    return ChatRequest(tuple(Message.of("user", text) for text in texts), raw=Raw(NAME, body))


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
    """See `Protocol.takes`. What it does not take the vendor says."""
    return True


def prompt_tokens(request: ChatRequest, upstream: Upstream, words: int) -> int:
    """See `Protocol.prompt_tokens`. Lists of tokens are counted already."""
    return words + sum(len(tokens) for tokens in _asked(request) if isinstance(tokens, list))


def write_request(request: ChatRequest, upstream: Upstream, *, host: str, stream: bool) -> dict[str, Any]:
    """See `Protocol.write_request`."""
    body = fields.passed_on(request, upstream, {}, {}) | {"model": upstream.model}
    return body | ({"user": request.pseudonym} if request.pseudonym else {})


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`. The vectors are in the client's form and in the order of its inputs, whatever the
    server made of that."""
    usage = as_object(data.get("usage"))
    counted = usage_of(count(usage.get("prompt_tokens", usage.get("total_tokens"))), 0)
    found, wanted = data.get("data"), len(_asked(request))
    if not isinstance(found, list) or len(found) != wanted or not all(isinstance(item, dict) for item in found):
        raise UnusableReply("there is not one vector for each input", counted)
    places = [item.get("index", number) for number, item in enumerate(found)]
    if sorted(places, key=str) != sorted(range(wanted), key=str):
        raise UnusableReply("the vectors are not numbered as the inputs are", counted)
    in_base64 = _body(request).get("encoding_format") == "base64"
    try:
        made = [
            {**item, "object": "embedding", "index": place, "embedding": _vector(item["embedding"], in_base64)}
            for place, item in zip(places, found, strict=True)
        ]
    except (KeyError, OverflowError, TypeError, ValueError, struct.error):
        raise UnusableReply("a vector is none", counted) from None
    made.sort(key=lambda item: item["index"])
    return Reply((), "stop", counted, raw={**data, "data": made})


def _vector(value: Any, in_base64: bool) -> list[float] | str:
    """Return a vector in the form that is asked for. Raises where it is none."""
    if isinstance(value, str):
        packed = base64.b64decode(value, validate=True)
        if not packed or len(packed) % FLOAT:
            raise ValueError
        return value if in_base64 else list(struct.unpack(f"<{len(packed) // FLOAT}f", packed))
    if not value or not all(isinstance(number, int | float) for number in value):
        raise ValueError
    return packed_in_base64(value) if in_base64 else value


def packed_in_base64(vector: Sequence[float]) -> str:
    """Return a vector as OpenAI packs it."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def write_reply(answer: Answer, wish: Wish) -> dict[str, Any]:
    """See `Face.write_reply`."""
    raw, total = answer.raw or {}, answer.charged.total
    usage = as_object(raw.get("usage")) | {"prompt_tokens": answer.charged.prompt_tokens, "total_tokens": total}
    return {**raw, "object": "list", "model": answer.model, "usage": usage}


def write_error(error: Told, request_id: str) -> dict[str, Any]:
    """See `Face.write_error`. What is a message elsewhere is an input here."""
    body = openai.write_error(error, request_id)
    return {"error": body["error"] | {"param": "input"}} if body["error"]["param"] == "messages" else body


def _body(request: ChatRequest) -> Mapping[str, Any]:
    return request.raw.body if request.raw else {}


def _asked(request: ChatRequest) -> Sequence[str | list[int]]:
    return inputs_of(_body(request).get("input"))
