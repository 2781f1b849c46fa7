"""Odd values through HTTP, in what a client sends and in what a provider answers: a sample of those that the functions
of tests/protocols/test_odd_values.py are given. None is a fault of ours, each has a proper end, and the books agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest
from pydantic import TypeAdapter

from chat.billing import ledger
from chat.protocols import anthropic, embeddings, openai, responses
from chat.routing import cooldown
from tests.support import odd
from tests.support.asking import ANTHROPIC, OPENAI, RESPONSES, client_of
from tests.support.contract import TABLE
from tests.support.loopback import Fault, status

pytestmark = pytest.mark.django_db
PATHS = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES}
EMBEDDINGS = "/v1/embeddings"
SERVED = {"/completions": "openai", "/messages": "anthropic", "/responses": "responses", "/embeddings": "embeddings"}
FACES: dict[str, Any] = {"openai": openai, "anthropic": anthropic, "responses": responses, "embeddings": embeddings}
SCHEMAS = {name: TypeAdapter(face.REPLY) for name, face in FACES.items()}
LIMITS = "max_output_tokens = 4096\ndefault_output_tokens = 64"
STEP = 61
"""One of so many is tried. It shares no divisor with the number of the odd values, so that each has its turn."""
ENDS = {
    "openai": ("[DONE]",),
    "anthropic": ("message_stop",),
    "responses": ("response.completed", "response.incomplete"),
}
"""The types of the events that are the last of an answer which is whole."""


@pytest.fixture
def house(rig, monkeypatch):
    """Models `openai`, `anthropic` and `responses`, each by a route of that format, and `embeddings`. Whatever needs an
    operator's word has it."""
    monkeypatch.setattr(cooldown, "FAILURES_IN_A_ROW", 1_000)
    rig.settings.CHAT_SIMULATOR = False
    rig.settings.TOKEN_BUDGET_DEFAULT = 10**9
    accepts = json.dumps(["mcp_servers", "container", "web_search", "x"])
    more = f'api_key_env = "FIRST_API_KEY"\nallow_stored = true\naccepts = {accepts}\n'
    return rig.offer(
        f'[providers.o]\nprotocol = "openai"\nbase_url = "{rig.first.openai_url}"\n{more}'
        f'[providers.a]\nprotocol = "anthropic"\nbase_url = "{rig.first.url}"\n{more}'
        f'[models.openai]\nroutes = ["o:m"]\n{LIMITS}\n[models.anthropic]\nroutes = ["a:m"]\n{LIMITS}\n'
        f'[models.responses]\nroutes = [{{ provider = "o", model = "m", api = "responses" }}]\n{LIMITS}\n'
        '[models.embeddings]\nkind = "embedding"\nroutes = ["o:m"]\n'
    )


def sample(values: Iterator[Any], begin: int = 0, step: int = STEP) -> Iterator[Any]:
    return islice(values, begin, None, step)


def answering(reply: Any, events: Iterable[Any] = ()) -> Fault:
    """A provider that answers `reply`, or `events` where there are any."""
    if not events:
        return status(200, {"content-type": "application/json"}, reply)
    told = (f"data: {json.dumps(event)}\n\n" for event in events)
    return status(200, {"content-type": "text/event-stream"}, "".join(told) + "data: [DONE]\n\n")


def good(recorded: Any) -> Fault:
    """A provider that answers as it should, in the format in which it was asked."""
    spoken = next(name for end, name in SERVED.items() if recorded.path.endswith(end))
    if spoken == "embeddings":
        return answering(odd.VECTORS)
    return answering(odd.REPLIES[spoken], odd.CHUNKS[spoken] if recorded.wants_stream else ())


def ask(house: Any, face: str, body: Any, route: str = "") -> None:
    """Send `body`, and see that its end is a proper one. An answer of a `route` of another format is ours in all."""
    path = PATHS.get(face, EMBEDDINGS)
    response = client_of(house).generic("POST", path, json.dumps(body), "application/json")
    if response.streaming:
        text = b"".join(response.streaming_content).decode()
        lines = [line for line in text.split("\n") if line and not line.startswith(":")]
        assert all(line.startswith(("event: ", "data: ")) for line in lines), text
        last = lines[-1].removeprefix("data: ")
        told: dict[str, Any] = {"type": last} if last == "[DONE]" else json.loads(last)
        assert bool(told.get("error")) != (told.get("type") in ENDS[face]), text
        if told.get("error"):
            check_error(told["error"])
    elif response.status_code == 200:
        if route != face:
            SCHEMAS[face].validate_python(response.json())
    else:
        assert TABLE[check_error(response.json()["error"])].status == response.status_code, response.content
    assert house.events("internal_error") == []
    assert house.tokens()[1] == 0
    with ledger.audit() as (_, _, differences):
        assert list(differences) == []


def check_error(error: dict[str, Any]) -> str:
    code = error.get("code") or error["details"]["error_code"]
    assert (code in TABLE, code != "internal_error", bool(error["type"] and error["message"])) == (True,) * 3, error
    return str(code)


@pytest.mark.parametrize("face", PATHS)
def test_odd_requests(house, face):
    house.first.always = good
    bodies = [odd.BODIES[face], *[odd.everybodys(odd.BODIES[face])] * 3]
    for begin, (route, whole) in enumerate(zip((face, *PATHS), bodies, strict=True)):
        for number, body in enumerate(sample(odd.variants(whole | {"model": route}), begin)):
            if number % 2 and body["stream"] is True:
                body |= {"stream": False, "stream_options": None}
            ask(house, face, body, route)
    assert house.tokens()[0] > 0


@pytest.mark.parametrize("face", PATHS)
@pytest.mark.parametrize("spoken", PATHS)
def test_odd_answers(house, face, spoken):
    body = odd.everybodys(odd.BODIES[face]) | {"model": spoken, "stream": False, "stream_options": None}
    for reply in sample(odd.variants(odd.REPLIES[spoken])):
        house.first.always = answering(reply)
        ask(house, face, body, spoken)
    for events in sample(odd.variants(odd.CHUNKS[spoken])):
        house.first.always = answering(None, events)
        ask(house, face, body | {"stream": True}, spoken)
    assert house.tokens()[0] > 0


ONCE_FATAL: list[tuple[str, tuple[Any, ...], Any]] = [
    ("openai", (0, "choices"), True),
    ("openai", (1, "choices"), [{"delta": {"tool_calls": [odd.CALL]}, "finish_reason": "tool_calls"}, "x"]),
    ("anthropic", (3, "type"), "\ud800"),
    ("anthropic", (3, "type"), "ping\nretry: 1"),
    ("responses", (22, "response"), True),
]


@pytest.mark.parametrize(("face", "place", "value"), ONCE_FATAL, ids=ascii)
def test_events_that_went_wrong_once(house, face, place, value):
    house.first.always = answering(None, odd.changed(odd.CHUNKS[face], place, value))
    ask(house, face, odd.everybodys(odd.BODIES[face]) | {"model": face, "stream": True})
    assert house.tokens()[0] > 0


def test_odd_embeddings(house):
    house.first.always = good
    for body in sample(odd.variants(odd.EMBEDDINGS | {"model": "embeddings"}), step=4):
        ask(house, "embeddings", body)
    for reply in sample(odd.variants(odd.VECTORS), step=4):
        house.first.always = answering(reply)
        ask(house, "embeddings", odd.EMBEDDINGS | {"model": "embeddings"}, "openai")
    assert house.tokens()[0] > 0
