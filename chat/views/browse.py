"""The open ends: the root of the browsable API, and the models on offer."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import Error
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from chat.api import shapes
from chat.authentication import BrowserAuthentication
from chat.exceptions import TooManyAttempts
from chat.problems.table import Where
from chat.routing import catalogue


class OpenView(APIView):
    """For everyone. No key is looked at, so a wrong one does no harm; a browser's session shows who is logged in."""

    authentication_classes: list[Any] = [BrowserAuthentication]
    permission_classes = [AllowAny]

    def perform_authentication(self, request: Request) -> None:
        """Answer everyone, even while the database that knows keys and sessions is away."""
        try:
            request.user  # noqa: B018 - authenticates
        except (AuthenticationFailed, TooManyAttempts, Error):
            request.user, request.auth = AnonymousUser(), None


class RootView(OpenView):
    """A chat back end that says what went wrong.

    Log in at the top right to try [the chat](/chat) from here, or send a key:
    `Authorization: Token <key>`.
    """

    answers = {"GET": {200: shapes.ADDRESSES}}

    def get_view_name(self) -> str:
        return "Chat API"

    def get(self, request: Request) -> Response:
        names = ("chat", "models", "conversations", "usage", "keys", "errors", "health", "ready", "schema", "docs")
        others = ("openai-chat", "anthropic-messages", "vendor-models")
        return Response({name: reverse(name, request=request) for name in (*names, *others)})


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
