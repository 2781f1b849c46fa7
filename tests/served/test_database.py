"""The pool's connections, where there are fewer than chats: whoever needs one stands in line, and nobody needs two."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import requests
from django.db import connections, transaction
from psycopg_pool import ConnectionPool

from chat.backends import database
from chat.models import BudgetPeriod
from tests.support.databases import ALIAS
from tests.support.fleet import OK, outcomes
from tests.support.rig import eventually


@pytest.fixture
def fleet(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"DATABASE_POOL": "1", "WEB_CONCURRENCY": "1"}
    return fleet


def test_a_line_that_moves_slowly_is_no_outage(fleet):
    url, ada, bob = fleet.serve(), fleet.new_user("ada"), fleet.new_user("bob")
    assert fleet.chat(url, ada).outcome == OK  # which begins her period
    with ThreadPoolExecutor(2) as clients:
        with transaction.atomic(using=ALIAS):
            BudgetPeriod.objects.using(ALIAS).select_for_update().get()
            began = time.monotonic()
            answers = [clients.submit(fleet.chat, url, ada)]  # holds the connection while it waits for the row
            eventually(lambda: time.monotonic() > began + 0.3)
            answers.append(clients.submit(fleet.chat, url, bob))
            eventually(lambda: time.monotonic() > began + 2.3)  # longer than a command would stand in line
        assert [answer.result().outcome for answer in answers] == [OK, OK]


def test_a_chat_that_holds_a_connection_waits_for_no_second_one(fleet):
    url, key = fleet.serve(), fleet.new_user("ada")
    headers = {"Authorization": f"Token {key}"}
    conversation = requests.post(f"{url}/conversations", json={}, headers=headers, timeout=20).json()["id"]
    assert fleet.chat(url, key, conversation_id=conversation).outcome == OK


def test_exchanges_that_end_at_once_are_stored_one_after_the_other(fleet):
    fleet.environment["DATABASE_POOL"] = "6"
    url, key = fleet.serve(), fleet.new_user("ada")
    headers = {"Authorization": f"Token {key}"}
    conversation = requests.post(f"{url}/conversations", json={}, headers=headers, timeout=20).json()["id"]
    with connections[ALIAS].cursor() as cursor:  # each row takes a while, as a busy server's do
        body = "BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END"
        cursor.execute(f"CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
        cursor.execute("CREATE TRIGGER t BEFORE INSERT ON chat_message FOR EACH ROW EXECUTE FUNCTION slowly()")
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: fleet.chat(url, key, conversation_id=conversation), range(6)))
    assert outcomes(answers) == {OK: 6}
    stored = requests.get(f"{url}/conversations/{conversation}", headers=headers, timeout=20).json()
    assert [message["role"] for message in stored["messages"]] == ["user", "assistant"] * 6


def test_a_migration_beside_running_servers_costs_no_chat(fleet):
    url, key = fleet.serve(), fleet.new_user("ada")
    assert fleet.chat(url, key).outcome == OK
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user ALTER username TYPE varchar(151)")
    assert [fleet.chat(url, key).outcome for _ in range(2)] == [OK, OK]


class OnlyOne(psycopg.Connection):
    """PostgreSQL has a place for one."""

    taken = False

    @classmethod
    def connect(cls, *args, **kwargs):
        if cls.taken:
            raise psycopg.OperationalError("too many clients already")
        cls.taken = True
        return super().connect(*args, **kwargs)


@pytest.mark.parametrize("answers", [True, False])
def test_the_line_is_sent_away_when_no_connection_works_and_not_when_one_fails(postgres_url, monkeypatch, answers):
    monkeypatch.setattr(OnlyOne, "taken", False)
    monkeypatch.setattr(database, "RECENTLY", 60 if answers else 0)
    gave_up = []

    def give_up(pool):
        database.send_away(pool)
        gave_up.append(pool)

    options = {"min_size": 1, "max_size": 2, "timeout": 20, "reconnect_timeout": 0.1, "reconnect_failed": give_up}
    with (
        ConnectionPool(postgres_url, connection_class=OnlyOne, kwargs={"autocommit": True}, **options) as pool,
        ThreadPoolExecutor(1) as clients,
    ):
        assert database._rows(pool, "SELECT 1", [], prepare=True) == [(1,)]
        lent = pool.getconn()
        waiting = clients.submit(database._rows, pool, "SELECT 2", [], prepare=True)
        eventually(lambda: gave_up, 20)
        if answers:
            pool.putconn(lent)
            assert waiting.result() == [(2,)]
        else:
            with pytest.raises(psycopg.OperationalError, match="cannot be reached"):
                waiting.result()
            pool.putconn(lent)
