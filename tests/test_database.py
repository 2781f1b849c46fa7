"""The pool's connections, where there are fewer than chats: whoever needs one stands in line, and nobody needs two."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.db import connections, transaction

from chat.models import BudgetPeriod
from tests.fleet import ALIAS, OK
from tests.rig import eventually


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


def test_a_migration_beside_running_servers_costs_no_chat(fleet):
    url, key = fleet.serve(), fleet.new_user("ada")
    assert fleet.chat(url, key).outcome == OK
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user ALTER username TYPE varchar(151)")
    assert [fleet.chat(url, key).outcome for _ in range(2)] == [OK, OK]
