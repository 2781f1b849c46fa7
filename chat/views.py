"""The endpoints beside the chat itself. The docstrings are what the browsable API shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from django.core.cache import cache
from django.db import Error, connection
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework import generics, pagination
from rest_framework.exceptions import AuthenticationFailed, NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from chat import catalogue, conversations, cooldown, keys, shapes, usage
from chat.authentication import BrowserAuthentication
from chat.conf import conf
from chat.exceptions import ValidationError
from chat.models import Conversation, KeyDetail, TokenBudget
from chat.problems import TooManyAttempts
from chat.serializers import (
    ConversationDetailSerializer,
    ConversationSerializer,
    KeySerializer,
    MessageSerializer,
    own_conversation,
    parse_uuid,
)
from chat.throttling import ConversationRateThrottle
from chat.unwritten import write_pending

log = structlog.get_logger(__name__)


class OpenView(APIView):
    """For everyone. No key is looked at, so a wrong one does no harm; a browser's session shows who is logged in."""

    authentication_classes: list[Any] = [BrowserAuthentication]
    permission_classes = [AllowAny]

    def perform_authentication(self, request: Request) -> None:
        """Answer everyone, even while the database that knows keys and sessions is away."""
        try:
            request.user  # noqa: B018 - authenticates
        except (AuthenticationFailed, TooManyAttempts, Error):
            request._not_authenticated()  # type: ignore[attr-defined]


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
    errors = {"GET": ("model_not_found",)}

    def get(self, request: Request, name: str) -> Response:
        model = catalogue.current().get(name)
        fields = ("name", "max_output_tokens", "default_output_tokens")
        return Response({field: getattr(model, field) for field in fields})


class Pagination(pagination.PageNumberPagination):
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        page, page_size = super().get_schema_operation_parameters(view)
        page["schema"] = {"type": ["integer", "string"], "minimum": 1, "pattern": "^(last)?$", "default": 1}
        page_size["schema"] = {"type": ["integer", "string"], "default": self.page_size}
        page_size["description"] = f"At most {self.max_page_size}. What is no size of a page counts as left out."
        return [page, page_size]

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        link = {"type": ["string", "null"], "format": "uri"}
        page["properties"] |= {"next": link, "previous": link}  # DRF's own are of OpenAPI 3.0
        return page | {"required": list(page["properties"])}


class ConversationsView(generics.ListCreateAPIView):
    """Your conversations, the newest first.

    `POST` an optional `title` to begin one, then name its `id` as `conversation_id` in a chat.
    """

    serializer_class = ConversationSerializer
    pagination_class = Pagination
    throttle_classes = [ConversationRateThrottle]
    errors = {"GET": ("not_found",), "POST": ("rate_limit_exceeded",)}  # the first for a page that there is not

    def get_queryset(self) -> Any:
        return Conversation.objects.filter(user=self.request.user)  # type: ignore[misc]

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Begin a conversation, then name its `id` as `conversation_id` in a chat."""
        return super().post(request, *args, **kwargs)

    def perform_create(self, serializer: Any) -> None:
        most = conf.CONVERSATIONS_PER_USER
        if self.get_queryset()[:most].count() >= most:
            full = f"You have {most} conversations, the most that a user may have. Delete one first."
            raise ValidationError(
                "The user has CONVERSATIONS_PER_USER conversations.", fields={"conversations": [full]}
            )
        serializer.save(user=self.request.user)


class MessagePagination(Pagination):
    page_size = 100
    max_page_size = 200


class ConversationView(generics.RetrieveDestroyAPIView):
    """One of your conversations, with its messages, the oldest first and 100 at a time. `DELETE` removes both, and
    what is kept of their answers elsewhere."""

    serializer_class = ConversationDetailSerializer
    answers = {"GET": {200: ConversationDetailSerializer}}
    errors = {"GET": ("not_found",), "DELETE": ("not_found",)}
    parameters = {"GET": [OpenApiParameter("page", str), OpenApiParameter("page_size", str)]}

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        conversation, pages = self.get_object(), MessagePagination()
        messages = pages.paginate_queryset(conversation.messages.order_by("pk"), request, view=self)
        page = dict(pages.get_paginated_response(MessageSerializer(messages, many=True).data).data)
        page["messages"] = page.pop("results")
        return Response(ConversationSerializer(conversation).data | page)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Remove a conversation and its messages."""
        return super().delete(request, *args, **kwargs)

    def perform_destroy(self, instance: Conversation) -> None:
        conversations.delete(instance)

    def get_object(self) -> Conversation:
        return own_conversation(self.request.user, self.kwargs["conversation_id"])


