"""A user's own keys."""

from __future__ import annotations

from typing import Any

from rest_framework import generics
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.accounts import keys
from chat.completion.conversations import parse_uuid
from chat.problems.table import Where
from chat.serializers import KeySerializer
from chat.views.conversations import Pagination


class KeysView(generics.ListAPIView):
    """Your API keys, the newest first; `DELETE` one at its own address to revoke it. The keys themselves are stored
    nowhere."""

    serializer_class = KeySerializer
    pagination_class = Pagination
    where = {"GET": Where.OBJECT}

    def get_queryset(self) -> Any:
        return keys.of(self.request.user)


class KeyView(APIView):
    """One of your keys. `DELETE` revokes it, at once, also where it is the one that asks."""

    answers = {"DELETE": {204: None}}
    where = {"DELETE": Where.OBJECT}

    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke a key."""
        number = parse_uuid(key_id)
        found = keys.of(request.user).filter(pk=number).first() if number else None
        if not found or not keys.revoke([found.key], by=request.user.get_username()):
            raise NotFound
        return Response(status=204)
