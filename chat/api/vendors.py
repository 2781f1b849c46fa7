"""The faces of other APIs: a chat and the models on offer, as OpenAI's clients ask for them and as Anthropic's do."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api.endpoint import ChatEndpoint
from chat.authentication import BrowserAuthentication, EitherKeyAuthentication
from chat.problems.envelopes import ANTHROPIC, OPENAI, envelope_of
from chat.problems.negotiation import EVENT_STREAM
from chat.problems.table import Where
from chat.protocols import anthropic, openai, responses
from chat.protocols.openai import models
from chat.protocols.protocol import Protocol
from chat.protocols.schemas import schema_of
from chat.routing import catalogue


class ChatCompletionsView(ChatEndpoint):
    """A chat, as OpenAI's clients send it.

    `POST` what OpenAI's own `/v1/chat/completions` takes. What no route of the model can do is refused with
    `unsupported_parameter`. Every way this can fail is listed in [/errors](/errors).
    """

    face = "openai"
    format: ClassVar[Protocol] = openai
    envelope = OPENAI
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
    envelope = OPENAI
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
    envelope = ANTHROPIC
    limits = ()
    where = {"POST": Where.CHAT}
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"POST": {200: schema_of(anthropic.REPLY), (200, EVENT_STREAM): str}}


class VendorModelsView(APIView):
    """The models on offer, as OpenAI lists them; as Anthropic does for a request with `anthropic-version`.

    For those who have a key, as there: many clients try a key by asking for this.
    """

    envelope = OPENAI
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: schema_of(models.Listing)}}

    def get(self, request: Request) -> Response:
        offer = [model for _, model in sorted(catalogue.current().models.items())]
        return Response(format_of(request).write_models(offer), headers={"Vary": "anthropic-version"})


class VendorModelView(APIView):
    """One model, as OpenAI shows it; as Anthropic does for a request with `anthropic-version`."""

    envelope = OPENAI
    authentication_classes = [EitherKeyAuthentication, BrowserAuthentication]
    answers = {"GET": {200: schema_of(models.Entry)}}
    where = {"GET": Where.MODEL}

    def get(self, request: Request, name: str) -> Response:
        model = catalogue.current().get(name)
        return Response(format_of(request).write_model(model), headers={"Vary": "anthropic-version"})


def format_of(request: Request) -> Protocol:
    return anthropic if envelope_of(request._request) is ANTHROPIC else openai
