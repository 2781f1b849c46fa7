"""The catalogue of errors, and the page of each."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

from django.http import Http404
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.open import OpenView
from chat.problems.envelopes import EXAMPLE_ID, NATIVE, told
from chat.problems.negotiation import PageRenderer
from chat.problems.table import BY_CODE, Problem, Where, describe
from chat.routing import catalogue

PROVOKED: dict[str, dict[str, str]] = {
    "invalid_message_format": {"message": " "},
    "invalid_request": {"message": "Hello!", "temperature": "3"},
    "model_not_found": {"message": "Hello!", "model": "unknown-model"},
    "provider_rate_limited": {"message": "/fault rate_limit"},
    "provider_unavailable": {"message": "/fault outage"},
    "provider_timeout": {"message": "/fault timeout"},
    "invalid_provider_response": {"message": "/fault truncated"},
    "provider_rejected_request": {"message": "/fault rejected"},
    "provider_error": {"message": "/fault bad_key"},
    "internal_error": {"message": "/fault crash"},
}
"""How the playground is to be filled in so that the error comes. A fault is the simulator's."""


class ErrorEntry(serializers.Serializer):
    code = serializers.ChoiceField(choices=list(BY_CODE))
    status = serializers.IntegerField(min_value=400, max_value=599)
    title = serializers.CharField()
    meaning = serializers.CharField()
    what_to_do = serializers.CharField()
    should_retry = serializers.BooleanField()
    example = serializers.DictField(help_text="A body of this error.")


class ErrorCatalogue(serializers.Serializer):
    errors = ErrorEntry(many=True)  # type: ignore[assignment]  # a serializer's own `errors` is never asked of this one


class ErrorsView(OpenView):
    """Every error that this API can answer with, and what to do about it."""

    renderer_classes = [JSONRenderer, PageRenderer]
    name = "Errors"
    template = "dashboard/errors.html"
    answers = {"GET": {200: ErrorCatalogue}}

    def get(self, request: Request) -> Response:
        return Response({"errors": [error_entry(problem) for problem in BY_CODE.values()]})

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        entries = data["errors"]
        return {"entries": [entry | in_words(entry) | {"provoke": provoking(entry["code"])} for entry in entries]}


class ErrorView(OpenView):
    """One error: what it means and what to do about it."""

    renderer_classes = [JSONRenderer, PageRenderer]
    template = "dashboard/error.html"
    answers = {"GET": {200: ErrorEntry}}
    where = {"GET": Where.OBJECT}
    parameters = {"GET": [OpenApiParameter("code", str, OpenApiParameter.PATH, enum=list(BY_CODE))]}

    def get(self, request: Request, code: str) -> Response:
        if code not in BY_CODE:
            raise Http404
        return Response(error_entry(BY_CODE[code]))

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        body = json.dumps(data["example"], indent=2, ensure_ascii=False)
        return in_words(data) | {"body": body, "provoke": provoking(data["code"]), "is_fault": is_fault(data["code"])}


def error_entry(problem: Problem) -> dict[str, Any]:
    """Return a row of the problems table as the catalogue of errors shows it, with the body that its example gives."""
    return {
        "code": problem.code,
        "status": problem.status,
        "title": problem.title,
        "meaning": problem.meaning,
        "what_to_do": problem.what_to_do,
        "should_retry": describe(problem.example).should_retry,
        "example": NATIVE.write_error(told(describe(problem.example)), EXAMPLE_ID),
    }


def in_words(entry: dict[str, Any]) -> dict[str, SafeString]:
    """Return the entry's texts as markup: what stands between backticks is code."""
    words = {name: escape(entry[name]) for name in ("meaning", "what_to_do")}
    return {name: mark_safe(re.sub("`(.+?)`", r"<code>\1</code>", text)) for name, text in words.items()}


def provoking(code: str) -> str:
    """Return the query with which the playground is ready to provoke the error; "" where it cannot."""
    wish = PROVOKED.get(code, {})
    if is_fault(code):
        simulated = [model for model in catalogue.current().models.values() if model.simulated]
        if not simulated:
            return ""
        # Of one route, so that the error names it.
        wish = {"model": min(simulated, key=lambda model: len(model.routes)).name} | wish
    return urlencode(wish)


def is_fault(code: str) -> bool:
    """Return whether it takes the simulator to provoke the error."""
    return PROVOKED.get(code, {}).get("message", "").startswith("/fault")
