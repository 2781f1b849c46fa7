"""Errors as the OpenAPI schema shows them. Codes, statuses and words are the problems table's, none is written here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from chat.handlers import plain_body, problem_details
from chat.negotiation import PROBLEM_JSON
from chat.problems import LONGEST_ECHO, REASONS, Problem, describe

EXAMPLE_ID = "3f8e1c52-6d0b-4c7a-9a53-0d8c5b1f2e64"

COUNT = {"type": "integer", "minimum": 0}
SECONDS = {"type": "integer", "minimum": 1, "description": "Seconds."}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
FACTS: dict[str, dict[str, Any]] = {
    "retry_after": SECONDS | {"description": "Seconds until trying again can help; equals Retry-After."},
    "field": TEXT | {"description": "The place of the fault, such as messages[0].role."},
    "received": TEXT | {"maxLength": LONGEST_ECHO},
    "example": {"type": "array", "items": {"type": "object"}, "description": "Messages that are well-formed."},
    "fields": {"type": "object", "additionalProperties": TEXTS, "description": "What is wrong, by field."},
    "requested_model": TEXT | {"maxLength": LONGEST_ECHO},
    "available_models": TEXTS,
    "limit_bytes": COUNT,
    "tokens_used": COUNT,
    "tokens_limit": COUNT,
    "tokens_needed": {"type": ["integer", "null"], "minimum": 0},
    "tokens_remaining": COUNT,
    "resets_at": {"type": ["string", "null"], "format": "date-time"},
    "upgrade_url": {"type": ["string", "null"]},
    "limit": COUNT,
    "reset_in": SECONDS,
    "provider": TEXT | {"description": "Its key in models.toml, or all_providers."},
    "status_page": {"type": ["string", "null"]},
    "reason": {"type": "string", "enum": list(REASONS)},
}
"""The facts that errors carry beside their words, each with one meaning wherever it appears."""


class Content(NamedTuple):
    """One error in one media type: its schema, which becomes the component `name`, and an example."""

    media_type: str
    name: str
    schema: dict[str, Any]
    example: dict[str, Any]


class Envelope:
    """This API's own error bodies. Another face of it names a subclass as its views' `envelope`."""

    def contents(self, problem: Problem) -> Iterator[Content]:
        """The error in each media type that a client may ask for."""
        description = describe(problem.example)
        example = plain_body(description, EXAMPLE_ID)
        yield Content("application/json", f"{pascal(problem.code)}Error", error_schema(example), example)
        details = problem_details(description, EXAMPLE_ID, f"/errors/{problem.code}")
        yield Content(PROBLEM_JSON, "ProblemDetails", PROBLEM_DETAILS, details)


def error_schema(example: dict[str, Any]) -> dict[str, Any]:
    """The schema of bodies like `example`. Each of its facts is in them all, but for a wait that may have no end."""
    words = {"error": {"const": example["error"]}, "message": TEXT, "request_id": TEXT}
    facts = {name: FACTS[name] for name in example if name not in words}
    required = [name for name in example if name != "retry_after"]
    return {"type": "object", "properties": words | facts, "required": required, "additionalProperties": False}


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


def pascal(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))
