"""The bodies of errors, one shape for each API that is spoken here, at run time and in the OpenAPI schema alike.
Codes, statuses and words are the problems table's, none is written here."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from django.http import HttpRequest

from chat.conf import is_vendors
from chat.problems.facts import FACTS, TEXT
from chat.problems.negotiation import PROBLEM_JSON
from chat.problems.table import Description, Problem, describe
from chat.protocols import anthropic, embeddings, native, openai
from chat.protocols.protocol import Face
from chat.types import Told

EXAMPLE_ID = "3f8e1c52-6d0b-4c7a-9a53-0d8c5b1f2e64"


class Content(NamedTuple):
    """One error in one media type: its schema, which becomes the component `name`, and an example."""

    media_type: str
    name: str
    schema: dict[str, Any]
    example: dict[str, Any]


class Envelope:
    """The shape of one API's error bodies. Its views name it as their `envelope`, for the schema. This is our own."""

    prefix = ""
    """What the names of its components in the schema begin with."""
    format: ClassVar[Face] = native

    def body(self, description: Description, request_id: str) -> dict[str, Any]:
        """Return the error as a client of this API expects it."""
        return self.format.write_error(told(description), request_id)

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of bodies like `example`."""
        return facts_schema(example, {"error": {"const": example["error"]}, "message": TEXT, "request_id": TEXT})

    def contents(self, problem: Problem) -> Iterator[Content]:
        """Return the error in each media type that a client may ask for."""
        description = describe(problem.example)
        example = self.body(description, EXAMPLE_ID)
        name = f"{self.prefix}{pascal(problem.code)}Error"
        yield Content("application/json", name, self.schema(example), example)
        details = problem_details(description, EXAMPLE_ID, f"/errors/{problem.code}")
        yield Content(PROBLEM_JSON, "ProblemDetails", PROBLEM_DETAILS, details)


class OpenAIEnvelope(Envelope):
    """OpenAI's: exactly four keys. The facts that have none of their own stand in the message."""

    prefix = "OpenAI"
    format: ClassVar[Face] = openai

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        error = example["error"]
        fixed = {name: {"const": error[name]} for name in ("type", "code")}
        return closed({"error": closed({"message": TEXT, "param": {"type": ["string", "null"]}} | fixed)})


class EmbeddingsEnvelope(OpenAIEnvelope):
    """OpenAI's, where what a chat has as messages is an input."""

    format: ClassVar[Face] = embeddings


class AnthropicEnvelope(Envelope):
    """Anthropic's: our code and its facts are the `details`."""

    prefix = "Anthropic"
    format: ClassVar[Face] = anthropic

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        details = example["error"]["details"]
        facts = facts_schema(details, {"error_code": {"const": details["error_code"]}})
        error = closed({"type": {"const": example["error"]["type"]}, "message": TEXT, "details": facts})
        return closed({"type": {"const": "error"}, "error": error, "request_id": TEXT})


NATIVE, OPENAI, EMBEDDINGS, ANTHROPIC = Envelope(), OpenAIEnvelope(), EmbeddingsEnvelope(), AnthropicEnvelope()
BY_NAME = {"chat": OPENAI, "responses": OPENAI, "embeddings": EMBEDDINGS, "messages": ANTHROPIC}
"""The envelopes of the vendors' endpoints, by the first word of a path after /v1."""


def envelope_of(request: HttpRequest) -> Envelope:
    """Return the envelope, by the path alone, so that an error has the same shape wherever it came about, in a view or
    long before one.

    What is neither's alone (`/v1/models`, an unknown path) is Anthropic's for a request that names an
    `anthropic-version`, as all of Anthropic's SDKs do.
    """
    either = ANTHROPIC if "anthropic-version" in request.headers else OPENAI
    return envelope_by_path(request) or either


def envelope_by_path(request: HttpRequest) -> Envelope | None:
    """None where the header decides, which a shared cache has to be told."""
    _, name = (*filter(None, request.path_info.split("/")), "", "")[:2]
    return BY_NAME.get(name) if is_vendors(request.path_info) else NATIVE


def told(description: Description) -> Told:
    """Return the error as the formats write it."""
    problem = description.problem
    return Told(problem.code, description.status, description.message, description.context, description.vendor)


def problem_details(description: Description, request_id: str, type_uri: str) -> dict[str, Any]:
    """RFC 9457's shape."""
    problem = description.problem
    shape = {
        "type": type_uri,
        "title": problem.title,
        "status": description.status,
        "detail": description.message,
        "instance": f"urn:uuid:{request_id}" if _is_uuid(request_id) else request_id,
    }
    return shape | description.context


PROBLEM_DETAILS = {
    "type": "object",
    "description": "RFC 9457's shape, for a client that accepts it; with the same facts.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The error's page in the catalogue."},
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "instance": {"type": "string", "description": "The request's id."},
    }
    | FACTS,
    "required": ["type", "title", "status", "detail", "instance"],
}


def facts_schema(example: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of objects like `example`. Each of its facts is in them all, but for a wait that may have no
    end."""
    facts = {name: FACTS[name] for name in example if name not in words}
    return closed(words | facts) | {"required": [name for name in example if name != "retry_after"]}


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of objects that have exactly these."""
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def pascal(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


def _is_uuid(text: str) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F-]{36}", text):
        return False
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
