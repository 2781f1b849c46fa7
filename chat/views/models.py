"""The models on offer."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.open import OpenView
from chat.problems.table import Where
from chat.routing import catalogue


class ModelNames(serializers.Serializer):
    models = serializers.ListField(child=serializers.CharField())


class ModelsView(OpenView):
    """The models on offer, by name."""

    answers = {"GET": {200: ModelNames}}

    def get(self, request: Request) -> Response:
        return Response({"models": sorted(catalogue.current().models)})


class ModelLimits(serializers.Serializer):
    name = serializers.CharField()
    max_output_tokens = serializers.IntegerField(min_value=1)
    default_output_tokens = serializers.IntegerField(min_value=1, help_text="Where a chat names no max_tokens.")


class ModelView(OpenView):
    """One model and its limits, in tokens."""

    answers = {"GET": {200: ModelLimits}}
    where = {"GET": Where.MODEL}

    def get(self, request: Request, name: str) -> Response:
        model = catalogue.current().get(name)
        fields = ("name", "max_output_tokens", "default_output_tokens")
        return Response({field: getattr(model, field) for field in fields})
