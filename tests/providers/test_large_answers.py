"""How long an answer may be: as long as the tokens that were asked for need, and bounded all the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chat.exceptions import InvalidProviderResponseError
from chat.protocols.payload import LARGEST_REPLY
from chat.types import Need, Upstream
from tests.providers.streaming import REQUEST, broken, make, rest, streamed
from tests.support.loopback import status
from tests.support.loopback_faults import answer

STREAM = {"content-type": "text/event-stream"}
LONGEST = 128_000
WITH_ALTERNATIVES = replace(REQUEST, max_tokens=4_000, needs=(Need("unknown", "top_logprobs", "top_logprobs", 20),))


def events(number, filler):
    """A stream of so many words, each with as many bytes more."""
    word = {"choices": [{"index": 0, "delta": {"content": "word "}}], "obfuscation": "x" * filler}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = [json.dumps(word)] * number + [json.dumps(end), "[DONE]"]
    return status(200, STREAM, "".join(f"data: {text}\n\n" for text in data))


def whole():
    """An answer with the probabilities of its tokens, longer than one without may be."""
    logprobs = {"content": [{"token": "x", "logprob": -1.5, "bytes": [120]}] * (LARGEST_REPLY // 40)}
    body = answer("openai", "Hello!")
    body["choices"][0]["logprobs"] = logprobs
    return status(200, body=body)


@pytest.mark.parametrize("request_", [replace(REQUEST, max_tokens=LONGEST), WITH_ALTERNATIVES], ids=["long", "numbers"])
def test_a_long_answer_arrives_to_its_end(server, request_):
    assert len(rest(streamed(server, events(12, 900_000), request=request_))) == 12


def test_an_answer_with_the_numbers_that_were_asked_for_is_whole(server):
    server.then(whole())
    reply = make(server).complete(WITH_ALTERNATIVES, upstream=Upstream("m"), timeout=20)
    assert reply.parts[0].text == "Hello!"


def test_more_than_the_tokens_can_need_is_no_answer(server):
    assert type(broken(server, events(12, 900_000))) is InvalidProviderResponseError
    with pytest.raises(InvalidProviderResponseError):
        make(server.then(whole())).complete(REQUEST, upstream=Upstream("m"), timeout=20)
    assert type(broken(server, "stream_endless_comments", request=WITH_ALTERNATIVES)) is InvalidProviderResponseError
