"""A user's own conversations, in pages."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import generics, pagination
from rest_framework.request import Request
from rest_framework.response import Response

from chat.completion import conversations
from chat.problems.table import Where
from chat.serializers import (
    ConversationDetailSerializer,
    ConversationSerializer,
    MessageSerializer,
)
from chat.throttling import ConversationRateThrottle, admitted


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
    where = {"GET": Where.OBJECT, "POST": Where.LIMITED}  # a page is one, too

    def get_queryset(self) -> Any:
        return conversations.of(self.request.user)

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Begin a conversation, then name its `id` as `conversation_id` in a chat."""
        with admitted(request.user.pk):  # before the body is read, which may come slowly
            return super().post(request, *args, **kwargs)

    def perform_create(self, serializer: Any) -> None:
        conversations.check_room(self.request.user)
        serializer.save(user=self.request.user)


class MessagePagination(Pagination):
    page_size = 100
    max_page_size = 200


class ConversationView(generics.RetrieveDestroyAPIView):
    """One of your conversations, with its messages, the oldest first and 100 at a time. `DELETE` removes both, and
    what is kept of their answers elsewhere."""

    serializer_class = ConversationDetailSerializer
    answers = {"GET": {200: ConversationDetailSerializer}}
    where = {"GET": Where.OBJECT, "DELETE": Where.OBJECT}
    parameters = {"GET": [OpenApiParameter("page", str), OpenApiParameter("page_size", str)]}

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        conversation, pages = self.get_object(), MessagePagination()
        messages: Any = pages.paginate_queryset(conversation.messages.order_by("pk"), request, view=self)
        page = dict(pages.get_paginated_response(MessageSerializer(messages, many=True).data).data)
        page["messages"] = page.pop("results")
        return Response(ConversationSerializer(conversation).data | page)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Remove a conversation and its messages."""
        return super().delete(request, *args, **kwargs)

    def perform_destroy(self, instance: Any) -> None:
        conversations.delete(instance)

    def get_object(self) -> Any:
        return conversations.owned(self.request.user, self.kwargs["conversation_id"])
