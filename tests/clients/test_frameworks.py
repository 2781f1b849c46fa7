"""What products are built with, on a route of each API: two turns of tools, and an object of a schema.

instructor is missing: it wants an older jiter than OpenAI's own package does.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from typing import Any

import pytest
from pydantic import SecretStr

from tests.clients.weather import BILL, FUNCTION, QUESTION, REPORT, SAID, SCHEMA, WEATHER, Report, bills

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("default"),  # they are told to others: of pydantic's newest version, of deprecated names
]
LIMIT = 64


def weather(city: str) -> str:
    """The weather of a city."""
    return WEATHER[city]


class LangChain:
    """langchain-openai on chat/completions."""

    def __init__(self, url: str, key: str) -> None:
        self.model = self.model_at(url, SecretStr(key))

    def model_at(self, url: str, key: SecretStr) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="alone", base_url=f"{url}/v1", api_key=key, max_retries=0, stream_usage=True)

    def say(self, model: Any, said: Any, stream: bool) -> Any:
        return functools.reduce(lambda one, more: one + more, model.stream(said)) if stream else model.invoke(said)

    def talk(self, stream: bool) -> str:
        from langchain_core.messages import HumanMessage, ToolMessage

        model = self.model.bind_tools([{"type": "function", "function": FUNCTION}])
        history: list[Any] = [HumanMessage(QUESTION)]
        history.append(self.say(model, history, stream))
        history += [
            ToolMessage(WEATHER[call["args"]["city"]], tool_call_id=call["id"]) for call in history[-1].tool_calls
        ]
        return self.say(model, history, stream).text

    def object(self, stream: bool) -> Any:
        model = self.model.with_structured_output(Report, method="json_schema")
        return list(model.stream(QUESTION))[-1] if stream else model.invoke(QUESTION)


class LangChainResponses(LangChain):
    """langchain-openai on responses."""

    def model_at(self, url: str, key: SecretStr) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="alone", base_url=f"{url}/v1", api_key=key, max_retries=0, use_responses_api=True)


class LangChainAnthropic(LangChain):
    """langchain-anthropic."""

    def model_at(self, url: str, key: SecretStr) -> Any:
        from langchain_anthropic import ChatAnthropic

        make: Any = ChatAnthropic  # whose types ask for all that has a default
        return make(model_name="alone", base_url=url, api_key=key, max_retries=0, max_tokens_to_sample=LIMIT)


class PydanticAI:
    """pydantic-ai on chat/completions."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)

    def model(self, client: Any, profile: Any) -> Any:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIChatModel("alone", provider=OpenAIProvider(openai_client=client), profile=profile)

    def run(self, output: Any, stream: bool) -> Any:
        from pydantic_ai import Agent, Tool
        from pydantic_ai.profiles import ModelProfile

        async def run() -> Any:
            async with self.client() as client:
                model = self.model(client, ModelProfile(supports_json_schema_output=True))
                tools = [Tool(weather, takes_ctx=False)] if output is str else []
                agent = Agent(model, output_type=output, tools=tools)
                if not stream:
                    return (await agent.run(QUESTION)).output
                async with agent.run_stream(QUESTION) as events:
                    return await events.get_output()

        return asyncio.run(run())

    def talk(self, stream: bool) -> str:
        return self.run(str, stream)

    def object(self, stream: bool) -> Any:
        from pydantic_ai import NativeOutput

        return self.run(NativeOutput(Report), stream)


class PydanticAIResponses(PydanticAI):
    """pydantic-ai on responses."""

    def model(self, client: Any, profile: Any) -> Any:
        from pydantic_ai.models.openai import OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIResponsesModel("alone", provider=OpenAIProvider(openai_client=client), profile=profile)


class PydanticAIAnthropic(PydanticAI):
    """pydantic-ai on messages."""

    def client(self) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=0)

    def model(self, client: Any, profile: Any) -> Any:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel("alone", provider=AnthropicProvider(anthropic_client=client), profile=profile)


class LiteLLM:
    """litellm on chat/completions."""

    vendor, path = "openai", "/v1"

    def __init__(self, url: str, key: str) -> None:
        self.where = {"model": f"{self.vendor}/alone", "api_base": url + self.path, "api_key": key}

    def say(self, stream: bool, **options: Any) -> Any:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks GitHub for its list of prices
        import litellm

        answer: Any = litellm.completion(**self.where, **options, stream=stream, max_tokens=LIMIT, max_retries=0)
        whole: Any = litellm.stream_chunk_builder(list(answer)) if stream else answer
        return whole.choices[0].message

    def talk(self, stream: bool) -> str:
        tools = [{"type": "function", "function": {**FUNCTION, "parameters": SCHEMA}}]
        history: list[Any] = [{"role": "user", "content": QUESTION}]
        said = self.say(stream, messages=history, tools=tools)
        history.append(said)
        for call in said.tool_calls:
            weather = WEATHER[json.loads(call.function.arguments)["city"]]
            history.append({"role": "tool", "tool_call_id": call.id, "content": weather})
        return self.say(stream, messages=history, tools=tools).content

    def object(self, stream: bool) -> Any:
        said = self.say(stream, messages=[{"role": "user", "content": QUESTION}], response_format=Report)
        return Report.model_validate_json(said.content)


class LiteLLMAnthropic(LiteLLM):
    """litellm on messages."""

    vendor, path = "anthropic", ""


FRAMEWORKS = [
    *(LangChain, LangChainResponses, LangChainAnthropic),
    *(PydanticAI, PydanticAIResponses, PydanticAIAnthropic),
    *(LiteLLM, LiteLLMAnthropic),
]


@pytest.fixture(params=FRAMEWORKS)
def framework(request, served, rig):
    return request.param(served, rig.token)


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_of_parallel_calls(framework, stream):
    assert framework.talk(stream) == SAID
    assert bills() == [BILL] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_object_of_a_schema(framework, stream):
    assert framework.object(stream) == REPORT
    assert bills() == [BILL]
