"""The OpenAPI schema's requests and answers: what it says of a body is what is accepted and what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework import serializers
from rest_framework.response import Response

from chat.api.open import OpenView
from chat.models import Conversation, Message
from chat.problems.table import Where
from tests.support.contract import ask, chat_body
from tests.support.schema import JSON, operations, target, validator

# --- requests and answers ---------------------------------------------------------------------------------------------
BODIES: list[dict[str, Any]] = [
    {},
    {"model": "gpt-4"},
    {"model": "unknown"},
    {"model": None},
    {"messages": None},
    {"messages": []},
    {"messages": "Hello"},
    {"messages": [{"role": "user", "content": "x"}] * 2000},
    {"messages": [{"role": "user", "content": "x"}] * 2001},
    {"messages": [{"role": "system", "content": "x"}]},
    {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]},
    {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user", "content": " \n"}]},
    {"messages": [{"role": "user", "content": " x\n"}]},
    {"messages": [{"role": "user", "content": "x", "name": "ada"}]},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user"}]},
    {"temperature": 0},
    {"temperature": 2.0},
    {"temperature": 2.1},
    {"temperature": -0.1},
    {"temperature": True},
    {"temperature": "1"},
    {"temperature": None},
    {"max_tokens": 1},
    {"max_tokens": 0},
    {"max_tokens": 1.5},
    {"max_tokens": "1"},
    {"max_tokens": None},
    {"max_tokens": 2048, "model": "llama-2"},
    {"max_tokens": 2049, "model": "llama-2"},
    {"max_tokens": 4096, "model": "gpt-4"},
    {"max_tokens": 4097, "model": "gpt-4"},
    {"conversation_id": None},
    {"conversation_id": 5},
    {"stream": True},
    {"max_token": None},
]


@pytest.mark.django_db
@pytest.mark.parametrize("change", BODIES)
def test_a_chat_is_accepted_exactly_where_the_schema_allows_it(schema, auth_client, settings, change):
    settings.TOKEN_BUDGET_DEFAULT = 10**6
    body = chat_body() | change
    content = operations(schema)["POST /chat"]["requestBody"]["content"]
    allowed = validator(schema, content[JSON]["schema"]).is_valid(body)
    response = auth_client.post("/chat", body, format="json")
    content = b"".join(response)  # a stream to its end
    assert (response.status_code == 200) == allowed, content


@pytest.mark.django_db
def test_an_answer_has_exactly_the_fields_that_are_described(schema, auth_client, user):
    conversation = Conversation.objects.create(user=user)
    Message.objects.create(conversation=conversation, role="user", content="Hello!")
    user.is_staff = True
    user.save()
    ask(auth_client)
    examples = {"conversation_id": conversation.pk, "code": "not_found", "name": "gpt-4"}
    for name, operation in operations(schema).items():
        method, path = name.split()
        if method == "DELETE" or path == "/schema":
            continue
        sent = chat_body() if path == "/chat" else {"title": "Travel plans"}
        arguments = {"data": sent, "format": "json"} if method == "POST" else {}
        response = getattr(auth_client, method.lower())(path.format(**examples), **arguments)
        part = operation["responses"][str(response.status_code)]["content"][JSON]["schema"]
        validator(schema, part).validate(response.json())
        described = (target(schema, part) if "$ref" in part else part).get("properties", response.json())
        assert response.json().keys() == described.keys() - {"message"}, name


# --- another face of the API ------------------------------------------------------------------------------------------
class TheirFormat:
    ERRORS = "Their"
    write_error = staticmethod(lambda error, request_id: {"error": {"code": error.code, "message": error.message}})
    error_schema = staticmethod(lambda example, facts: {"type": "object", "required": ["error"]})


class TheirAnswer(serializers.Serializer):
    choices = serializers.ListField()


class TheirView(OpenView):
    """A face. The rest is not its summary."""

    format = TheirFormat()
    answers = {"GET": {200: TheirAnswer, (200, "text/event-stream"): str}}
    where = {"GET": Where.CHAT}

    def get(self, request):
        return Response()


def test_a_view_may_have_its_own_format_and_stream():
    from django.urls import path

    patterns = [path("v1/theirs", TheirView.as_view())]
    schema = SchemaGenerator(patterns=patterns).get_schema(public=True)
    operation = operations(schema)["GET /v1/theirs"]
    assert (operation["operationId"], operation["summary"]) == ("get_their", "A face.")
    assert list(operation["responses"]["200"]["content"]) == [JSON, "text/event-stream"]
    overloaded = operation["responses"]["503"]["content"]
    assert list(overloaded) == [JSON, "application/problem+json"]
    assert {"$ref": "#/components/schemas/TheirOverloadedError"} in overloaded[JSON]["schema"]["oneOf"]
    assert target(schema, overloaded[JSON]["examples"]["overloaded"])["value"]["error"]["code"] == "overloaded"
