"""`GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's form or in Anthropic's."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api.vendor_shapes import MODEL, MODELS
from chat.authentication import BrowserAuthentication, EitherKeyAuthentication
from chat.problems.envelopes import ANTHROPIC, OPENAI, envelope_of
from chat.problems.table import Where
from chat.routing import catalogue
from chat.types import Model

NEVER = "1970-01-01T00:00:00Z"
"""For a time that both APIs require and models.toml does not have; 0 in seconds."""


class VendorModelsView(APIView):
    """The models on offer, as OpenAI lists them; as Anthropic does for a request with `anthropic-version`.

    For those who have a key, as there: many clients try a key by asking for this.
    """

    envelope = OPENAI
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: MODELS}}

    def get(self, request: Request) -> Response:
        models = [model for _, model in sorted(catalogue.current().models.items())]
        if envelope_of(request._request) is ANTHROPIC:
            ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {}
            page = {"has_more": False, "first_id": None, "last_id": None} | ends
            return answer({"data": [as_anthropic(model) for model in models]} | page)
        return answer({"object": "list", "data": [as_openai(model) for model in models]})


class VendorModelView(APIView):
    """One model, as OpenAI shows it; as Anthropic does for a request with `anthropic-version`."""

    envelope = OPENAI
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: MODEL}}
    where = {"GET": Where.MODEL}

    def get(self, request: Request, name: str) -> Response:
        model = catalogue.current().get(name)
        return answer(as_anthropic(model) if envelope_of(request._request) is ANTHROPIC else as_openai(model))


def answer(body: dict[str, Any]) -> Response:
    return Response(body, headers={"Vary": "anthropic-version"})


def as_openai(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.routes[0].provider.key}


def as_anthropic(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": NEVER,
        "lifecycle": "active",
        "max_tokens": model.max_output_tokens,
    }
