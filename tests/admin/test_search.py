"""The search for requests in the admin, where the database is slow."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from django.db import connection, transaction

from chat.models import UsageRecord
from tests.support.admin import RECORDS, cells, page, record
from tests.support.rig import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no limit for a statement"),
]
WAITING = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def waiting() -> str:
    """The statement that waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(WAITING)
        return next((query for (query,) in cursor), "")


@pytest.fixture
def slow_search(user):
    """The records, which nobody can read until a search through their ids was given up."""
    record(user, request_id="one-0123-4567-89ab")
    record(user, request_id="4567-89ab")
    locked = threading.Event()

    def lock():
        with closing(connection), transaction.atomic():
            connection.cursor().execute(f"LOCK TABLE {UsageRecord._meta.db_table}")
            locked.set()
            eventually(lambda: " LIKE " in waiting(), 20)
            eventually(lambda: (query := waiting()) and " LIKE " not in query, 20)

    thread = threading.Thread(target=lock)
    thread.start()
    assert locked.wait(20)
    yield
    thread.join()


@pytest.mark.usefixtures("slow_search")
@pytest.mark.parametrize("narrow", [{}, {"username": "ada"}])
def test_a_search_that_takes_too_long_is_given_up_and_told(admin_client, narrow):
    html = page(admin_client, RECORDS, q="4567-89ab", **narrow)

    assert cells(html, "whole_request_id") == ["4567-89ab"]  # the whole id, which has an index
    assert "took too long: give the whole id, or a day or a user as well" in html


def test_the_next_statement_has_all_the_time_it_wants(admin_client, user):
    record(user, request_id="one-0123-4567-89ab")
    with transaction.atomic():
        assert len(cells(page(admin_client, RECORDS, q="4567-89ab"), "whole_request_id")) == 1
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
