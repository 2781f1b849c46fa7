"""The faces of other APIs: a chat and the models on offer, as OpenAI's clients ask for them and as Anthropic's do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api import idempotency
from chat.api.endpoint import ChatEndpoint
from chat.authentication import BrowserAuthentication, EitherKeyAuthentication
from chat.completion.asked import Chat
from chat.completion.counting import count_tokens
from chat.exceptions import ValidationError
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Where
from chat.protocols import anthropic, embeddings, models, openai, responses
from chat.protocols.protocol import Face, Protocol
from chat.protocols.schemas import schema_of
from chat.routing import catalogue
from chat.throttling import admitted
from chat.types import Answer

MOST_KEPT = 16
"""Vectors of one answer that are kept under an Idempotency-Key: about as much as the longest answer of a chat."""


class ChatCompletionsView(ChatEndpoint):
    """A chat, as OpenAI's clients send it.

    `POST` what OpenAI's own `/v1/chat/completions` takes. What no route of the model can do is refused with
    `unsupported_parameter`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "openai"
    format: ClassVar[Protocol] = openai
    where = {"POST": Where.CHAT}
    limits = ("max_tokens", "max_completion_tokens")
    answers = {"POST": {200: schema_of(openai.REPLY), (200, EVENT_STREAM): str}}


class ResponsesView(ChatEndpoint):
    """A chat, as OpenAI's newer clients send it.

    `POST` what OpenAI's own `/v1/responses` takes, with the whole conversation in it: nothing is stored here or there,
    so that `store`, `previous_response_id` and the like are refused with `unsupported_parameter`. Every way this can
    fail is listed in [/errors](/errors).
    """

    face = "responses"
    format: ClassVar[Protocol] = responses
    where = {"POST": Where.CHAT}
    limits = ("max_output_tokens",)
    answers = {"POST": {200: schema_of(responses.REPLY), (200, EVENT_STREAM): str}}

    def example(self) -> dict[str, Any]:
        """See `ChatEndpoint.example`."""
        example = super().example()
        return {"model": example["model"], "input": "Hello!", "max_output_tokens": example["max_tokens"]}


class MessagesView(ChatEndpoint):
    """A chat, as Anthropic's clients send it.

    `POST` what Anthropic's own `/v1/messages` takes. What no route of the model can do is refused with
    `unsupported_parameter`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "anthropic"
    format: ClassVar[Protocol] = anthropic
    limits = ()
    where = {"POST": Where.CHAT}
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"POST": {200: schema_of(anthropic.REPLY), (200, EVENT_STREAM): str}}


class CountTokensView(MessagesView):
    """The tokens of a prompt, as Anthropic's clients ask for them before they send it.

    `POST` what `/v1/messages` takes; `max_tokens` is not needed. Nothing is charged and nothing is refused for what it
    asks: a provider counts where one does so for free, else it is our own estimate.
    """

    face = "count_tokens"
    where = {"POST": Where.MESSAGES | Where.MODEL | Where.LIMITED}
    parameters = {}
    answers = {"POST": {200: schema_of(anthropic.COUNT)}}

    def request_schema(self) -> dict[str, Any]:
        """See `ChatEndpoint.request_schema`."""
        schema, whole = anthropic.count_schema(), super().request_schema()
        schema["properties"]["model"] = whole["properties"]["model"]
        return whole | schema

    def post(self, request: Request) -> Response:
        """Return the count."""
        with admitted(request.user.pk):
            self.sent = request.data
            wish = anthropic.read_count(self.sent, catalogue.current(), request.headers)
            return Response({"input_tokens": count_tokens(wish)})


class EmbeddingsView(ChatEndpoint):
    """Vectors of texts, as OpenAI's clients ask for them.

    `POST` what OpenAI's own `/v1/embeddings` takes, with a model that embeds. Every way this can fail is listed in
    [/errors](/errors).
    """

    face = "embeddings"
    format: ClassVar[Face] = embeddings
    where = {"POST": Where.CHAT}
    answers = {"POST": {200: schema_of(embeddings.REPLY)}}

    def request_schema(self) -> dict[str, Any]:
        """See `ChatEndpoint.request_schema`."""
        schema = self.format.request_schema()
        schema["properties"]["model"] |= {"enum": sorted(catalogue.current().embedders)}
        return schema | {"examples": [self.example()]}

    def example(self) -> dict[str, Any]:
        """See `ChatEndpoint.example`."""
        return {"model": min(catalogue.current().embedders, default=""), "input": ["Hello!", "Good day."]}

    @contextmanager
    def claimed(self, request: Request) -> Iterator[tuple[Chat, bool, Answer | None]]:
        """See `ChatEndpoint.claimed`. Raises `ValidationError` for more vectors than are kept under a key."""
        given = request.data if isinstance(request.data, dict) else {}
        if idempotency.key_of(request) and len(embeddings.inputs_of(given.get("input"))) > MOST_KEPT:
            complaint = f"No more than {MOST_KEPT} inputs are kept under a key; without one, send as many as you like."
            raise ValidationError("Too many inputs for a key.", fields={"Idempotency-Key": [complaint]})
        with super().claimed(request) as claimed:
            yield claimed


class VendorModelsView(APIView):
    """The models on offer, as one list that OpenAI's clients and Anthropic's read.

    For those who have a key, as there: many clients try a key by asking for this.
    """

    format: ClassVar[Face] = openai
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: schema_of(models.Listing)}}

    def get(self, request: Request) -> Response:
        return Response(models.write_models(catalogue.current().all_models))


class VendorModelView(APIView):
    """One model, as one object that OpenAI's clients and Anthropic's read."""

    format: ClassVar[Face] = openai
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: schema_of(models.Entry)}}
    where = {"GET": Where.MODEL}

    def get(self, request: Request, name: str) -> Response:
        current = catalogue.current()
        return Response(models.write_model(current.embedders.get(name) or current.get(name)))
