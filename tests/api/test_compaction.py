"""A history that a vendor has shortened: only the provider that made the encrypted part can read it again."""

from __future__ import annotations

import pytest

from tests.support import messages
from tests.support import responses as openai
from tests.support.asking import ANTHROPIC, RESPONSES, post
from tests.support.loopback import Fault, status
from tests.support.responses import Vendor

pytestmark = pytest.mark.django_db

ITEMS = {
    RESPONSES: {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA-short"},
    ANTHROPIC: {"type": "compaction", "content": "So far ...", "signature": "EqQB-proof"},
}
NOW = {"role": "user", "content": "And now?"}


def told(path, *, stream):
    """An answer that begins with the shortened history."""
    if path == RESPONSES:
        return Vendor(openai.response(ITEMS[path], openai.message(openai.text("Good day."))))
    whole = messages.message(ITEMS[path], {"type": "text", "text": "Good day."})
    paced = Fault("stream_paced", body=messages.stream(whole).decode(), seconds=0)
    return paced if stream else status(200, body=whole)


def ask(rig, path, *said, **more):
    """Give the status of a chat whose history is `said`."""
    field = "input" if path == RESPONSES else "messages"
    response = post(rig, path, model="pair", **({field: [*said, NOW]} | more))
    response.getvalue()
    return response.status_code


def answered(rig):
    """Give the calls of each provider since the last time."""
    calls = [len(provider.requests) for provider in (rig.first, rig.second)]
    for provider in (rig.first, rig.second):
        provider.requests.clear()
    return calls


@pytest.fixture(params=[RESPONSES, ANTHROPIC])
def path(request, rig):
    """A face, over two providers that speak it."""
    if request.param == RESPONSES:
        request.getfixturevalue("house")
    else:
        rig.configure("anthropic")
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def said(request, rig, path):
    """The history as the second provider has shortened it, while the first was down."""
    rig.first.always, rig.second.always = "unavailable", told(path, stream=request.param)
    assert ask(rig, path, stream=request.param) == 200
    rig.first.always = rig.second.always = told(path, stream=False)
    answered(rig)
    item = ITEMS[path]
    return item if path == RESPONSES else {"role": "assistant", "content": [item]}


def test_it_goes_to_its_maker(rig, path, said):
    assert ask(rig, path, said) == 200
    assert answered(rig) == [0, 1]


def test_nobody_else_is_asked_while_its_maker_is_away(rig, path, said):
    rig.second.always = "unavailable"
    assert ask(rig, path, said) == 503
    first, second = answered(rig)
    assert (first, second > 0) == (0, True)


def test_an_unknown_one_goes_the_usual_way(rig, path, said):
    name = "encrypted_content" if path == RESPONSES else "signature"
    part = said if path == RESPONSES else said["content"][0]
    part = part | {name: "somebody else's"}
    assert ask(rig, path, part if path == RESPONSES else said | {"content": [part]}) == 200
    assert answered(rig) == [1, 0]
