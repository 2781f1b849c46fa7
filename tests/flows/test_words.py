"""The words of users: deleting a conversation or a user deletes them wherever they rest, and the bill stays."""

from __future__ import annotations

import io

import pytest
import redis
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db.models import Sum
from knox.models import AuthToken

from chat.billing import budgets
from chat.models import BudgetPeriod, Conversation, IdempotentRequest, Message, TokenBudget, UsageRecord
from chat.types import Settlement, Usage
from tests.support.contract import ask, check_error
from tests.support.databases import ALIAS
from tests.support.rig import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_limit(settings):
    settings.CHAT_RATE_LIMIT = "1000/m"


def conversation_of(client):
    return client.post("/conversations", {"title": "planted title"}, format="json").json()["id"]


def stands_in(rig, content):
    """Whether an earlier answer is shown while the provider is out."""
    rig.first.always = "unavailable"
    answer = rig.chat(content=content)
    rig.first.always = "ok"
    assert answer.status_code in (200, 503)
    return answer.status_code == 200


# --- a conversation ---------------------------------------------------------------------------------------------------
def test_deleting_a_conversation_deletes_its_kept_answers(rig, auth_client):
    number, other = conversation_of(auth_client), conversation_of(auth_client)
    for key, content, conversation in (("a", "in it", number), ("b", "in another", other)):
        sent = {"content": content, "conversation_id": conversation, "headers": {"Idempotency-Key": key}}
        assert rig.chat(**sent).status_code == 200
    assert rig.chat(content="in none", headers={"Idempotency-Key": "c"}).status_code == 200
    assert stands_in(rig, "in it")

    assert auth_client.delete(f"/conversations/{number}").status_code == 204

    assert not stands_in(rig, "in it")
    assert stands_in(rig, "in another")
    assert stands_in(rig, "in none")
    assert set(IdempotentRequest.objects.values_list("key", flat=True)) == {"b", "c"}
    again = rig.chat(content="in it", conversation_id=number, headers={"Idempotency-Key": "a"})
    check_error(again, "not_found")
    assert UsageRecord.objects.filter(state="settled").count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_chat_that_outlives_its_conversation_leaves_no_answer(rig, auth_client):
    number = conversation_of(auth_client)
    rig.first.always = "slow"
    chat = rig.begin(content="in it", conversation_id=number, headers={"Idempotency-Key": "a"})
    eventually(lambda: rig.calls[0])
    assert auth_client.delete(f"/conversations/{number}").status_code == 204
    assert chat.result().status_code == 200
    assert not stands_in(rig, "in it")
    assert not IdempotentRequest.objects.exists()
    assert UsageRecord.objects.filter(state="settled").count() == 1


# --- a user -----------------------------------------------------------------------------------------------------------
def delete_user(*args: str) -> str:
    out = io.StringIO()
    call_command("delete_user", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def busy(auth_client, user) -> int:
    """Gives the user a past; returns the tokens on the bill."""
    TokenBudget.objects.create(user=user, limit=100_000)
    number = conversation_of(auth_client)
    for key in ("a", "b"):
        assert (
            ask(auth_client, "planted question", conversation_id=number, headers={"Idempotency-Key": key}).status_code
            == 200
        )
    return int(UsageRecord.objects.aggregate(sum=Sum("tokens_used"))["sum"])


@pytest.mark.parametrize("way", ["command", "page", "list"])
def test_a_deleted_user_leaves_the_bill_and_nothing_else(way, auth_client, admin_client, user, log):
    bill = busy(auth_client, user)
    if way == "command":
        said = delete_user("ada")
        assert "ada is deleted, with 1 key, 4 messages, 2 kept answers, 1 budget period, 1 conversation." in said
        assert "Kept, and naming nobody: 2 usage records." in said
    elif way == "page":
        assert admin_client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}).status_code == 302
    else:
        chosen = {"action": "delete_selected", "_selected_action": user.pk, "post": "yes"}
        assert admin_client.post("/admin/auth/user/", chosen).status_code == 302

    assert not get_user_model().objects.filter(username="ada").exists()
    assert UsageRecord.objects.filter(user=None).aggregate(sum=Sum("tokens_used"))["sum"] == bill
    for model in (AuthToken, Conversation, Message, IdempotentRequest, BudgetPeriod, TokenBudget):
        assert not model.objects.exists(), model
    assert "planted" not in str(list(UsageRecord.objects.values()))
    check_error(auth_client.get("/usage"), "authentication_failed")
    assert [line["of_user"] for line in log.events("key_revoked")] == ["ada"]
    out = io.StringIO()
    call_command("audit_budgets", stdout=out, stderr=io.StringIO())
    assert out.getvalue().startswith("Compared 0 budget periods with 0 usage records: all agree.")


def test_a_chat_in_flight_ends_on_the_bill_of_nobody(user):
    def reserve(name):
        return budgets.reserve(user, request_id=name, model="gpt-4", prompt_tokens=1, max_tokens=10, default_tokens=10)

    settled, reclaimed = reserve("a"), reserve("b")
    delete_user("ada")
    budgets.settle(Settlement(settled, "settled", Usage(1, 6), "simulator"))
    UsageRecord.objects.filter(pk=reclaimed.record_id).update(expires_at="2026-01-01T00:00Z")
    assert budgets.reclaim() == 1
    states = dict(UsageRecord.objects.values_list("request_id", "state"))
    assert states == {"a": "settled", "b": "reclaimed"}
    assert UsageRecord.objects.get(request_id="a").tokens_used == 7


def test_an_unknown_user_is_named(db):
    with pytest.raises(CommandError, match="no user 'eve'"):
        delete_user("eve")


# --- the admin --------------------------------------------------------------------------------------------------------
def test_the_admin_shows_neither_titles_nor_idempotency_keys(auth_client, admin_client, user):
    number = conversation_of(auth_client)
    ask(auth_client, conversation_id=number, headers={"Idempotency-Key": "planted-key"})
    for path in ("delete/", "change/", "history/"):
        html = admin_client.get(f"/admin/auth/user/{user.pk}/{path}").content.decode()
        assert "planted" not in html
    assert number in admin_client.get(f"/admin/auth/user/{user.pk}/delete/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_on_servers_a_deleted_users_answers_leave_redis_and_the_bill_stays(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    url = fleet.serve()
    keys = {name: fleet.new_user(name) for name in ("ada", "bob")}
    for key in keys.values():
        assert fleet.chat(url, key).status == 200
    users = get_user_model().objects.using(ALIAS)
    names = {row.username.partition("-")[0]: row for row in users.all()}
    cache = redis.Redis.from_url(redis_url)

    def answers(name):
        return list(cache.scan_iter(f"*reply:{names[name].pk}:*"))

    eventually(lambda: answers("ada") and answers("bob"))
    bill = sum(record.tokens_used for record in fleet.records())

    fleet.manage("delete_user", names["ada"].username)

    assert (len(answers("ada")), len(answers("bob"))) == (0, 1)
    assert fleet.chat(url, keys["ada"]).outcome == (401, "authentication_failed")
    assert sum(record.tokens_used for record in fleet.records()) == bill
    assert fleet.manage("audit_budgets").startswith("Compared 1 budget period with ")
