"""The bodies of errors, one shape for each API that is spoken here, at run time and in the OpenAPI schema alike.
Codes, statuses and words are the problems table's, none is written here."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from django.http import HttpRequest

from chat.conf import is_vendors
from chat.problems.facts import FACTS, TEXT
from chat.problems.negotiation import PROBLEM_JSON
from chat.problems.table import Description, Problem, describe

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
    TYPES: ClassVar[dict[int | str, str]] = {}
    """The `type` that this API gives an error, by code, else by status, else by the status's hundred."""

    def body(self, description: Description, request_id: str) -> dict[str, Any]:
        """The error as a client of this API expects it."""
        shape = {"error": description.problem.code, "message": description.message, "request_id": request_id}
        return shape | description.context

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of bodies like `example`."""
        return facts_schema(example, {"error": {"const": example["error"]}, "message": TEXT, "request_id": TEXT})

    def type_of(self, problem: Problem) -> str:
        keys = (problem.code, problem.status, problem.status // 100)
        return next(self.TYPES[key] for key in keys if key in self.TYPES)

    def contents(self, problem: Problem) -> Iterator[Content]:
        """The error in each media type that a client may ask for."""
        description = describe(problem.example)
        example = self.body(description, EXAMPLE_ID)
        name = f"{self.prefix}{pascal(problem.code)}Error"
        yield Content("application/json", name, self.schema(example), example)
        details = problem_details(description, EXAMPLE_ID, f"/errors/{problem.code}")
        yield Content(PROBLEM_JSON, "ProblemDetails", PROBLEM_DETAILS, details)


class OpenAIEnvelope(Envelope):
    """OpenAI's: exactly four keys. The facts that have none of their own stand in the message."""

    prefix = "OpenAI"
    TYPES = {  # from OpenAI's page of errors
        4: "invalid_request_error",
        5: "server_error",
        403: "request_forbidden",
        429: "requests",
        503: "service_unavailable_error",
        "token_budget_exceeded": "insufficient_quota",
        "budget_exceeded": "insufficient_quota",
        "provider_error": "server_error",
    }

    def body(self, description: Description, request_id: str) -> dict[str, Any]:
        error = {
            "message": spelled_out(description),
            "type": self.type_of(description.problem),
            "param": param_of(description.context),
            "code": description.problem.code,
        }
        return {"error": error}

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        error = example["error"]
        fixed = {name: {"const": error[name]} for name in ("type", "code")}
        return closed({"error": closed({"message": TEXT, "param": {"type": ["string", "null"]}} | fixed)})


class AnthropicEnvelope(Envelope):
    """Anthropic's: our code and its facts are the `details`."""

    prefix = "Anthropic"
    TYPES = {  # from Anthropic's page of errors
        4: "invalid_request_error",
        5: "api_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        "provider_error": "api_error",
        "service_temporarily_unavailable": "api_error",
    }

    def body(self, description: Description, request_id: str) -> dict[str, Any]:
        error = {
            "type": self.type_of(description.problem),
            "message": description.message,
            "details": {"error_code": description.problem.code} | description.context,
        }
        return {"type": "error", "error": error, "request_id": request_id}

    def schema(self, example: dict[str, Any]) -> dict[str, Any]:
        details = example["error"]["details"]
        facts = facts_schema(details, {"error_code": {"const": details["error_code"]}})
        error = closed({"type": {"const": example["error"]["type"]}, "message": TEXT, "details": facts})
        return closed({"type": {"const": "error"}, "error": error, "request_id": TEXT})


NATIVE, OPENAI, ANTHROPIC = Envelope(), OpenAIEnvelope(), AnthropicEnvelope()


def envelope_of(request: HttpRequest) -> Envelope:
    """By the path alone, so that an error has the same shape wherever it came about, in a view or long before one.

    What is neither's alone (`/v1/models`, an unknown path) is Anthropic's for a request that names an
    `anthropic-version`, as all of Anthropic's SDKs do.
    """
    either = ANTHROPIC if "anthropic-version" in request.headers else OPENAI
    return envelope_by_path(request) or either


def envelope_by_path(request: HttpRequest) -> Envelope | None:
    """None where the header decides, which a shared cache has to be told."""
    _, name = (*filter(None, request.path_info.split("/")), "", "")[:2]
    return {"chat": OPENAI, "messages": ANTHROPIC}.get(name) if is_vendors(request.path_info) else NATIVE


def param_of(context: dict[str, Any]) -> str | None:
    """The parameter at fault, as OpenAI writes it (`messages[0].content`), where one is known."""
    if "requested_model" in context:
        return "model"
    if context.get("reason") in ("context_length", "content_policy"):
        return "messages"
    names = [name for name in context.get("fields", ()) if name != "body"]
    place = context.get("param") or context.get("field") or next(iter(names), None)
    return place and str(place)


def spelled_out(description: Description) -> str:
    """The message with each fact that it only names (`available_models`) in the name's place."""

    def fact(name: re.Match[str]) -> str:
        value = description.context.get(name[1], name[0])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ", ".join(value)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return re.sub(r"`(\w+)`", fact, description.message)


def problem_details(description: Description, request_id: str, type_uri: str) -> dict[str, Any]:
    """RFC 9457's shape."""
    problem = description.problem
    shape = {
        "type": type_uri,
        "title": problem.title,
        "status": problem.status,
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
    """The schema of objects like `example`. Each of its facts is in them all, but for a wait that may have no end."""
    facts = {name: FACTS[name] for name in example if name not in words}
    return closed(words | facts) | {"required": [name for name in example if name != "retry_after"]}


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of objects that have exactly these."""
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
