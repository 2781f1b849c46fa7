"""Conversations: a chat's memory, and its owner's alone."""

from __future__ import annotations

import json
import uuid

import pytest

from chat.models import Conversation, Message
from tests.support.contract import ask, check_error, nothing_reserved

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_limit(settings):
    settings.CHAT_RATE_LIMIT = settings.CONVERSATION_RATE_LIMIT = "1000/m"


EMPTY: dict[str, object] = {"count": 0, "next": None, "previous": None, "messages": []}


def create(client, **body):
    response = client.post("/conversations", body, format="json")
    assert response.status_code == 201, response.content
    return response.json()


def turns(client, conversation):
    messages = client.get(f"/conversations/{conversation['id']}").json()["messages"]
    assert all(message.keys() == {"role", "content", "created_at"} for message in messages)
    return [(message["role"], message["content"]) for message in messages]


@pytest.fixture
def stranger(django_user_model):
    other = django_user_model.objects.create_user("eve")
    return Conversation.objects.create(user=other, title="private")


def test_create_list_read_and_delete(auth_client, stranger):
    made = create(auth_client, title="Plans")
    assert made.keys() == {"id", "title", "created_at"}
    assert str(uuid.UUID(made["id"])) == made["id"]
    assert made["created_at"].endswith("Z")
    assert auth_client.get("/conversations").json()["results"] == [made]
    assert auth_client.get(f"/conversations/{made['id']}").json() == made | EMPTY
    response = auth_client.delete(f"/conversations/{made['id']}")
    assert (response.status_code, response.content) == (204, b"")
    check_error(auth_client.get(f"/conversations/{made['id']}"), "not_found")
    assert list(Conversation.objects.all()) == [stranger]


@pytest.mark.parametrize("body", [{}, {"title": None}, {"title": ""}])
def test_the_title_may_be_left_out(auth_client, body):
    assert create(auth_client, **body)["title"] == ""


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_is_an_object(auth_client, body):
    response = auth_client.post("/conversations", json.dumps(body), content_type="application/json")
    assert check_error(response, "invalid_request")["fields"] == {"body": ["Send one JSON object."]}


def test_the_list_comes_in_pages(auth_client):
    made = [create(auth_client, title=str(number))["title"] for number in range(45)]
    seen, url = [], "/conversations"
    while url:
        page = auth_client.get(url).json()
        assert page.keys() == {"count", "next", "previous", "results"}
        assert page["count"] == 45
        assert len(page["results"]) <= 20
        seen += [item["title"] for item in page["results"]]
        url = page["next"]
    assert seen == made[::-1]
    assert page["previous"].startswith("http://testserver/conversations?page=")
    assert len(auth_client.get("/conversations?page_size=100").json()["results"]) == 45
    first, last = (auth_client.get(f"/conversations?page={page}").json()["results"] for page in ("", "last"))
    assert ([item["title"] for item in first], [item["title"] for item in last]) == (seen[:20], seen[40:])


def test_the_list_costs_as_much_for_many(auth_client, user, django_assert_num_queries):
    Conversation.objects.bulk_create(Conversation(user=user) for _ in range(50))
    auth_client.get("/usage")  # notes that the key is in use
    with django_assert_num_queries(3):  # the key, the count, the page
        auth_client.get("/conversations")


@pytest.mark.parametrize("page", ["0", "-1", "4", "x", "9" * 30, "%00"])
def test_a_page_that_is_not_there(auth_client, page):
    check_error(auth_client.get(f"/conversations?page={page}"), "not_found")


@pytest.mark.parametrize("size", ["0", "-1", "x", "101", "9" * 30])
def test_a_page_size_out_of_range_is_brought_into_it(auth_client, size):
    assert auth_client.get(f"/conversations?page_size={size}").status_code == 200


def test_anothers_an_unknown_and_a_malformed_id_are_the_same(auth_client, stranger):
    missing = str(uuid.uuid4())
    ids = [str(stranger.pk), missing, "1", "x" * 300, "%00", "%FF", missing.replace("-", ""), "{" + missing + "}", "é"]
    bodies = set()
    for number in ids:
        for response in (
            auth_client.get(f"/conversations/{number}"),
            auth_client.delete(f"/conversations/{number}"),
            ask(auth_client, conversation_id=number),
        ):
            body = check_error(response, "not_found")
            bodies.add(response.content.replace(body["request_id"].encode(), b""))
    with nothing_reserved():
        check_error(ask(auth_client, conversation_id=str(stranger.pk)), "not_found")
        check_error(ask(auth_client, conversation_id=""), "not_found")
    assert len(bodies) == 1
    assert Conversation.objects.filter(pk=stranger.pk).exists()


@pytest.mark.parametrize("number", [str(uuid.UUID(int=7)), "1"])
def test_a_chat_is_told_that_it_is_the_conversation_which_is_not_there(auth_client, number):
    body = check_error(ask(auth_client, conversation_id=number), "not_found")
    assert body["message"].startswith("The conversation does not exist, or it is not yours. Check the `conv")
    assert auth_client.get("/errors/not_found").json()["meaning"].startswith("There is nothing at this address")


