"""What a chat is charged where the provider's report is odd: by reading the bill. HTTP in, the record out."""

from __future__ import annotations

import json

import pytest

from chat.billing import tokens
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer

pytestmark = pytest.mark.django_db

TEXT = "Geese fly south in the autumn because the lakes of the north freeze over and there is nothing left to eat."
PROMPT = tokens.estimate_prompt(["Hello!"])
COUNTED = tokens.estimate_text(TEXT)


def bill(rig):
    record = rig.record()
    assert rig.tokens() == (record.tokens_used, 0)
    assert record.tokens_used == record.prompt_tokens + record.completion_tokens
    return record.prompt_tokens, record.completion_tokens, record.estimated


def openais(text=TEXT, **usage):
    return status(200, body=answer("openai", text, usage=usage))


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39}, (9, 30, False)),
        ({"prompt_tokens": 9, "completion_tokens": 30}, (9, 30, False)),
        ({"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 500}, (9, 491, False)),  # thinking beside
        ({"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 3}, (9, 30, False)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}, (9, COUNTED, True)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}, (9, COUNTED, True)),
        ({"prompt_tokens": 0, "completion_tokens": 30, "total_tokens": 30}, ("estimate", 30, True)),
        ({"prompt_tokens": 0, "completion_tokens": 30, "total_tokens": 39}, ("estimate", 30, True)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, ("estimate", COUNTED, True)),
    ],
    ids=str,
)
def test_a_whole_answer(rig, usage, charged):
    rig.first.always = openais(**usage)
    body = rig.chat(max_tokens=600).json()
    prompt = PROMPT if charged[0] == "estimate" else charged[0]
    assert bill(rig) == (prompt, *charged[1:])
    assert body["tokens_used"] == sum(bill(rig)[:2])


def test_a_count_is_contradicted_by_text_without_spaces_too(rig):
    text = "湖が凍るので雁は秋に南へ飛ぶ。" * 20
    rig.first.always = openais(text, prompt_tokens=9, completion_tokens=1)
    rig.chat(max_tokens=600)
    assert bill(rig) == (9, min(tokens.estimate_text(text), 600), True)


def test_a_long_rule_is_a_token(rig):
    rig.first.always = openais("=" * 60, prompt_tokens=9, completion_tokens=1)
    rig.chat(max_tokens=600)
    assert bill(rig) == (9, 1, False)


def test_a_chunks_total_counts_too(rig):
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 139}},
    ]
    rig.first.always = events(chunks, end="data: [DONE]\n\n")
    assert b"event: done" in b"".join(rig.chat(stream=True, max_tokens=600).streaming_content)
    assert bill(rig) == (9, 130, False)


@pytest.mark.parametrize(
    ("final", "charged"), [({"output_tokens": 30}, (9, 30, False)), ({}, (9, COUNTED, True))], ids=str
)
def test_the_placeholder_of_anthropics_first_event_is_no_count(rig, final, charged):
    usage = {"input_tokens": 9, "output_tokens": 1}
    begin = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    parts = [
        {"type": "message_start", "message": begin},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": final},
        {"type": "message_stop"},
    ]
    rig.configure("anthropic").first.always = events(parts)
    assert b"event: done" in b"".join(rig.chat(stream=True, max_tokens=600).streaming_content)
    assert bill(rig) == charged


def test_a_broken_stream_with_a_prompt_of_zero_is_charged_what_it_delivered(rig):
    chunk = {
        "choices": [{"index": 0, "delta": {"content": TEXT}}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 1},
    }
    rig.first.always = events([chunk])
    assert b"event: error" in b"".join(rig.chat(stream=True, max_tokens=600).streaming_content)
    assert bill(rig) == (PROMPT, COUNTED, True)


def events(parts, end=""):
    body = "".join(f"event: {part.get('type', 'message')}\ndata: {json.dumps(part)}\n\n" for part in parts) + end
    return Fault("status", headers={"content-type": "text/event-stream"}, body=body)
