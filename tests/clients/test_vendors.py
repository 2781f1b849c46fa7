"""The vendors' own packages, on a route of each API: two turns of tools, and an object of a schema."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.weather import BILL, FUNCTION, QUESTION, REPORT, SAID, SCHEMA, WEATHER, Report, bills

pytestmark = pytest.mark.django_db(transaction=True)
TURNS: list[Any] = [{"role": "user", "content": QUESTION}]
LIMIT: dict[str, Any] = {"max_tokens": 64}


class Completions:
    def __init__(self, url: str, key: str) -> None:
        self.client: Any = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, stream: bool, **options: Any) -> Any:
        api = self.client.chat.completions
        if not stream:
            return api.parse(model="alone", **options).choices[0].message
        with api.stream(model="alone", **options) as events:
            return events.get_final_completion().choices[0].message

    def talk(self, stream: bool) -> str:
        tools = [{"type": "function", "function": FUNCTION}]
        said = self.ask(stream, messages=TURNS, tools=tools)
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": WEATHER[json.loads(call.function.arguments)["city"]]}
            for call in said.tool_calls
        ]
        history = [*TURNS, said.to_dict(), *results]
        return self.ask(stream, messages=history, tools=tools).content

    def object(self, stream: bool) -> Any:
        return self.ask(stream, messages=TURNS, response_format=Report).parsed


class Responses(Completions):
    def ask(self, stream: bool, **options: Any) -> Any:
        if not stream:
            return self.client.responses.parse(model="alone", **options)
        with self.client.responses.stream(model="alone", **options) as events:
            return events.get_final_response()

    def talk(self, stream: bool) -> str:
        tools = [{"type": "function", **FUNCTION}]
        calls = self.ask(stream, input=TURNS, tools=tools).output
        results = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": WEATHER[json.loads(call.arguments)["city"]],
            }
            for call in calls
        ]
        said = [{name: value for name, value in call.to_dict().items() if name != "parsed_arguments"} for call in calls]
        return self.ask(stream, input=[*TURNS, *said, *results], tools=tools).output_text

    def object(self, stream: bool) -> Any:
        return self.ask(stream, input=TURNS, text_format=Report).output_parsed


class Messages:
    def __init__(self, url: str, key: str) -> None:
        self.client: Any = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def ask(self, stream: bool, **options: Any) -> Any:
        if not stream:
            return self.client.messages.parse(model="alone", **LIMIT, **options)
        with self.client.messages.stream(model="alone", **LIMIT, **options) as events:
            return events.get_final_message()

    def talk(self, stream: bool) -> str:
        tools = [{"name": "weather", "input_schema": SCHEMA}]
        calls = self.ask(stream, messages=TURNS, tools=tools).content
        said = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": WEATHER[call.input["city"]]} for call in calls
        ]
        history = [*TURNS, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        return self.ask(stream, messages=history, tools=tools).content[0].text

    def object(self, stream: bool) -> Any:
        return self.ask(stream, messages=TURNS, output_format=Report).parsed_output


@pytest.fixture(params=[Completions, Responses, Messages])
def face(request, served, rig):
    face = request.param(served, rig.token)
    with face.client:
        yield face


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_of_parallel_calls(face, stream):
    assert face.talk(stream) == SAID
    assert bills() == [BILL] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_object_of_a_schema(face, stream):
    assert face.object(stream) == REPORT
    assert bills() == [BILL]
