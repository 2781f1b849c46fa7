"""The OpenAPI schema. A view says what is its own in a few attributes, all optional and keyed by method; what all
operations have in common is added here.

    serializer_class   the request's body (`strict = True` on it: unknown fields are refused, an optional null is none;
                       `refine_schema(schema)` adds what its fields cannot say)
    answers            {"POST": {200: ChatAnswer}}, as in drf-spectacular's `responses`; a stream is one more key,
                       (200, "text/event-stream")
    where              {"GET": Where.OBJECT}: the kinds of this operation, which say the errors that it can answer with
    parameters         {"POST": [OpenApiParameter(...)]}
    format             the wire format of the errors' bodies, where it is not this API's own
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema as SpectacularAutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.permissions import AllowAny

from chat.problems.envelopes import NATIVE, contents
from chat.problems.table import BY_CODE, PROBLEMS, Problem, Where, describe
from chat.throttling import ChatRateThrottle

IDS = ("X-Request-ID", "Request-Id")
RATE_LIMITS = ("RateLimit-Policy", "RateLimit")
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The request's id in the log: the client's own X-Request-ID if it is well-formed, else new.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "X-Should-Retry": {
        "description": "Whether the same request may succeed after Retry-After.",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Retry-After": {
        "description": "Seconds until trying again can help, where waiting can.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Policy": {
        "description": "The rate limit: q chats in w seconds.",
        "schema": {"type": "string"},
        "example": '"chat";q=10;w=60',
    },
    "RateLimit": {
        "description": "What is left of it: r chats, until t seconds from now.",
        "schema": {"type": "string"},
        "example": '"chat";r=7;t=42',
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "true where the answer was stored under the request's Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "X-Cached": {
        "description": "true where every provider failed and this is an earlier answer to the same request, for free.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
HEADERS["Request-Id"] = HEADERS["X-Request-ID"]


class AutoSchema(SpectacularAutoSchema):
    """DRF's DEFAULT_SCHEMA_CLASS."""

    def get_operation_id(self) -> str:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self.view).__name__.removesuffix("View"))
        return f"{self.method}_{name}".lower()

    def get_description(self, *args: Any) -> str:
        """Return the words of the method, but of a chat's only one those of its class: the method's are for us."""
        if hasattr(self.view, "request_schema"):
            return inspect.getdoc(type(self.view)) or ""
        return str(super().get_description(*args))

    def get_summary(self) -> str | None:
        return " ".join(re.split(r"(?<=\.)\s", self.get_description())[0].replace("`", "").split())

    def get_request_serializer(self) -> Any:
        own = getattr(self.view, "request_schema", None)
        return dict.fromkeys(self.map_parsers(), own()) if own else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        return self._own("answers") or super().get_response_serializers()

    def get_override_parameters(self) -> list[Any]:
        return list(self._own("parameters") or [])

    def get_operation(self, *args: Any) -> Any:
        operation: Any = super().get_operation(*args)
        if hasattr(self.view, "request_schema"):
            operation["requestBody"]["required"] = True
        responses = operation["responses"]
        for status, problems in self._problems("requestBody" in operation).items():
            responses.setdefault(str(status), self._error_response(problems))
        for status, response in responses.items():
            response["description"] = response["description"] or HTTPStatus(int(status)).phrase
            names = self._header_names(int(status))
            response["headers"] = {
                name: self._component(ResolvedComponent.HEADER, name, HEADERS[name]) for name in names
            }
        return operation | {"responses": dict(sorted(responses.items()))}

    def _map_serializer(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        schema: Any = super()._map_serializer(serializer, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        schema.pop("description", None)  # a docstring, which is for us
        for field in schema.get("properties", {}).values():
            field.pop("x-spec-enum-id", None)  # for a hook that would name each enum
        if direction == "request":
            if getattr(serializer, "strict", False):
                close(schema)
            if hasattr(serializer, "refine_schema"):
                serializer.refine_schema(schema)
        return schema

    def _own(self, attribute: str) -> Any:
        """Return the view's attribute for this method."""
        return getattr(self.view, attribute, {}).get(self.method)

    def _problems(self, has_body: bool) -> dict[int, list[Problem]]:
        """Every error that this operation can answer with, by status."""
        where = Where.ANY | (self._own("where") or Where.NOWHERE)
        if not is_open(self.view):
            where |= Where.CREDENTIALS
            if self.method not in ("GET", "HEAD", "OPTIONS"):
                where |= Where.SESSION
        if has_body:
            where |= Where.BODY
        problems = defaultdict(list)
        for problem in PROBLEMS:
            if problem.where & where:
                problems[problem.status].append(problem)
        return problems

    def _error_response(self, problems: list[Problem]) -> dict[str, Any]:
        """Return the response of one status, which any of `problems` may be the reason of."""
        schemas: dict[str, dict[str, Any]] = defaultdict(dict)
        examples: dict[str, dict[str, Any]] = defaultdict(dict)
        for problem in problems:
            for kind, name, schema, example in contents(problem, getattr(self.view, "format", NATIVE)):
                schemas[kind][name] = self._component(ResolvedComponent.SCHEMA, name, schema)
                shown = {"summary": problem.meaning, "value": example}
                examples[kind][problem.code] = self._component(
                    ResolvedComponent.EXAMPLE, f"{name}.{problem.code}", shown
                )
        content = {
            kind: {"schema": one_of(list(refs.values())), "examples": examples[kind]} for kind, refs in schemas.items()
        }
        words = "\n".join(f"- `{problem.code}`: {problem.meaning} {problem.what_to_do}" for problem in problems)
        return {"description": words, "content": content}

    def _header_names(self, status: int) -> list[str]:
        names = list(IDS)
        if status == 401:
            names.append("WWW-Authenticate")
        if status >= 400 and status not in (self._own("answers") or {}):
            names.append("X-Should-Retry")
            if any(describe(problem.example).retry_after for problem in BY_CODE.values() if problem.status == status):
                names.append("Retry-After")
        if ChatRateThrottle in self.view.throttle_classes and self.method == "POST" and status != 401:
            names += RATE_LIMITS
            names += ["Idempotent-Replayed", "X-Cached"] if status == 200 and self._own("parameters") else []
        return names

    def _component(self, kind: str, name: str, schema: Any) -> dict[str, Any]:
        """Return a reference to the component, which is registered where it is not yet."""
        component = ResolvedComponent(name=name, type=kind, schema=schema, object=name)  # type: ignore[no-untyped-call]
        self.registry.register_on_missing(component)
        return component.ref


def is_open(view: Any) -> bool:
    return any(isinstance(permission, AllowAny) for permission in view.get_permissions())


def close(schema: dict[str, Any]) -> None:
    """Close the schema, as `strict` demands."""
    schema["additionalProperties"] = False
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", []):
            field["type"] = [field["type"], "null"]


def one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def without_trailing_slash(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Return the paths as the contract writes them; that each also answers with a slash is no second endpoint."""
    return [(path.rstrip("/") or "/", regex, method, view) for path, regex, method, view in endpoints]


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.authentication.KeyAuthentication"
    name = ["key", "token"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [{name: []} for name in self.name]  # either, not both

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        token = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token <key>`"}
        return [{"type": "http", "scheme": "bearer", "description": "Your key."}, token]


class EitherKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.authentication.EitherKeyAuthentication"
    name = "x_api_key"

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [{name: []} for name in (*KeyScheme.name, self.name)]  # the first are defined where they stand alone

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "Your key."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.authentication.BrowserAuthentication"
    name = "session"

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, Any]]:
        # Where nobody has to be known, a session changes only the browsable page around the answer.
        return [] if is_open(auto_schema.view) else [{self.name: []}]

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
