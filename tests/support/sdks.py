"""The official packages of OpenAI and Anthropic, unchanged, each driven in the same few words by the tests."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest

HELLO = {"role": "user", "content": "Hello!"}


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For the clients of servers on loopback, which need no TLS: to read all authorities takes longer than most tests."""


def openai_client(url: str, key: str, **options: Any) -> openai.OpenAI:
    """OpenAI's package, for the server at `url`; whoever asks for it closes it."""
    http = openai.DefaultHttpxClient(verify=PLAIN)
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, http_client=http, **options)


def anthropic_client(url: str, key: str, **options: Any) -> anthropic.Anthropic:
    """Anthropic's package, for the server at `url`; whoever asks for it closes it."""
    http = anthropic.DefaultHttpxClient(verify=PLAIN)
    return anthropic.Anthropic(base_url=url, api_key=key, http_client=http, **options)


class OpenAISDK:
    package: Any = openai
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    first_bad_temperature = 2.5
    broken_off = openai.APIError
    own_classes = {413: "APIStatusError"}
    """The class by status, where it is not the one that both packages have."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, **options)

    def ask(self, **options: Any) -> Any:
        return self.client.chat.completions.create(**{"model": "alone", "messages": [HELLO]} | options)

    def pieces(self, **options: Any) -> Iterator[tuple[str, str | None]]:
        """A streamed answer: each piece's text, and the reason to end."""
        for chunk in self.ask(stream=True, **options):
            yield from ((choice.delta.content or "", choice.finish_reason) for choice in chunk.choices)

    def text(self, answer: Any) -> str:
        return str(answer.choices[0].message.content)

    def tokens(self, answer: Any) -> tuple[int, int]:
        return answer.usage.prompt_tokens, answer.usage.completion_tokens

    def code(self, error: Any) -> Any:
        return error.code

    def param(self, error: Any) -> Any:
        return error.param


class AnthropicSDK:
    package: Any = anthropic
    tool = {"name": "look", "input_schema": {"type": "object"}}
    first_bad_temperature = 1.5
    broken_off = anthropic.APIStatusError
    own_classes = {413: "ContentTooLargeError", 503: "ServiceUnavailableError", 504: "GatewayTimeoutError"}

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self.client = anthropic.Anthropic(base_url=url, api_key=key, **options)

    def ask(self, **options: Any) -> Any:
        create: Any = self.client.messages.create
        return create(**{"model": "alone", "messages": [HELLO], "max_tokens": 64} | options)

    def pieces(self, **options: Any) -> Iterator[tuple[str, str | None]]:
        """See above."""
        for event in self.ask(stream=True, **options):
            if event.type == "content_block_delta":
                yield event.delta.text, None
            elif event.type in ("message_delta", "message_stop"):
                yield "", event.delta.stop_reason if event.type == "message_delta" else event.type

    def text(self, answer: Any) -> str:
        return "".join(block.text for block in answer.content)

    def tokens(self, answer: Any) -> tuple[int, int]:
        return answer.usage.input_tokens, answer.usage.output_tokens

    def code(self, error: Any) -> Any:
        return error.error_code

    def param(self, error: Any) -> Any:
        """In `details`, in the words of the native API."""
        details = error.body["error"]["details"]
        names = [*details.get("fields", ()), *(["model"] if "requested_model" in details else [])]
        return details.get("param") or details.get("field") or next(iter(names), None)


SDK = OpenAISDK | AnthropicSDK
BOTH = [pytest.param(OpenAISDK, id="openai"), pytest.param(AnthropicSDK, id="anthropic")]

CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}


def class_for(sdk: SDK, status: int) -> Any:
    name = sdk.own_classes.get(status) or CLASSES.get(status, "InternalServerError")
    return getattr(sdk.package, name)


def clock_of(wait: Any) -> SimpleNamespace:
    """The `time` module with another `sleep`, for a package to use in its place."""
    return SimpleNamespace(**vars(time) | {"sleep": wait})
