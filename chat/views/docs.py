"""The OpenAPI document, and a page to read it and try it out."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2
from drf_spectacular.types import OpenApiTypes
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.open import OpenView
from chat.conf import conf

ASSETS = "drf_spectacular_sidecar/swagger-ui-dist/"
PAGE_SETTINGS = {"deepLinking": True, "persistAuthorization": False, "defaultModelsExpandDepth": 0}


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


@method_decorator(csrf_exempt, name="dispatch")  # there is nothing to forge
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
        files = {"swagger_ui_css": "swagger-ui.css", "swagger_ui_bundle": "swagger-ui-bundle.js"}
        assets = {name: static(ASSETS + file) for name, file in files.items()}
        return render(request, "dashboard/docs.html", assets | {"name": "Documentation"})
