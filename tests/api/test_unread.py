"""What goes on in a client's own body and nobody reads here is reserved for, too."""

from __future__ import annotations

import pytest

from tests.support.asking import ANTHROPIC, OPENAI, RESPONSES, post
from tests.support.loopback import status
from tests.support.responses import message, response, text

pytestmark = pytest.mark.django_db
LONG = "word " * 2_000
LEAST = len(LONG) // 5
"""Tokens of it at the least: one a word."""
USER = {"role": "user", "content": "Hello!"}
TEXT = {"type": "text", "text": "Hello!"}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}, "context": LONG}
EXAMPLES = {"name": "look", "input_schema": {"type": "object"}, "input_examples": [{"at": LONG}]}
CUSTOM = {"name": "run", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": LONG}}}

UNREAD = [
    (OPENAI, {"functions": [{"name": "f", "description": LONG}]}),
    (OPENAI, {"prediction": {"type": "content", "content": LONG}}),
    (OPENAI, {"a_field_of_tomorrow": LONG}),
    (OPENAI, {"tools": [{"type": "custom", "custom": CUSTOM}]}),
    (OPENAI, {"messages": [USER, {"role": "assistant", "content": "Hi", "reasoning_content": LONG}, USER]}),
    (OPENAI, {"messages": [{"role": "user", "content": [TEXT, {"type": "smell", "smell": LONG}]}]}),
    (OPENAI, {"messages": [{"role": "user", "content": [TEXT | {"mood": LONG}]}]}),
    (OPENAI, {"messages": [{"role": "function", "name": "f", "content": LONG}, USER]}),
    (ANTHROPIC, {"tools": [EXAMPLES]}),
    (ANTHROPIC, {"a_field_of_tomorrow": LONG}),
    (ANTHROPIC, {"messages": [{"role": "user", "content": [TEXT, NOTE]}]}),
    (ANTHROPIC, {"messages": [{"role": "user", "content": [TEXT, {"type": "smell", "smell": LONG}]}]}),
    (RESPONSES, {"tools": [{"type": "custom", **CUSTOM}]}),
    (RESPONSES, {"a_field_of_tomorrow": LONG}),
    (RESPONSES, {"input": [USER, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": LONG}, USER]}),
]


def answered(recorded):
    return status(200, body=response(message(text("Hi")))) if recorded.path.endswith("/responses") else "ok"


def reserved(rig, path, **body):
    assert post(rig, path, **body).status_code == 200
    return rig.record().reserved


@pytest.mark.parametrize(("path", "body"), UNREAD, ids=str)
def test_it_is_reserved_for_once(rig, path, body):
    rig.first.always = answered
    rig.configure("anthropic" if path == ANTHROPIC else "openai", more='api = "responses"' if path == RESPONSES else "")
    without = reserved(rig, path)
    assert LEAST < reserved(rig, path, **body) - without < 3 * LEAST
