"""Budgets and connections of a whole site: two servers of two processes each, as on two hosts, under real HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
from django.db import connections

from chat.billing import tokens
from tests.support.databases import ALIAS
from tests.support.fleet import OK, outcomes
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer as body_of_answer

PROMPT = tokens.estimate_prompt(["Hi"], strict=False)
OUTPUT = 30  # what Fleet.chat asks for
FITTING = 60
SPENT = (429, "token_budget_exceeded")


def as_estimated():
    """A provider's answer that costs exactly what was reserved for it."""
    usage = {"prompt_tokens": PROMPT, "completion_tokens": OUTPUT, "total_tokens": PROMPT + OUTPUT}
    return status(200, {"content-type": "application/json"}, body_of_answer("openai", usage=usage))


def test_two_servers_admit_exactly_what_fits_for_a_new_user_and_in_a_new_period(
    fleet_over, postgres_url, redis_url, tmp_path
):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.provider.always = as_estimated()
    clock = tmp_path / "clock"
    limit = FITTING * (PROMPT + OUTPUT) + OUTPUT  # and a rest that no chat fits into
    fleet.environment |= {"TOKEN_BUDGET_DEFAULT": str(limit), "CLOCK_FILE": str(clock)}
    urls = [fleet.serve("tests.support.saboteur"), fleet.serve("tests.support.saboteur")]
    key = fleet.new_user("ada", limit=None)
    deadlocks = count_deadlocks()
    for days in (0, 31):
        clock.write_text(str(days))
        answers = fleet.at_once(urls, key, clients=32, chats=4)
        assert outcomes(answers) == {OK: FITTING, SPENT: 128 - FITTING}
    assert list(fleet.periods().values_list("used", "reserved")) == [(FITTING * (PROMPT + OUTPUT), 0)] * 2
    fleet.assert_sums_agree()
    assert count_deadlocks() == deadlocks


def count_deadlocks():
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()


def test_300_chats_in_flight_share_10_database_connections(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"DATABASE_POOL": "10", "WEB_CONCURRENCY": "1", "CHAT_MAX_IN_FLIGHT_PER_USER": "300"}
    key, url = fleet.new_user("ada"), fleet.serve()
    all_in_flight, over = threading.Event(), threading.Event()
    not_there_yet = threading.Semaphore(20)  # or a busy machine's connections would be waited for too long

    def held(recorded):
        not_there_yet.release()
        if len(fleet.provider.requests) == 300:
            all_in_flight.set()
        all_in_flight.wait(25)
        return Fault("ok")

    def chat(number):
        with not_there_yet:
            return fleet.chat(url, key)

    fleet.provider.always = held
    own = connections[ALIAS].connection.info.backend_pid
    with ThreadPoolExecutor(301) as pool:
        watching = pool.submit(most_connections, fleet.environment["DATABASE_URL"], own, over)
        try:
            answers = list(pool.map(chat, range(300)))
        finally:
            over.set()
    assert outcomes(answers) == {OK: 300}
    assert len(fleet.provider.requests) == 300
    assert all_in_flight.is_set()
    assert 1 < watching.result() <= 10
    fleet.assert_sums_agree()


def most_connections(url, own, over):
    """How many connections the database had at the most until `over` is set, but for the process `own`."""
    parts, most = urlsplit(url), 0
    with psycopg.connect(parts._replace(path="/postgres").geturl(), autocommit=True) as onlooker:
        while not over.wait(0.02):
            query = """SELECT count(*) FROM pg_stat_activity
                WHERE datname = %s AND backend_type = 'client backend' AND pid <> %s"""
            (count,) = onlooker.execute(query, [parts.path[1:], own]).fetchone()
            most = max(most, count)
    return most
