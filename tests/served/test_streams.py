"""Streams under the production server: clients that leave, workers that die, and what is held meanwhile."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg

from chat.models import UsageRecord
from tests.support import servers
from tests.support.events import end_of, parsed, text_of
from tests.support.fleet import DOWN, OK
from tests.support.listener import Listener
from tests.support.loopback import Fault
from tests.support.machine import children
from tests.support.rig import eventually

State = UsageRecord.State
TEXT = " ".join(["word"] * 12)
FLOWING, STALL = Fault("stream_pauses", seconds=0.2, text=TEXT), Fault("stream_stall", text=TEXT)
LARGE = Fault(text=" ".join(["x" * 100_000] * 100))
"""More than the kernel keeps for a client that does not read."""
DELTA = b"event: delta"


def test_the_provider_is_left_soon_after_the_client_has_left(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    key, url = fleet.new_user("ada"), fleet.serve()
    for fault in (FLOWING, STALL):
        for way in (Listener.leave, Listener.reset, Listener.close_its_side):
            fleet.provider.then(fault).left.clear()
            request_id = f"{fault.name}-{way.__name__}"
            listener = Listener(url, key, request_id).hear(DELTA)
            way(listener)
            assert fleet.provider.left.wait(3), request_id  # within a second on an idle machine
            ended = fleet.records().exclude(state=State.RESERVED).filter(request_id=request_id)
            record = eventually(ended.first)
            assert (record.state, record.error) == (State.TRUNCATED, "ClientLeft")
            assert 0 < record.tokens_used < 30
            listener.leave()
    fleet.provider.left.clear()
    fleet.provider.then(STALL)
    Listener(url, key, "at-once").leave()
    assert fleet.provider.left.wait(3)
    eventually(fleet.records().filter(request_id="at-once", state=State.TRUNCATED).exists)
    fleet.assert_sums_agree()
    assert list(fleet.periods().values_list("reserved", flat=True)) == [0]


SILENT = [
    (True, Fault("slow", seconds=20)),
    (True, Fault("stream_slow_first", seconds=20)),
    (True, Fault("stream_pings_only", seconds=0.3)),
    (False, Fault("hang")),
    (False, Fault("hang_after_headers")),
    (False, Fault("drip_body", seconds=0.3)),
]


def test_the_provider_is_left_as_soon_where_there_is_no_answer_yet_and_nothing_is_charged(
    fleet_over, postgres_url, redis_url
):
    fleet = fleet_over(postgres_url, redis_url)
    key, url = fleet.new_user("ada"), fleet.serve()
    records = fleet.records().exclude(state=State.RESERVED)
    for stream, fault in SILENT:
        request_id = f"{fault.name}-{stream}"
        fleet.provider.then(fault).arrived.clear()
        listener = Listener(url, key, request_id, stream=stream)
        assert fleet.provider.arrived.wait(10)
        listener.leave()
        record = eventually(records.filter(request_id=request_id).first, 3)
        assert (record.state, record.error, record.tokens_used) == (State.RELEASED, "ClientLeft", 0), request_id
    assert len(fleet.provider.requests) == len(SILENT), "nobody else was asked"
    fleet.provider.then(Fault("slow", seconds=2.5)).arrived.clear()
    listener = Listener(url, key, "comes-again", stream=False, idempotency_key="k")
    assert fleet.provider.arrived.wait(10)
    listener.leave()
    assert eventually(records.filter(request_id="comes-again").first, 10).state == State.SETTLED
    fleet.assert_sums_agree()


def test_a_worker_killed_in_a_stream_leaves_no_token_behind_and_one_told_to_stop_ends_it(
    fleet_over, postgres_url, redis_url
):
    fleet = fleet_over(postgres_url, redis_url)
    key, url = fleet.new_user("ada"), fleet.serve()
    fleet.provider.then(STALL)
    listener = Listener(url, key, "killed").hear(DELTA)
    for worker in children(fleet.servers[0].pid):
        os.kill(worker, signal.SIGKILL)
    assert fleet.provider.left.wait(3)
    listener.leave()
    record = fleet.records().get(request_id="killed")
    assert record.state == State.RESERVED
    assert record.expires_at - record.created_at == timedelta(seconds=60 + 600 + 30)
    fleet.reclaim()
    fleet.assert_sums_agree()

    fleet.provider.then(FLOWING)
    listener = Listener(url, key, "stopped").hear(DELTA)
    fleet.servers[0].send_signal(signal.SIGTERM)
    events = list(parsed(listener.hear_all()))
    assert (text_of(events), end_of(events)[0]) == (TEXT, "done")
    listener.leave()
    assert fleet.servers[0].wait(20) == 0
    assert fleet.records().get(request_id="stopped").state == State.SETTLED
    fleet.assert_sums_agree()


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_and_is_charged(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"GUNICORN_CMD_ARGS": "--graceful-timeout 6", "WEB_CONCURRENCY": "1"}
    key, url = fleet.new_user("ada"), fleet.serve()
    fleet.provider.then(STALL, Fault("stream_pauses", seconds=0.2, text="word " * 400))
    listeners = [Listener(url, key, request_id).hear(DELTA) for request_id in ("silent", "flowing")]
    fleet.servers[0].send_signal(signal.SIGTERM)
    for listener in listeners:
        name, error = end_of(list(parsed(listener.hear_all())))
        listener.leave()
        assert (name, error["error"], error["status"]) == ("error", "service_temporarily_unavailable", 503)
        record = fleet.records().get(request_id=error["request_id"])
        assert (record.state, record.error) == (State.TRUNCATED, "ServerStopping")
        assert f"what had arrived is charged, {record.tokens_used} tokens" in error["message"]
    assert fleet.servers[0].wait(20) == 0
    assert list(fleet.periods().values_list("reserved", flat=True)) == [0]
    fleet.assert_sums_agree()


def test_fifty_streams_hold_no_database_connection(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"DATABASE_POOL": "2", "WEB_CONCURRENCY": "1"}
    key, url = fleet.new_user("ada"), fleet.serve()
    fleet.provider.always = STALL
    listeners = [Listener(url, key).hear(DELTA) for _ in range(50)]
    assert fleet.records().filter(state=State.RESERVED).count() == 50
    with psycopg.connect(urlsplit(postgres_url)._replace(path="/postgres").geturl()) as onlooker:
        query = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity WHERE datname = %s"
        connections, busy = onlooker.execute(query, [urlsplit(postgres_url).path[1:]]).fetchone()
    assert (connections <= 2 + 1, busy) == (True, 0)  # the pool's, and the test's own
    fleet.provider.always = "ok"
    assert fleet.chat(url, key).outcome == OK
    for listener in listeners:
        listener.leave()
    eventually(lambda: fleet.records().filter(state=State.TRUNCATED).count() == 50)
    fleet.assert_sums_agree()


def test_clients_that_do_not_read_hold_no_database_connection_and_are_left_in_time(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"DATABASE_POOL": "2", "WEB_CONCURRENCY": "1", "CHAT_STREAM_IDLE_TIMEOUT": "2"}
    key, url = fleet.new_user("ada"), fleet.serve()
    fleet.provider.then(LARGE)
    Listener(url, key, idempotency_key="large").hear(b"event: done").leave()
    deaf = [Listener(url, key, idempotency_key="large", buffer=4096) for _ in range(3)]
    for listener in deaf:
        listener.hear(b"Idempotent-Replayed")
    assert fleet.chat(url, key).outcome == OK

    fleet.provider.then(LARGE)
    deaf.append(Listener(url, key, "deaf", buffer=4096))
    assert fleet.provider.left.wait(20)
    record = eventually(lambda: fleet.records().filter(request_id="deaf", state=State.TRUNCATED).first())
    assert (record.error, record.tokens_used > 0) == ("ClientLeft", True)
    eventually(lambda: fleet.log.read_text().count("A client took nothing of what was written to it") == len(deaf))
    assert "Traceback" not in fleet.log.read_text()
    for listener in deaf:
        listener.leave()
    fleet.assert_sums_agree()


def test_a_stream_goes_on_without_postgresql_and_redis_and_is_charged_when_they_are_back(fleet_over, private_server):
    postgres, redis = private_server(servers.Postgres), private_server(servers.Redis)
    fleet = fleet_over(postgres.url, redis.url)
    fleet.environment["WEB_CONCURRENCY"] = "1"
    key, url = fleet.new_user("ada"), fleet.serve("tests.support.saboteur")
    fleet.provider.then(FLOWING)
    listener = Listener(url, key, "outlived").hear(DELTA)
    postgres.kill()
    redis.kill()
    events = list(parsed(listener.hear_all()))
    listener.leave()
    assert (text_of(events), end_of(events)[0], end_of(events)[1]["tokens_used"]) == (TEXT, "done", 21)
    assert fleet.chat(url, key).outcome == DOWN
    postgres.start()
    redis.start()
    eventually(lambda: fleet.chat(url, key).outcome == OK, 20)
    record = fleet.records().get(request_id="outlived")
    assert (record.state, record.tokens_used) == (State.SETTLED, 21)
    fleet.assert_sums_agree()
