"""Bad input: each gets a clear error, and nothing is reserved for it."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from chat.routing import catalogue
from tests.support.contract import ask, chat_body, check_error, nothing_reserved, send

pytestmark = pytest.mark.django_db
PLANTED = "planted words of the user"
USER = {"role": "user", "content": "Hello!"}


@pytest.fixture(autouse=True)
def _no_limit(settings):
    settings.CHAT_RATE_LIMIT = "1000/m"


MESSAGES: dict[str, tuple[Any, str, str]] = {
    # name: (messages, the field, a word of the message)
    "missing": (..., "messages", "required"),
    "null": (None, "messages", "required"),
    "string": (PLANTED, "messages", "list"),
    "object": (USER, "messages", "list"),
    "number": (7, "messages", "list"),
    "true": (True, "messages", "list"),
    "empty": ([], "messages", "1 to 2000"),
    "2001": ([USER] * 2001, "messages", "1 to 2000"),
    "no user": ([{"role": "system", "content": PLANTED}], "messages", "user"),
    "string inside": ([USER, PLANTED], "messages[1]", "object"),
    "null inside": ([None], "messages[0]", "object"),
    "list inside": ([[USER]], "messages[0]", "object"),
    "empty object": ([{}], "messages[0].role", "role"),
    "unknown role": ([{"role": "developer", "content": PLANTED}], "messages[0].role", "system, user, assistant"),
    "role in capitals": ([{"role": "User", "content": PLANTED}], "messages[0].role", "role"),
    "role as a list": ([{"role": ["user"], "content": PLANTED}], "messages[0].role", "role"),
    "role null": ([{"role": None, "content": PLANTED}], "messages[0].role", "role"),
    "no content": ([USER, {"role": "user"}], "messages[1].content", "string"),
    "null content": ([{"role": "user", "content": None}], "messages[0].content", "string"),
    "empty content": ([{"role": "user", "content": ""}], "messages[0].content", "blank"),
    "blank content": ([{"role": "user", "content": " \n\t\u3000"}], "messages[0].content", "blank"),
    "number as content": ([{"role": "user", "content": 7}], "messages[0].content", "string"),
    "parts as content": ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content", "string"),
    "another key": ([USER | {"name": PLANTED}], "messages[0]", "nothing else"),
    "long": ([{"role": "planted" * 20_000, "content": "x"}], "messages[0].role", "role"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(auth_client, log, case):
    messages, field, word = MESSAGES[case]
    body = chat_body(messages=messages, temperature="also wrong")
    if messages is ...:
        del body["messages"]
    with nothing_reserved():
        response = auth_client.post("/chat", body, format="json")
    answer = check_error(response, "invalid_message_format")
    assert answer["field"] == field
    assert word in answer["message"]
    assert len(answer["received"]) <= 200
    assert "planted" not in log.text
    assert ask(auth_client, messages=answer["example"]).status_code == 200


FIELDS: dict[str, list[Any]] = {
    "temperature": [True, False, "0.7", -0.1, 2.0001, 3, [], {}, 10**300],
    "max_tokens": [0, -1, 1.5, 1.0, True, "100", 2049, 10**300, [100]],
    "conversation_id": [7, True, [], {}],
    "stream": ["true", 1, 0, []],
    "tempreature": [0.5],
    "": [1],
    "x" * 5_000: [1],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in FIELDS.items() for value in values],
    ids=[f"{name[:20]}-{value!r:.20}" for name, values in FIELDS.items() for value in values],
)
def test_another_field(auth_client, name, value):
    with nothing_reserved():
        response = ask(auth_client, **{name: value})
    assert list(check_error(response, "invalid_request")["fields"]) == [name[:200]]
    assert len(response.content) < 2_000


def test_all_other_fields_are_complained_of_at_once(auth_client):
    with nothing_reserved():
        response = ask(auth_client, temperature=3, max_tokens=0, conversation_id=1, stream=1, **{PLANTED: 1})
    fields = check_error(response, "invalid_request")["fields"]
    assert fields.keys() == {"temperature", "max_tokens", "conversation_id", "stream", PLANTED}


def test_ten_thousand_unknown_fields_get_a_short_answer(auth_client):
    response = ask(auth_client, **{f"field{i}": 1 for i in range(10_000)})
    check_error(response, "invalid_request")
    assert len(response.content) < 5_000


@pytest.mark.parametrize("body", ["[]", '"text"', "7", "true", "null", "[{}]"])
def test_a_body_that_is_no_object(auth_client, body):
    with nothing_reserved():
        check_error(send(auth_client, body), "invalid_request")
        check_error(send(auth_client, body, path="/conversations"), "invalid_request")


def test_no_body(auth_client):
    with nothing_reserved():
        check_error(auth_client.generic("POST", "/chat", "", content_type=""), "invalid_request")
        assert list(check_error(send(auth_client, ""), "invalid_request")["fields"]) == ["model"]


@pytest.mark.parametrize("model", [None, 7, True, ["gpt-4"], {}], ids=str)
def test_a_model_that_is_no_string(auth_client, model):
    with nothing_reserved():
        assert list(check_error(ask(auth_client, model=model), "invalid_request")["fields"]) == ["model"]


UNKNOWN = ["", "GPT-4", "gpt-4 ", " gpt-4", "openai:gpt-4o", "planted" * 1_500]


@pytest.mark.parametrize("model", UNKNOWN, ids="{:.20}".format)
def test_a_model_that_is_not_on_offer(auth_client, log, model):
    with nothing_reserved():
        response = ask(auth_client, model=model, messages=[])
    body = check_error(response, "model_not_found")
    assert body["requested_model"] == model[:200]
    assert body["available_models"] == sorted(catalogue.current().models)
    assert {"claude-3", "gpt-4", "llama-2"} < set(body["available_models"])
    assert len(response.content) < 1_000
    assert len(log.events("model_not_found")[0]["model_name"]) <= 200


GOOD = [
    {"temperature": 0},
    {"temperature": 2},
    {"temperature": 0.5},
    {"max_tokens": 1},
    {"max_tokens": 2048},
    {"temperature": None, "max_tokens": None, "conversation_id": None},
    {"messages": [USER] * 256},
    {"messages": [{"role": "system", "content": "x"}, USER, {"role": "assistant", "content": " y "}]},
]


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_the_edges_of_what_is_allowed(auth_client, changes):
    assert ask(auth_client, **changes).status_code == 200


def test_the_defaults(auth_client, upstream):
    for changes in ({}, {"temperature": None, "max_tokens": None}):
        assert ask(auth_client, model="gpt", **changes).status_code == 200
        sent = upstream.requests[-1].json
        assert ("temperature" in sent, sent["max_tokens"]) == (False, 1024)


def test_the_box_of_the_browsable_api_holds_a_body_that_works_and_then_what_was_sent(auth_client):
    page = auth_client.get("/chat", headers={"Accept": "text/html"}).content.decode()
    box = re.search(r"<textarea[^>]*name=\"_content\"[^>]*>(.*?)</textarea>", page, re.DOTALL)
    body = json.loads(html.unescape(box[1]))
    assert auth_client.post("/chat", body, format="json").status_code == 200
    sent = body | {"max_tokens": 0}
    page = auth_client.post("/chat", sent, format="json", headers={"Accept": "text/html"}).content.decode()
    box = re.search(r"<textarea[^>]*name=\"_content\"[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert json.loads(html.unescape(box[1])) == sent


# --- conversations ----------------------------------------------------------------------------------------------------
TITLES = {"number": 7, "true": True, "list": ["a"], "object": {}, "long": "x" * 201}


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_a_title_that_is_none(auth_client, title):
    response = auth_client.post("/conversations", {"title": title}, format="json")
    assert list(check_error(response, "invalid_request")["fields"]) == ["title"]


@pytest.mark.parametrize("name", ["titel", "id", "created_at", "user", "messages"])
def test_a_field_that_a_conversation_does_not_take(auth_client, name):
    response = auth_client.post("/conversations", {name: "x"}, format="json")
    assert list(check_error(response, "invalid_request")["fields"]) == [name]