class KeysView(generics.ListAPIView):
    """Your API keys, the newest first; `DELETE` one at its own address to revoke it. The keys themselves are stored
    nowhere."""

    serializer_class = KeySerializer
    pagination_class = Pagination
    errors = {"GET": ("not_found",)}

    def get_queryset(self) -> Any:
        return own_keys(self.request.user).order_by("-key__created", "pk")


class KeyView(APIView):
    """One of your keys. `DELETE` revokes it, at once, also where it is the one that asks."""

    answers = {"DELETE": {204: None}}
    errors = {"DELETE": ("not_found",)}

    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke a key."""
        number = parse_uuid(key_id)
        found = own_keys(request.user).filter(pk=number).first() if number else None
        if not found or not keys.revoke([found.key], by=request.user.get_username()):
            raise NotFound
        return Response(status=204)


def own_keys(user: Any) -> QuerySet[KeyDetail]:
    return KeyDetail.objects.filter(key__user=user).select_related("key__user")


class UsageView(APIView):
    """Your budget and what you used of it, in tokens, and your use per day over the last 30 days."""

    answers = {"GET": {200: shapes.Usage}}

    def get(self, request: Request) -> Response:
        return Response(usage.usage_of(request.user))


class HealthView(OpenView):
    """Liveness: this process answers. Touches nothing else."""

    authentication_classes = []
    answers = {"GET": {200: shapes.Health}}

    def get(self, request: Request) -> Response:
        return Response({"status": "healthy"})


class ReadyView(OpenView):
    """Readiness: whether a chat could be served now (503 if not). A cache that is away alone does not prevent one.

    Staff also see the state of each provider.
    """

    authentication_classes = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    answers = {"GET": {200: shapes.Readiness, 503: shapes.Readiness}}

    def get(self, request: Request) -> Response:
        states = provider_states()
        checks = {
            "database": database_answers(),
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


def database_answers() -> bool:
    """Whether the database answers and takes writes; what waited for that is written now."""
    write_pending()
    try:
        if connection.vendor == "sqlite":
            TokenBudget.objects.exists()  # a write would stand in line for the only lock
        else:
            TokenBudget.objects.filter(pk=0).update(limit=0)  # nobody's; but one that only reads refuses it
    except Error as exc:
        log.error("database_unavailable", reason=str(exc), hint="Without its tables: manage.py migrate.")
        return False
    return True


def provider_states() -> dict[str, dict[str, Any]]:
    """Return for operators the state of each provider in models.toml, and of each of its routes by the upstream model.

    A provider is at rest where all of its routes are.
    """
    current = catalogue.current()
    routes = {route for model in current.models.values() for route in model.routes}
    states: dict[str, dict[str, Any]] = {}
    for entry in current.providers.values():
        if entry.missing:
            states[entry.key] = {"state": "not_configured", "missing": entry.missing}
            continue
        of_routes = {str(route.upstream.model): cooldown.state(route) for route in routes if route.provider == entry}
        states[entry.key] = _soonest(of_routes.values()) | {"routes": dict(sorted(of_routes.items()))}
    return states


def _soonest(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of the route that serves, or will serve soonest."""
    order = ("available", "probing", "resting", "not_offered")
    available = {"state": "available", "failures_in_a_row": 0}
    return min(states, key=lambda state: (order.index(state["state"]), state.get("seconds_left", 0)), default=available)


def can_serve(states: dict[str, dict[str, Any]]) -> bool:
    """Return whether at least one model has a route that would be asked."""
    routes = [route for model in catalogue.current().models.values() for route in model.routes]
    asleep = ("resting", "not_offered")
    return any(
        states.get(route.provider.key, {}).get("routes", {}).get(route.upstream.model, {}).get("state") not in asleep
        for route in routes
    )
