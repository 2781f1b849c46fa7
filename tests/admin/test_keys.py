"""The admin's keys: issued and shown once, found, revoked."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.utils import timezone
from knox.models import AuthToken

from tests.support.admin import cells, page

KEYS = "/admin/chat/key/"


def issue(client, user, days: object = 30):
    return client.post(f"{KEYS}add/", {"user": user.pk, "days": days, "name": "laptop"})


@pytest.fixture
def clerk(client, django_user_model):
    """A browser of one who may issue keys, and is not a superuser."""
    who = django_user_model.objects.create_user("clerk", password="x", is_staff=True)
    wanted = ("add_authtoken", "view_authtoken", "delete_authtoken", "view_user")
    who.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    client.force_login(who)
    return client


def test_a_key_is_issued_and_shown_once(admin_client, api_client, user, log):
    assert "Issue a key" in page(admin_client, f"{KEYS}add/")

    response = issue(admin_client, user)

    assert "no-store" in response["Cache-Control"]
    shown = re.findall(r"[0-9a-f]{64}", response.content.decode())
    assert len(shown) == 1
    key = shown[0]
    assert api_client.get("/usage", headers={"authorization": f"Token {key}"}).status_code == 200
    assert abs(AuthToken.objects.get().expiry - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    elsewhere = [
        page(admin_client, KEYS),
        page(admin_client, "/admin/"),
        log.text,
        str(admin_client.cookies),
        str([session.get_decoded() for session in Session.objects.all()]),
        str(list(LogEntry.objects.values())),
        str(list(AuthToken.objects.values())),
    ]
    assert not any(key in place for place in elsewhere)
    assert cells(elsewhere[0], "starts_with") == [f"{key[:15]}…"]


@pytest.mark.parametrize("days", ["0", "-1", "3651", "soon", ""])
def test_a_key_needs_sensible_days(admin_client, user, days):
    assert "errorlist" in issue(admin_client, user, days).content.decode()
    assert not AuthToken.objects.exists()


def test_a_key_needs_an_active_account(admin_client, user):
    user.is_active = False
    user.save()

    assert "not active" in issue(admin_client, user).content.decode()
    assert not AuthToken.objects.exists()


@pytest.mark.parametrize("search", ["ada", "first characters"])
def test_a_key_is_found_and_revoked(admin_client, auth_client, token, search):
    AuthToken.objects.create(get_user_model().objects.get(username="admin"))
    digest = AuthToken.objects.get(user__username="ada").digest
    html = page(admin_client, KEYS, q=token[:10] if search == "first characters" else search)
    assert cells(html, "user") == ["ada"]
    assert auth_client.get("/usage").status_code == 200
    assert page(admin_client, f"{KEYS}{digest}/change/").count(f"{token[:15]}…") > 1

    chosen = {"action": "delete_selected", "_selected_action": digest}
    confirmation = admin_client.post(KEYS, chosen).content.decode()
    assert f"{token[:15]}… of ada" in confirmation
    admin_client.post(KEYS, chosen | {"post": "yes"})

    assert auth_client.get("/usage").status_code == 401
    assert AuthToken.objects.count() == 1
    assert LogEntry.objects.latest("pk").object_repr == f"{token[:15]}… of ada"


def test_a_key_is_not_changed(admin_client, token):
    digest = AuthToken.objects.get().digest
    assert admin_client.post(f"{KEYS}{digest}/change/", {"user": 1, "days": 9}).status_code == 403


def test_issuing_and_revoking_are_logged_with_who_and_for_whom(admin_client, user, log):
    issue(admin_client, user, 30)
    row = AuthToken.objects.get()
    (line,) = log.events("key_issued")
    assert (line["by"], line["for_user"], line["days"], line["level"]) == ("admin", "ada", 30, "warning")
    assert row.details.name == "laptop"
    html = page(admin_client, KEYS)
    assert (cells(html, "name"), cells(html, "last_used")) == (["laptop"], ["never"])
    for way in ("page", "list"):
        digest = AuthToken.objects.get().digest
        if way == "page":
            admin_client.post(f"{KEYS}{digest}/delete/", {"post": "yes"})
            issue(admin_client, user)
        else:
            chosen = {"action": "delete_selected", "_selected_action": digest, "post": "yes"}
            admin_client.post(KEYS, chosen)
    assert [(line["by"], line["of_user"]) for line in log.events("key_revoked")] == [("admin", "ada")] * 2
    assert not AuthToken.objects.exists()


@pytest.mark.parametrize(("flags", "issued"), [({}, 1), ({"is_staff": True}, 1), ({"is_superuser": True}, 0)])
def test_nobody_issues_a_key_for_one_who_may_do_more(clerk, django_user_model, flags, issued):
    other = django_user_model.objects.create_user("other", **flags)

    response = issue(clerk, other)

    assert AuthToken.objects.filter(user=other).count() == issued
    assert ("may do more than you" in response.content.decode()) == (not issued)


def test_nor_for_staff_who_may_see_what_they_may_not(clerk, django_user_model):
    other = django_user_model.objects.create_user("other", is_staff=True)
    other.user_permissions.add(Permission.objects.get(codename="delete_conversation"))

    assert "may do more than you" in issue(clerk, other).content.decode()
    assert not AuthToken.objects.filter(user=other).exists()


@pytest.mark.parametrize("ends", [True, False])
def test_a_new_password_offers_to_end_the_keys(admin_client, client, auth_client, user, log, ends):
    url = f"/admin/auth/user/{user.pk}/password/"
    assert "Revoke all API keys" in page(admin_client, url)
    form = {"password1": "quite another 7", "password2": "quite another 7", "usable_password": "true"}
    form |= {"set-password": "1"} | ({"end_keys": "on"} if ends else {})
    assert auth_client.get("/usage").status_code == 200

    assert admin_client.post(url, form | {"password2": "a slip"}).status_code == 200
    assert auth_client.get("/usage").status_code == 200
    assert admin_client.post(url, form).status_code == 302

    assert client.login(username="ada", password="quite another 7")
    assert auth_client.get("/usage").status_code == (401 if ends else 200)
    assert len(log.events("key_revoked")) == ends


def test_an_operators_permissions_are_those_for_knoxs_model(clerk, user, token):
    digest = AuthToken.objects.get().digest
    assert KEYS in page(clerk, "/admin/")
    clerk.post(f"{KEYS}{digest}/delete/", {"post": "yes"})
    assert not AuthToken.objects.exists()

    get_user_model().objects.get(username="clerk").user_permissions.clear()
    assert KEYS not in page(clerk, "/admin/")
    assert {clerk.get(f"{KEYS}{rest}").status_code for rest in ("", "add/")} == {403}
