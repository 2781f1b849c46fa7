"""GET /keys and DELETE /keys/{id}: a user's own keys, which they read about and revoke."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone
from knox.models import AuthToken
from knox.settings import CONSTANTS

from chat.accounts import keys
from chat.authentication import beginning_with
from chat.models import Key, TokenBudget
from tests.support.contract import ask, check_error

pytestmark = pytest.mark.django_db


@pytest.fixture
def stranger(django_user_model):
    return AuthToken.objects.create(django_user_model.objects.create_user("eve"))[0].details


def listed(client):
    response = client.get("/keys")
    assert response.status_code == 200, response.content
    body = response.json()
    assert body.keys() == {"count", "next", "previous", "results"}
    return body["results"]


def test_own_keys_are_listed_without_the_keys(auth_client, user, token, stranger):
    issued, key = keys.issue(user, 30, by="a test", name="laptop")
    newest, oldest = listed(auth_client)
    assert newest.keys() == {"id", "name", "created_at", "expires_at", "last_used_at"}
    assert (newest["id"], newest["name"]) == (str(uuid.UUID(newest["id"])), "laptop")
    expires = datetime.fromisoformat(newest["expires_at"])
    assert abs(expires - issued.created - timedelta(days=30)) < timedelta(seconds=1)
    assert newest["last_used_at"] is None
    assert datetime.fromisoformat(oldest["last_used_at"]) <= timezone.now()
    body = auth_client.get("/keys").content.decode()
    for secret in (key, token, *AuthToken.objects.values_list("digest", flat=True)):
        assert not any(part in body for part in re.findall(".{8}", secret))


def test_a_key_stands_in_no_table_but_hashed(auth_client, user, token):
    issued, key = keys.issue(user, 30, by="a test", name="laptop")
    assert auth_client.get("/usage").status_code == 200
    dump = StringIO()
    call_command("dumpdata", stdout=dump)
    for secret in (key, token):
        assert secret[: CONSTANTS.TOKEN_KEY_LENGTH] in dump.getvalue()  # by which it is found and recognized
        assert secret[CONSTANTS.TOKEN_KEY_LENGTH :] not in dump.getvalue()
    assert len(issued.digest) == 128


def test_the_last_use_is_written_once_in_ten_minutes(auth_client, token, time_machine, django_assert_num_queries):
    time_machine.move_to("2026-03-01 12:00 +0000", tick=False)
    AuthToken.objects.update(expiry=None)
    auth_client.get("/usage")
    used = AuthToken.objects.get().details.last_used_at
    for minutes, moved in ((9, False), (11, True)):
        time_machine.move_to(f"2026-03-01 12:{minutes:02} +0000", tick=False)
        if moved:
            cache.clear()  # Redis has a clock of its own
        with django_assert_num_queries(1 + moved):
            assert auth_client.get("/chat").status_code == 405
        assert (AuthToken.objects.get().details.last_used_at != used) == moved


def test_a_database_that_does_not_write_serves_what_reads(auth_client, user, monkeypatch, log):
    def refuse(*args, **kwargs):
        raise OperationalError("attempt to write a readonly database")

    monkeypatch.setattr("django.db.models.query.QuerySet.update", refuse)
    assert auth_client.get("/usage").status_code == 200
    assert len(log.events("key_use_not_stored")) == 1


def test_a_key_is_revoked_by_its_owner(auth_client, user, log):
    keys.issue(user, 30, by="a test", name="laptop")
    spare, mine = listed(auth_client)
    response = auth_client.delete(f"/keys/{spare['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert [row["id"] for row in listed(auth_client)] == [mine["id"]]
    check_error(auth_client.delete(f"/keys/{spare['id']}"), "not_found")
    (line,) = log.events("key_revoked")
    assert (line["by"], line["of_user"], line["key_id"]) == ("ada", "ada", spare["id"])

    assert auth_client.delete(f"/keys/{mine['id']}").status_code == 204
    check_error(ask(auth_client), "authentication_failed")


def test_anothers_an_unknown_and_a_malformed_id_are_the_same(auth_client, stranger, token):
    bodies = set()
    for number in (stranger.pk, uuid.uuid4(), "1", token[:15], "%00", "x" * 300, "é"):
        response = auth_client.delete(f"/keys/{number}")
        body = check_error(response, "not_found")
        bodies.add(response.content.replace(body["request_id"].encode(), b""))
    assert len(bodies) == 1
    assert AuthToken.objects.filter(details=stranger).exists()


def test_a_key_is_not_read_or_made_here(auth_client, stranger):
    for method, path in (("get", f"/keys/{stranger.pk}"), ("post", "/keys"), ("put", f"/keys/{stranger.pk}")):
        check_error(getattr(auth_client, method)(path, {}, format="json"), "method_not_allowed")


def test_keys_need_credentials(api_client, stranger):
    check_error(api_client.get("/keys"), "not_authenticated")
    check_error(api_client.delete(f"/keys/{stranger.pk}"), "not_authenticated")


@pytest.mark.parametrize("budget", [True, False])
def test_a_key_is_found_as_the_orm_finds_it(user, token, budget, django_assert_num_queries):
    if budget:
        TokenBudget.objects.create(user=user, limit=7)
    wanted = Key.objects.select_related("details", "user__token_budget").get()
    with django_assert_num_queries(1):
        (found,) = beginning_with(token[:15])
        assert hasattr(found.user, "token_budget") == budget
    pairs = [(found, wanted), (found.details, wanted.details), (found.user, wanted.user)]
    for ours, theirs in pairs + ([(found.user.token_budget, wanted.user.token_budget)] if budget else []):
        stored = [field.attname for field in theirs._meta.concrete_fields]
        assert [(type(ours), getattr(ours, name)) for name in stored] == [
            (type(theirs), getattr(theirs, name)) for name in stored
        ]


def test_a_key_of_knoxs_own_making_has_details_too(user):
    assert AuthToken.objects.create(user=user)[0].details.pk
