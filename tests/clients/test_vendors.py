"""The vendors' own packages: two turns of tools and an object of a schema, on a chat/completions that enforces."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel, ConfigDict

from chat.models import UsageRecord
from tests.support.completions import USAGE, vendor

pytestmark = pytest.mark.django_db(transaction=True)
QUESTION: list[Any] = [{"role": "user", "content": "How is the weather in Rome and in Oslo?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "parameters": SCHEMA, "strict": True}
WEATHER = {"Rome": "sunny", "Oslo": "snow"}
SAID = "They say: sunny, snow"
LIMIT: dict[str, Any] = {"max_tokens": 64}


class Report(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str
    degrees: int


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
        said = self.ask(stream, messages=QUESTION, tools=tools)
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": WEATHER[json.loads(call.function.arguments)["city"]]}
            for call in said.tool_calls
        ]
        history = [*QUESTION, said.to_dict(), *results]
        return self.ask(stream, messages=history, tools=tools).content

    def object(self, stream: bool) -> Any:
        return self.ask(stream, messages=QUESTION, response_format=Report).parsed


class Responses(Completions):
    def ask(self, stream: bool, **options: Any) -> Any:
        if not stream:
            return self.client.responses.parse(model="alone", **options)
        with self.client.responses.stream(model="alone", **options) as events:
            return events.get_final_response()

    def talk(self, stream: bool) -> str:
        tools = [{"type": "function", **FUNCTION}]
        calls = self.ask(stream, input=QUESTION, tools=tools).output
        results = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": WEATHER[json.loads(call.arguments)["city"]],
            }
            for call in calls
        ]
        said = [{name: value for name, value in call.to_dict().items() if name != "parsed_arguments"} for call in calls]
        return self.ask(stream, input=[*QUESTION, *said, *results], tools=tools).output_text

    def object(self, stream: bool) -> Any:
        return self.ask(stream, input=QUESTION, text_format=Report).output_parsed


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
        calls = self.ask(stream, messages=QUESTION, tools=tools).content
        said = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": WEATHER[call.input["city"]]} for call in calls
        ]
        history = [*QUESTION, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        return self.ask(stream, messages=history, tools=tools).content[0].text

    def object(self, stream: bool) -> Any:
        return self.ask(stream, messages=QUESTION, output_format=Report).parsed_output


@pytest.fixture(params=[Completions, Responses, Messages])
def face(request, live_server, rig):
    rig.first.always = vendor
    face = request.param(live_server.url, rig.token)
    with face.client:
        yield face


def bills() -> list[tuple[int, int, int, bool]]:
    fields = ("prompt_tokens", "completion_tokens", "cached_tokens", "estimated")
    return list(UsageRecord.objects.order_by("pk").values_list(*fields))


REPORTED = (USAGE["prompt_tokens"], USAGE["completion_tokens"], 12, False)


@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_of_parallel_calls(face, rig, stream):
    assert face.talk(stream) == SAID
    assert bills() == [REPORTED] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_object_of_a_schema(face, rig, stream):
    assert face.object(stream) == Report(city="Rome", degrees=21)
    assert bills() == [REPORTED]
