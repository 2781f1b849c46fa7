"""What clients see while PostgreSQL, Redis or the disk fails under load, and that all goes on by itself afterwards."""

from __future__ import annotations

import resource
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from tests.support import servers
from tests.support.fleet import DOWN, OK, outcomes
from tests.support.loopback import Fault
from tests.support.machine import children
from tests.support.rig import eventually


def test_postgresql_restarts_unnoticed_between_chats_and_an_outage_ends_when_it_ends(
    fleet_over, private_server, redis_url
):
    postgres = private_server(servers.Postgres)
    fleet = fleet_over(postgres.url, redis_url)
    key, url = fleet.new_user("ada"), fleet.serve("tests.support.saboteur")
    answers = fleet.at_once([url], key, clients=40)  # fills the pools
    postgres.kill()
    postgres.start()
    answers += fleet.at_once([url], key, clients=40)
    assert outcomes(answers) == {OK: 80}

    with fleet.load(url, key, clients=12) as meanwhile:
        eventually(lambda: len(meanwhile) > 12)
        postgres.kill()
        began = time.monotonic()
        # Longer than a pool's second try to connect, after which one that backs off would go to sleep.
        eventually(lambda: time.monotonic() > began + 2 and outcomes(meanwhile)[DOWN] >= 12, 20)
        postgres.start()
        back = time.monotonic()
        until_then = len(meanwhile)
        eventually(lambda: OK in outcomes(meanwhile[until_then:]), 20)
        lag = time.monotonic() - back
    assert set(outcomes(meanwhile)) == {OK, DOWN}
    assert max(answer.seconds for answer in meanwhile) < 5  # 1.6 on an idle machine
    assert lag < 5  # 0.8

    last = fleet.at_once([url], key, clients=40)  # writes what either process still has to write
    assert outcomes(last) == {OK: 40}
    fleet.reclaim()
    fleet.assert_sums_agree()
    fleet.assert_metered(answers + meanwhile + last)


def test_a_server_that_is_told_to_stop_first_writes_what_an_outage_kept_it_from_writing(fleet_over, private_server):
    postgres = private_server(servers.Postgres)
    fleet = fleet_over(postgres.url, "")
    fleet.environment["WEB_CONCURRENCY"] = "1"
    key, url = fleet.new_user("ada"), fleet.serve()
    go_on = threading.Event()
    fleet.provider.always = lambda recorded: (go_on.wait(30), Fault("ok"))[1]
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(fleet.chat, url, key, idempotency_key=name) for name in ("", "once")]
        eventually(lambda: len(fleet.provider.requests) == 2)
        postgres.kill()
        go_on.set()
        answers = [one.result() for one in running]
    assert outcomes(answers) == {OK: 2}
    postgres.start()
    fleet.servers[0].send_signal(signal.SIGTERM)
    assert fleet.servers[0].wait(20) == 0
    fleet.assert_metered(answers)
    fleet.assert_sums_agree()

    again = fleet.chat(fleet.serve(), key, idempotency_key="once")
    assert (again.outcome, again.body) == (OK, answers[1].body)
    assert len(fleet.provider.requests) == 2


def test_a_database_that_only_reads_is_an_outage_and_readiness_says_so(fleet_over, postgres_url):
    fleet = fleet_over(postgres_url, "")
    fleet.environment["WEB_CONCURRENCY"] = "1"
    name = urlsplit(fleet.environment["DATABASE_URL"]).path[1:]

    def make(state):
        with psycopg.connect(postgres_url, autocommit=True) as operator:
            operator.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {state}')
            operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def readiness():
        return requests.get(f"{url}/health/ready", timeout=20).json()["checks"]["database"]

    key, url = fleet.new_user("ada"), fleet.serve()
    make("on")
    assert [fleet.chat(url, key, idempotency_key=name).outcome for name in ("", "once")] == [DOWN, DOWN]
    assert readiness() == "unavailable"
    make("off")
    eventually(lambda: readiness() == "ok")  # the connections that are ended now may take a moment
    assert fleet.chat(url, key).outcome == OK
    fleet.assert_sums_agree()


def test_chats_go_on_without_redis_each_process_with_its_own_limits(fleet_over, private_server, postgres_url):
    redis = private_server(servers.Redis)
    fleet = fleet_over(postgres_url, redis.url)
    key, url = fleet.new_user("ada"), fleet.serve()

    def admitted():
        """Of 40 chats of a user who may have 5, those that were answered."""
        answers = fleet.at_once([url], fleet.new_user("bob", rate_limit="5/1000d"), clients=20, chats=2)
        assert set(outcomes(answers)) == {OK, (429, "rate_limit_exceeded")}
        return outcomes(answers)[OK]

    with fleet.load(url, key, clients=8) as answers:
        for fail, recover in [(redis.kill, redis.start), (redis.pause, redis.resume)]:
            assert admitted() == 5
            fail()
            assert 5 < eventually(lambda: (n := admitted()) > 5 and n) <= 10  # five of each process
            recover()
            eventually(lambda: admitted() == 5, 10)
    assert set(outcomes(answers)) == {OK}
    lines = [line for line in fleet.log.read_text().splitlines() if '"event": "cache_unavailable"' in line]
    assert 1 <= len(lines) <= 2  # one of each process
    fleet.assert_sums_agree()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can limit another process")
def test_a_full_disk_costs_no_answer_that_was_paid_for_and_breaks_nothing(fleet_over, tmp_path):
    database = tmp_path / "db.sqlite3"
    fleet = fleet_over(f"sqlite:///{database}", "")
    fleet.environment["WEB_CONCURRENCY"] = "1"
    key, url = fleet.new_user("ada"), fleet.serve()
    (worker,) = children(fleet.servers[0].pid)
    room = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    go_on = threading.Event()

    def held(recorded):
        go_on.wait(30)
        return Fault("ok")

    fleet.provider.always = held
    with fleet.load(url, key, clients=4) as answers:
        eventually(lambda: len(fleet.provider.requests) == 4)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, room[1]))  # now no file takes another byte
        go_on.set()
        eventually(lambda: outcomes(answers)[DOWN] >= 8 and outcomes(answers)[OK] >= 4, 20)
        while_full = list(answers)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, room)
        until_then = len(answers)
        eventually(lambda: outcomes(answers[until_then:])[OK] >= 20, 20)
    assert outcomes(while_full)[OK] == 4
    assert set(outcomes(answers)) == {OK, DOWN}
    fleet.reclaim()
    fleet.assert_sums_agree()
    fleet.assert_metered(answers)
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_postgresql_that_answers_nothing_costs_a_bounded_wait(fleet_over, private_server, redis_url):
    postgres = private_server(servers.Postgres)
    fleet = fleet_over(postgres.url, redis_url)
    fleet.environment |= {"WEB_CONCURRENCY": "1", "LONGEST_ANSWER": "1"}
    key, url = fleet.new_user("ada"), fleet.serve("tests.support.saboteur")
    answers = fleet.at_once([url], key, clients=20)  # fills the pool
    postgres.pause()
    try:
        hung = fleet.at_once([url], key, clients=20)
    finally:
        postgres.resume()
    assert outcomes(answers + hung) == {OK: 20, DOWN: 20}
    assert max(answer.seconds for answer in hung) < 30  # several waits of a second each, on a machine that is busy
    answers.append(eventually(lambda: (answer := fleet.chat(url, key)).outcome == OK and answer, 20))
    fleet.reclaim()
    fleet.assert_sums_agree()
    fleet.assert_metered(answers)
