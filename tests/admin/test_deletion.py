"""Deleting users in the admin while they chat: told, and nothing half done."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from django.db import connection, transaction
from django.utils import timezone

from chat.backends.database import fetch
from chat.models import UsageRecord
from tests.support.rig import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite lets one write at a time"),
]
USERS = "/admin/auth/user/"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted"


@pytest.fixture
def chatting(user):
    """A chat that is written in a transaction of its own until somebody waits for it."""
    begun = threading.Event()

    def write():
        with closing(connection), transaction.atomic():
            now = timezone.now()
            facts = {"user": user, "period": "month", "period_start": now, "model": "m", "reserved": 10}
            UsageRecord.objects.create(request_id="late", created_at=now, expires_at=now, **facts)
            connection.check_constraints()  # takes the lock that a commit would
            begun.set()
            eventually(lambda: list(fetch(WAITING, {})))

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(5)
    yield
    thread.join()


@pytest.mark.usefixtures("chatting")
@pytest.mark.parametrize("selected", [False, True])
def test_it_is_told_and_done_the_next_time(admin_client, user, django_user_model, selected):
    url = USERS if selected else f"{USERS}{user.pk}/delete/"
    asked = {"post": "yes"} | ({"action": "delete_selected", "_selected_action": [user.pk]} if selected else {})

    answer = admin_client.post(url, asked, follow=True)

    said = [str(message) for message in answer.context["messages"]]
    assert (answer.status_code, len(said)) == (200, 1)
    assert "still being written" in said[0]
    assert django_user_model.objects.filter(pk=user.pk).exists()
    assert UsageRecord.objects.get().user == user
    admin_client.post(url, asked)
    assert not django_user_model.objects.filter(pk=user.pk).exists()
    assert UsageRecord.objects.get().user is None
