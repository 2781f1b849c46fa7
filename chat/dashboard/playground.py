"""A page to chat with."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.open import OpenView
from chat.problems.negotiation import PageRenderer
from chat.routing import catalogue


class PlaygroundView(OpenView):
    """Ask a model and watch its answer arrive. The page's own script asks, as any other client would."""

    schema = None  # nothing for programs
    renderer_classes = [PageRenderer, JSONRenderer]  # the latter for its errors
    name = "Playground"
    template = "dashboard/playground.html"

    def get(self, request: Request) -> Response:
        if request.accepted_renderer.format != PageRenderer.format:
            raise NotAcceptable
        return Response()

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        models = [model for _, model in sorted(catalogue.current().models.items())]
        return {"models": models, "simulated": any(model.simulated for model in models)}
