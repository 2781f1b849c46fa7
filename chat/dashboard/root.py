"""The way in."""

from __future__ import annotations

from typing import Any

from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from chat.api.open import OpenView
from chat.problems.negotiation import PageRenderer

ENDPOINTS = {
    "chat": "POST: one chat completion, whole or streamed",
    "openai-chat": "POST: the same, as OpenAI's clients send it",
    "openai-responses": "POST: the same, as OpenAI's newer clients send it",
    "anthropic-messages": "POST: the same, as Anthropic's clients send it",
    "anthropic-count": "POST: the tokens of a prompt, as Anthropic's clients ask for them",
    "openai-embeddings": "POST: vectors of texts, as OpenAI's clients ask for them",
    "vendor-models": "GET with a key: the models, as both list them",
    "models": "The models on offer",
    "conversations": "Your conversations, to go on with",
    "usage": "Your budget and use",
    "keys": "Your keys; DELETE one to revoke it",
    "errors": "The catalogue of errors",
    "schema": "All of this as OpenAPI 3.1",
    "health": "Whether the process answers",
    "ready": "Whether a chat could be served now",
}
"""What the page for people says of the addresses for programs."""
FOR_PROGRAMS_ALONE = {name for name, what in ENDPOINTS.items() if what.startswith(("POST", "GET")) and name != "chat"}
"""Those that answer a stranger's browser with an error in JSON: no link leads there. `/chat` has a form."""


ADDRESSES = {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}


class RootView(OpenView):
    """A chat back end that says what went wrong: where everything is."""

    renderer_classes = [JSONRenderer, PageRenderer]
    name = "Chat API"
    template = "dashboard/root.html"
    answers = {"GET": {200: ADDRESSES}}

    def get(self, request: Request) -> Response:
        return Response({name: reverse(name, request=request) for name in (*ENDPOINTS, "docs", "playground")})

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        return {"endpoints": [(reverse(name), what, name in FOR_PROGRAMS_ALONE) for name, what in ENDPOINTS.items()]}
