"""What describes the API: the catalogue of errors, the OpenAPI document, and a page to read it and try it out."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api import shapes
from chat.conf import conf
from chat.problems.envelopes import EXAMPLE_ID, NATIVE
from chat.problems.table import BY_CODE, Problem, Where, describe
from chat.views.browse import OpenView

ASSETS = "drf_spectacular_sidecar/swagger-ui-dist/"
PAGE_SETTINGS = {"deepLinking": True, "persistAuthorization": False, "defaultModelsExpandDepth": 0}


class ErrorsView(OpenView):
    """Every error that this API can answer with, and what to do about it."""

    answers = {"GET": {200: shapes.ErrorCatalogue}}

    def get(self, request: Request) -> Response:
        return Response({"errors": [error_entry(problem) for problem in BY_CODE.values()]})


class ErrorView(OpenView):
    """One error: what it means and what to do about it."""

    answers = {"GET": {200: shapes.ErrorEntry}}
    where = {"GET": Where.OBJECT}
    parameters = {"GET": [OpenApiParameter("code", str, OpenApiParameter.PATH, enum=list(BY_CODE))]}

    def get(self, request: Request, code: str) -> Response:
        if code not in BY_CODE:
            raise Http404
        return Response(error_entry(BY_CODE[code]))


def error_entry(problem: Problem) -> dict[str, Any]:
    """Return a row of the problems table as the catalogue of errors shows it, with the body that its example gives."""
    return {
        "code": problem.code,
        "status": problem.status,
        "title": problem.title,
        "meaning": problem.meaning,
        "what_to_do": problem.what_to_do,
        "should_retry": describe(problem.example).should_retry,
        "example": NATIVE.body(describe(problem.example), EXAMPLE_ID),
    }


class SchemaView(OpenView):
    """This document: the API in OpenAPI 3.1. JSON, or YAML with `Accept: application/yaml`."""

    authentication_classes = []
    renderer_classes = [JSONRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer]
    answers = {"GET": {200: OpenApiTypes.OBJECT}}

    def get(self, request: Request) -> Response:
        return Response(schema(conf.CHAT_MODELS_FILE, conf.CHAT_SIMULATOR))


@cache
def schema(models_file: str, simulate: bool) -> Any:
    """Return the document, made once a process: nothing of it changes but with the models on offer."""
    return SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


class DocsView(View):
    """Swagger UI, from this server's own files. Its script is a request of its own, so that no policy against inline
    scripts can stop it. A plain view, since it negotiates nothing and needs nobody."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if "script" in request.GET:
            context = {
                "schema_url": reverse("schema"),
                "settings": json.dumps(PAGE_SETTINGS),
                "schema_auth_names": "[]",
                "csrf_header_name": "X-CSRFToken",
            }
            return render(request, "drf_spectacular/swagger_ui.js", context, content_type="text/javascript")
        files = {
            "swagger_ui_css": "swagger-ui.css",
            "swagger_ui_bundle": "swagger-ui-bundle.js",
            "swagger_ui_standalone": "swagger-ui-standalone-preset.js",
            "favicon_href": "favicon-32x32.png",
        }
        assets = {name: static(ASSETS + file) for name, file in files.items()}
        page = assets | {"title": "Chat API", "script_url": "?script"}
        return render(request, "drf_spectacular/swagger_ui.html", page)
