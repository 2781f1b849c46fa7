"""export_user: all that is stored of a user, and nothing of anybody else."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError

from chat.models import Conversation, TokenBudget, UsageRecord
from tests.flows.test_words import conversation_of, delete_user
from tests.support.commands import run
from tests.support.contract import ask
from tests.support.databases import ALIAS
from tests.support.rig import eventually

pytestmark = pytest.mark.django_db

HELD = {
    "chat.tokenbudget": "budget",
    "chat.budgetperiod": "budget_periods",
    "chat.key": "keys",
    "knox.authtoken": "keys",
    "chat.usagerecord": "usage_records",
    "chat.usersum": "usage_records",  # of which it is the sums
    "chat.conversation": "conversations",
    "chat.idempotentrequest": "answers_kept_under_an_idempotency_key",
    "admin.logentry": "acts_in_the_admin",
    "auth.user_groups": "account",
    "auth.user_user_permissions": "account",
}
"""Where in the export each table is that knows a user."""


def tables_of_users():
    for model in apps.get_models(include_auto_created=True):
        if any(field.related_model is get_user_model() for field in model._meta.concrete_fields):
            yield model


@pytest.fixture
def lived(auth_client, user, admin_user, client, log):
    """A user with something in each table, and another one."""
    user.email, user.is_staff = "ada@example.org", True
    user.save()
    user.groups.add(Group.objects.create(name="planted group"))
    user.user_permissions.set([Permission.objects.get(codename="add_tokenbudget")])
    TokenBudget.objects.create(user=user, limit=100_000, note="planted note")
    run("issue_key", "ada", "--name", "planted key")
    number = conversation_of(auth_client)
    ask(auth_client, "planted question", conversation_id=number, headers={"Idempotency-Key": "planted-idempotency"})
    client.force_login(user)
    changed = {"limit": 5, "period": "month", "rate_limit": "", "note": "", "cost_limit": "", "user": admin_user.pk}
    assert client.post("/admin/chat/tokenbudget/add/", changed).status_code == 302
    Conversation.objects.create(user=admin_user, title="a stranger's")


def exported(username="ada"):
    return json.loads(run("export_user", username))


@pytest.mark.usefixtures("lived")
def test_every_table_that_knows_a_user_is_in_it():
    assert {model._meta.label_lower for model in tables_of_users()} == HELD.keys()
    export = exported()
    assert {name for name, rows in export.items() if not rows} <= {"answers_kept_for_an_outage"}  # those are in Redis
    assert set(HELD.values()) | {"answers_kept_for_an_outage"} == export.keys()


@pytest.mark.usefixtures("lived")
def test_it_has_the_users_words_and_names_and_what_they_cost(user):
    export = exported()
    account = export["account"]
    assert (account["username"], account["email"], account["groups"]) == ("ada", "ada@example.org", ["planted group"])
    assert account["user_permissions"]
    assert [row["note"] for row in export["budget"]] == ["planted note"]
    assert "planted key" in {key["name"] for key in export["keys"]}
    (conversation,) = export["conversations"]
    assert conversation["title"] == "planted title"
    question, answer = conversation["messages"]
    assert (question["role"], question["content"]) == ("user", "planted question")
    (kept,) = export["answers_kept_under_an_idempotency_key"]
    assert kept["key"] == "planted-idempotency"
    assert answer["content"] in json.dumps(kept["answer"], ensure_ascii=False)
    (record,) = export["usage_records"]
    assert record["tokens_used"] == UsageRecord.objects.get().tokens_used == export["budget_periods"][0]["used"] > 0
    assert record["attempts"][0]["provider"] == "simulator"


@pytest.mark.usefixtures("lived")
def test_it_lets_nobody_in_and_tells_of_nobody_else(user, token):
    text = run("export_user", "ada")
    assert "stranger" not in text
    for secret in (user.password, token, *user.auth_token_set.values_list("digest", flat=True)):
        assert secret not in text


@pytest.mark.usefixtures("lived")
def test_a_deleted_user_is_in_no_table(user):
    delete_user("ada")
    for model in tables_of_users():
        (field,) = (field for field in model._meta.concrete_fields if field.related_model is get_user_model())
        assert not model._default_manager.filter(**{field.attname: user.pk}).exists(), model
    with pytest.raises(CommandError, match="no user 'ada'"):
        run("export_user", "ada")


def test_a_user_who_has_done_nothing_is_exported_too(user):
    export = exported()
    assert export.pop("account")["username"] == "ada"
    assert set(map(len, export.values())) == {0}


@pytest.mark.django_db(transaction=True)
def test_on_servers_the_answers_kept_for_an_outage_are_in_it(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    url = fleet.serve()
    keys = {name: fleet.new_user(name) for name in ("ada", "bob")}
    for key in keys.values():
        assert fleet.chat(url, key).status == 200
    ada = get_user_model().objects.using(ALIAS).get(username__startswith="ada")

    def kept():
        return json.loads(fleet.manage("export_user", ada.username))["answers_kept_for_an_outage"]

    (answer,) = eventually(kept)
    assert answer["provider"] == "openai"