def test_the_same_needs_credentials(api_client, stranger):
    for path in ("/conversations", f"/conversations/{stranger.pk}"):
        check_error(api_client.get(path), "not_authenticated")


@pytest.mark.parametrize("method", ["put", "patch", "post"])
def test_a_conversation_is_not_edited(auth_client, method):
    made = create(auth_client)
    response = getattr(auth_client, method)(f"/conversations/{made['id']}", {}, format="json")
    check_error(response, "method_not_allowed")
    assert response["Allow"] == "GET, DELETE, HEAD, OPTIONS"


def test_a_chat_goes_on_where_it_was(auth_client, upstream):
    made = create(auth_client)
    system = {"role": "system", "content": "Be brief."}
    first = ask(auth_client, messages=[system, {"role": "user", "content": "One?"}], model="gpt", **named(made))
    assert first.status_code == 200
    assert ask(auth_client, "Two?", model="gpt", **named(made)).status_code == 200
    sent = [(item["role"], item["content"]) for item in upstream.requests[-1].json["messages"]]
    assert sent == [("system", "Be brief."), ("user", "One?"), ("assistant", "hello"), ("user", "Two?")]
    assert turns(auth_client, made) == [*sent, ("assistant", "hello")]
    assert ask(auth_client, "Alone?", model="gpt").status_code == 200
    assert len(upstream.requests[-1].json["messages"]) == 1


def named(conversation):
    return {"conversation_id": conversation["id"]}


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_the_case_of_an_id_does_not_matter(auth_client, spelling):
    made = create(auth_client)
    assert ask(auth_client, conversation_id=spelling(made["id"])).status_code == 200
    assert len(turns(auth_client, made)) == 2


@pytest.mark.parametrize("fault", ["unavailable", "html", "bad_key", "rate_limit"])
def test_a_failed_exchange_is_not_stored(auth_client, upstream, settings, fault):
    made = create(auth_client)
    settings.CHAT_MAX_ATTEMPTS, upstream.always = 1, fault
    assert ask(auth_client, model="claude", **named(made)).status_code >= 500
    assert not Message.objects.exists()


def test_history_counts_towards_the_budget(auth_client):
    made = create(auth_client)
    Message.objects.create(conversation_id=made["id"], role="user", content="word " * 20_000)
    assert check_error(ask(auth_client, **named(made)), "token_budget_exceeded")["tokens_needed"] > 10_000
    assert len(turns(auth_client, made)) == 1


def test_an_empty_content_filtered_answer_leaves_no_turn_that_providers_would_refuse(auth_client, upstream):
    conversation = create(auth_client)
    upstream.then("content_filter")
    response = ask(auth_client, "forbidden", model="gpt", conversation_id=conversation["id"])
    assert (response.status_code, response.json()["finish_reason"]) == (200, "content_filter")
    assert ("assistant", "") not in turns(auth_client, conversation)
    assert ask(auth_client, "again", model="gpt", conversation_id=conversation["id"]).status_code == 200


# --- caps -------------------------------------------------------------------------------------------------------------
def test_a_user_has_so_many_conversations_and_no_more(auth_client, stranger, settings):
    settings.CONVERSATIONS_PER_USER = 2
    first, _ = create(auth_client), create(auth_client)
    body = check_error(auth_client.post("/conversations", {}, format="json"), "invalid_request")
    assert "2 conversations, the most" in body["fields"]["conversations"][0]
    assert auth_client.delete(f"/conversations/{first['id']}").status_code == 204
    create(auth_client)


def test_a_full_conversation_takes_no_chat_and_costs_nothing(auth_client, settings):
    settings.MESSAGES_PER_CONVERSATION = 4
    made = create(auth_client)
    for _ in range(2):
        assert ask(auth_client, **named(made)).status_code == 200
    with nothing_reserved():
        body = check_error(ask(auth_client, **named(made)), "invalid_request")
    assert "4 messages of the 4" in body["fields"]["conversation_id"][0]
    assert len(turns(auth_client, made)) == 4


def test_messages_come_in_pages(auth_client):
    made = create(auth_client)
    Message.objects.bulk_create(
        Message(conversation_id=made["id"], role="user", content=f"{number}") for number in range(250)
    )
    url, seen = f"/conversations/{made['id']}", []
    while url:
        page = auth_client.get(url).json()
        assert (page["count"], page["id"]) == (250, made["id"])
        assert len(page["messages"]) <= 100
        seen += [message["content"] for message in page["messages"]]
        url = page["next"]
    assert seen == [str(number) for number in range(250)]
    assert len(auth_client.get(f"/conversations/{made['id']}?page_size=100000").json()["messages"]) == 200
    check_error(auth_client.get(f"/conversations/{made['id']}?page=4"), "not_found")


def test_beginning_conversations_has_a_rate(auth_client, settings):
    settings.CONVERSATION_RATE_LIMIT = "2/h"
    answers = [auth_client.post("/conversations", {}, format="json") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    check_error(answers[2], "rate_limit_exceeded")
    assert answers[2].json()["limit"] == 2
    assert ask(auth_client).status_code == 200  # of chats there are others
    assert auth_client.get("/conversations").status_code == 200
