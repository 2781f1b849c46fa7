"""The admin's keys: issued and shown once, found, revoked."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone
from knox.models import AuthToken

from tests.test_admin import cells, page

KEYS = "/admin/knox/authtoken/"


def issue(client, user, days: object = 30):
    return client.post(f"{KEYS}add/", {"user": user.pk, "days": days})


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
