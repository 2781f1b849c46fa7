"""The bodies of errors, in the format that the client speaks, at run time and in the OpenAPI schema alike."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.http import HttpRequest

from chat.conf import is_vendors
from chat.problems.facts import FACTS
from chat.problems.negotiation import PROBLEM_JSON
from chat.problems.table import Description, Problem, describe
from chat.protocols import anthropic, native, openai
from chat.protocols.protocol import Face
from chat.protocols.registry import PROTOCOLS
from chat.protocols.schemas import TEXT
from chat.types import Told

EXAMPLE_ID = "3f8e1c52-6d0b-4c7a-9a53-0d8c5b1f2e64"


class Content(NamedTuple):
    """One error in one media type: its schema, which becomes the component `name`, and an example."""

    media_type: str
    name: str
    schema: dict[str, Any]
    example: dict[str, Any]


NATIVE: Face = native
BY_WORD: Mapping[str, Face] = {
    protocol.PATH.removeprefix("/v1").split("/")[1]: protocol for protocol in PROTOCOLS.values()
}
"""The formats of the vendors' endpoints by the first word of their paths after /v1, which are those at the vendors."""


def format_of(request: HttpRequest) -> Face:
    """Return the format, by the path alone, so that an error has the same shape wherever it came about, in a view or
    long before one.

    What is neither's alone (`/v1/models`, an unknown path) is Anthropic's for a request that names an
    `anthropic-version`, as all of Anthropic's SDKs do.
    """
    either: Face = anthropic if "anthropic-version" in request.headers else openai
    return format_by_path(request) or either


def format_by_path(request: HttpRequest) -> Face | None:
    """None where the header decides, which a shared cache has to be told."""
    _, name = (*filter(None, request.path_info.split("/")), "", "")[:2]
    return BY_WORD.get(name) if is_vendors(request.path_info) else NATIVE


def contents(problem: Problem, form: Face) -> Iterator[Content]:
    """Return an error in each media type that a client of this format may ask for."""
    description = describe(problem.example)
    example = form.write_error(told(description), EXAMPLE_ID)
    name = f"{form.ERRORS}{pascal(problem.code)}Error"
    yield Content("application/json", name, form.error_schema(example, FACTS), example)
    details = problem_details(description, EXAMPLE_ID, f"/errors/{problem.code}")
    yield Content(PROBLEM_JSON, "ProblemDetails", PROBLEM_DETAILS, details)


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
