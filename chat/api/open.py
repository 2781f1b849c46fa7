"""The view for what everyone may see."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import Error
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from chat.authentication import BrowserAuthentication
from chat.exceptions import TooManyAttempts


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
