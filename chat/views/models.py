"""The models on offer."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from chat.api import shapes
from chat.api.open import OpenView
from chat.problems.table import Where
from chat.routing import catalogue


class ModelsView(OpenView):
    """The models on offer, by name."""

    answers = {"GET": {200: shapes.ModelNames}}

    def get(self, request: Request) -> Response:
        return Response({"models": sorted(catalogue.current().models)})


class ModelView(OpenView):
    """One model and its limits, in tokens."""

    answers = {"GET": {200: shapes.ModelLimits}}
    where = {"GET": Where.MODEL}

    def get(self, request: Request, name: str) -> Response:
        model = catalogue.current().get(name)
        fields = ("name", "max_output_tokens", "default_output_tokens")
        return Response({field: getattr(model, field) for field in fields})
