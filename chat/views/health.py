"""Liveness and readiness."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from chat.api.open import OpenView
from chat.billing import outbox
from chat.routing.states import can_serve, provider_states

STATES = ("ok", "unavailable")


class Health(serializers.Serializer):
    status = serializers.ChoiceField(choices=["healthy"])


class HealthView(OpenView):
    """Liveness: this process answers. Touches nothing else."""

    authentication_classes = []
    answers = {"GET": {200: Health}}

    def get(self, request: Request) -> Response:
        return Response({"status": "healthy"})


class ReadyChecks(serializers.Serializer):
    database = serializers.ChoiceField(choices=STATES)
    cache = serializers.ChoiceField(choices=STATES)
    providers = serializers.ChoiceField(choices=STATES)


class Readiness(serializers.Serializer):
    status = serializers.ChoiceField(choices=("ready", "unavailable"))
    checks = ReadyChecks()
    providers = serializers.DictField(
        child=serializers.DictField(), required=False, help_text="The state of each; for staff alone."
    )


class ReadyView(OpenView):
    """Readiness: whether a chat could be served now (503 if not). A cache that is away alone does not prevent one.

    Staff also see the state of each provider.
    """

    authentication_classes = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    answers = {"GET": {200: Readiness, 503: Readiness}}

    def get(self, request: Request) -> Response:
        states = provider_states()
        checks = {
            "database": outbox.can_write(),
            "cache": getattr(cache, "healthy", lambda: True)(),
            "providers": can_serve(states),
        }
        ready = checks["database"] and checks["providers"]
        body: dict[str, Any] = {
            "status": "ready" if ready else "unavailable",
            "checks": {name: "ok" if fine else "unavailable" for name, fine in checks.items()},
        }
        if request.user.is_staff:
            body["providers"] = states
        return Response(body, status=200 if ready else 503)
