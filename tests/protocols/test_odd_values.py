"""Every value within a request, and within a provider's answer, is in turn another than it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chat.exceptions import GenAIException
from chat.protocols import anthropic, fields, openai, responses
from chat.protocols.payload import Heard, UnusableReply, parse_object
from chat.types import Answer, Catalogue, Model, Upstream, Usage, Wish
from tests.support.odd import ALL, BODIES, CHUNKS, REPLIES, everybodys, variants

CATALOGUE = Catalogue({"m": Model("m", (), 4096, 64)}, {}, {})
PROTOCOLS: dict[str, Any] = {"openai": openai, "anthropic": anthropic, "responses": responses}
UPSTREAMS = [Upstream(name) for name in ("m", "gpt-6-luna", "claude-opus-5-5")]


def sent_by(wish: Wish) -> Iterator[Any]:
    """What goes out to each route that can do all that is asked."""
    for protocol in PROTOCOLS.values():
        for upstream in UPSTREAMS:
            request = replace(wish.request, max_tokens=2048)
            if not fields.refused(request, upstream, protocol):
                yield protocol.write_request(request, upstream, host="x", stream=True)


@pytest.mark.parametrize(("face", "whole"), ALL)
def test_a_request_is_read_or_refused(face, whole):
    for body in variants(whole):
        try:
            wish = PROTOCOLS[face].read_request(body, CATALOGUE, {})
        except GenAIException:
            continue
        for sent in sent_by(wish):
            json.dumps(sent, allow_nan=False)
        assert all(isinstance(text, str) for text in wish.request.texts())


def asked(face: str) -> Wish:
    wish: Wish = PROTOCOLS[face].read_request(everybodys(BODIES[face]), CATALOGUE, {})
    return wish


@pytest.mark.parametrize("face", BODIES)
@pytest.mark.parametrize("spoken", REPLIES)
def test_an_answer_is_read_or_unusable(spoken, face):
    wish = asked(face)
    for data in variants(REPLIES[spoken]):
        try:
            reply = PROTOCOLS[spoken].read_reply(data, wish.request)
        except UnusableReply:
            continue
        usage = reply.usage or Usage(1, 1)
        answer = Answer(
            reply.parts, usage, reply.finish_reason, "p", usage.total, "m", "r-1", 1, raw=getattr(reply, "raw", None)
        )
        json.dumps(PROTOCOLS[face].write_reply(answer, wish), allow_nan=False)


@pytest.mark.parametrize("spoken", CHUNKS)
def test_events_are_read_or_unusable(spoken):
    for number, event in enumerate(CHUNKS[spoken]):
        for odd in variants(event):
            heard = Heard(request=asked("openai" if spoken != "openai" else "anthropic").request)
            try:
                for data in (*CHUNKS[spoken][:number], odd, *CHUNKS[spoken][number + 1 :]):
                    pieces = PROTOCOLS[spoken].read_event(data, heard)
                    assert all(isinstance(getattr(piece.part, "text", ""), str) for piece in pieces)
            except UnusableReply:
                continue


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1E+400"])
def test_a_number_that_no_json_can_hold_is_none(number):
    assert parse_object(f'{{"a": [{number}]}}'.encode()) == {"a": [None]}
    assert parse_object(b'{"a": [1e40, "1e400"]}') == {"a": [1e40, "1e400"]}
