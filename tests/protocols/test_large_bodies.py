"""Bodies as large as they may be, of the shapes that cost the most: twice the body takes twice the time, no more."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

import pytest

from chat.protocols.registry import PROTOCOLS
from chat.types import Upstream
from tests.support.responses import CALL, CATALOGUE, OUTPUT, read

USER = {"role": "user", "content": "Hello!"}
FORMATS = ("openai", "responses", "anthropic")


def schema(count):
    names = [f"field_{number}" for number in range(count)]
    fields = {"properties": {name: {"type": "string"} for name in names}, "required": names}
    return {"type": "object", "additionalProperties": False, **fields}


def strict_tool(count):
    function = {"name": "look", "strict": True, "parameters": schema(count)}
    return "openai", {"messages": [USER], "tools": [{"type": "function", "function": function}]}


def strict_answer(count):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema(count)}}
    return "openai", {"messages": [USER], "response_format": form}


def schema_of_many_definitions(count):
    definitions = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(count)}
    definitions[f"d{count}"] = {"type": "string"}
    form = {"type": "json_schema", "schema": {"$ref": "#/$defs/d0", "$defs": definitions}}
    return "anthropic", {"max_tokens": 9, "messages": [USER], "output_config": {"format": form}}


def calls(ids):
    said = [{"type": "tool_use", "id": each, "name": "look", "input": {}} for each in ids]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "Oslo"} for each in ids]
    turns = [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    return "anthropic", {"max_tokens": 9, "messages": [USER, *turns]}


def calls_of_one_turn(count):
    return calls([f"call_{number}" for number in range(count)])


def calls_with_ids_to_be_cut(count):
    return calls([f"{'x' * 70}{number}" for number in range(count)])


def texts(count):
    return "anthropic", {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * count}],
    }


def images(count):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    return "openai", {"messages": [{"role": "user", "content": [image] * count}]}


def unknown_fields(count):
    return "openai", {"messages": [USER], **{f"field_{number}": 1 for number in range(count)}}


SHAPES = (
    *(strict_tool, strict_answer, schema_of_many_definitions, calls_of_one_turn, calls_with_ids_to_be_cut, texts),
    *(images, unknown_fields),
)


@pytest.fixture
def _no_collector():
    gc.disable()  # which looks at all that other tests have left
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("spoken", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_twice_the_body_takes_twice_the_time(shape, spoken):
    def cost(count):
        return min(once(*shape(count)) for _ in range(3))

    def once(own, body):
        began = time.process_time()
        wish = PROTOCOLS[own].read_request({"model": "m"} | body, CATALOGUE, {})
        for raw in [None, *([wish.request.raw] if own == spoken else [])]:
            request = replace(wish.request, max_tokens=9, raw=raw)
            PROTOCOLS[spoken].write_request(request, Upstream("m"), host="x", stream=False)
        return time.process_time() - began

    assert cost(8_000) < 3 * cost(4_000) + 0.1


@pytest.mark.usefixtures("_no_collector")
def test_a_turn_of_many_texts_and_many_calls_takes_no_longer_than_the_two_apart():
    def cost(texts, calls):
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}] * texts}
        ids = [{"call_id": f"call_{number}"} for number in range(calls)]
        items = [USER, said, *(CALL | each for each in ids), *(OUTPUT | each for each in ids)]
        return min(once(items) for _ in range(3))

    def once(items):
        began = time.process_time()
        read(items)
        return time.process_time() - began

    assert cost(60_000, 500) < 3 * (cost(60_000, 1) + cost(1, 500)) + 0.1
