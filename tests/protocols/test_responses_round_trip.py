"""A chat that was written for a server of the Responses API reads the same as it was."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from chat.protocols import responses
from chat.types import (
    Call,
    ChatRequest,
    Choice,
    Document,
    Format,
    Image,
    Message,
    Opaque,
    Raw,
    Result,
    Text,
    Tool,
)
from tests.support.responses import (
    CATALOGUE,
    GPT,
    PDF,
    SCHEMA,
    write,
)

WORDS = st.text(min_size=1, max_size=30).filter(str.strip)
ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2).map(json.dumps)
IMAGES = st.one_of(
    st.binary(max_size=9).map(lambda data: Image("image/png", base64.b64encode(data).decode(), detail="high")),
    st.just(Image(url="https://a.example/b.png", detail="low")),
)
FILES = st.just(Document("application/pdf", PDF, name="a.pdf")) | st.just(Document(url="https://a.example/b.pdf"))
SAID = st.lists(st.builds(Text, WORDS) | IMAGES | FILES, min_size=1, max_size=3).map(tuple)
OUTPUTS = st.builds(Text, WORDS).map(lambda said: (said,)) | st.tuples(
    IMAGES, st.builds(Text, WORDS)
)  # texts are joined
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


@st.composite
def conversations(draw):
    """Turns as a client of any protocol has them."""
    messages = [Message.of("system", draw(WORDS))] if draw(st.booleans()) else []
    messages.append(Message("user", draw(SAID)))
    for turn in range(draw(st.integers(0, 3))):
        calls = tuple(
            Call(f"call_{turn}_{number}", draw(NAMES), draw(ARGUMENTS)) for number in range(draw(st.integers(0, 2)))
        )
        words = (Text(draw(WORDS)),) if draw(st.booleans()) or not calls else ()
        messages.append(Message("assistant", words + calls))
        results = tuple(Result(call.id, draw(OUTPUTS)) for call in calls)
        messages += [Message("user", results)] if results else []
        messages.append(Message("user", draw(SAID)))
    return tuple(messages)


TOOLS = st.lists(
    st.builds(Tool, NAMES, st.just("") | WORDS, st.just(SCHEMA), st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)


@settings(deadline=None, max_examples=50)
@given(conversations(), TOOLS, st.sampled_from([None, Format(None), Format(SCHEMA, "answer", True)]), st.data())
def test_a_chat_that_was_written_reads_the_same(messages, tools, form, data):
    choices = [None, *([Choice("any", parallel=True), Choice("tool", tools[0].name), Choice("none")] if tools else [])]
    request = ChatRequest(messages, tools=tools, choice=data.draw(st.sampled_from(choices)), format=form, effort="high")
    sent = json.loads(json.dumps(write(request, GPT)))
    again = responses.read_request(sent | {"model": "m"}, CATALOGUE, {}).request
    assert again.messages == request.messages
    assert (again.tools, again.choice, again.format, again.effort) == (tools, request.choice, form, "high")
    assert {need.kind for need in again.needs} <= responses.CARRIES
    # And what a client of this API sent goes on as it is.
    assert write(again, GPT) == sent


def test_parts_of_the_vendors_own_are_nobody_elses():
    opaque = Opaque("responses", {"type": "input_audio"})
    request = ChatRequest((Message("user", (Text("Hi"), opaque)),), raw=Raw("anthropic", {}))
    assert write(request)["input"][0]["content"] == [{"type": "input_text", "text": "Hi"}]
