"""The private servers start, hang, end and come back as the outage tests need them to."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support import servers
from tests.support.machine import ServerUnavailableError

KINDS = [servers.Postgres, servers.Redis]
OUTAGE = (psycopg.OperationalError, redis.RedisError)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, private_server: Callable[..., servers.Server]) -> servers.Server:
    return private_server(request.param)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_refuses_connections_when_ended_and_is_back_on_the_same_port(server, end):
    url = server.url
    server.ping()
    getattr(server, end)()
    with pytest.raises(OUTAGE):
        server.ping()
    server.start()
    server.ping()
    assert server.url == url


def test_it_answers_nobody_while_paused(server):
    server.pause()
    with pytest.raises(OUTAGE):
        server.ping()
    server.resume()
    server.ping()


def test_an_open_connection_hangs_too_while_postgresql_is_paused(private_server):
    postgres = private_server(servers.Postgres)
    with psycopg.connect(postgres.url) as connection, ThreadPoolExecutor() as pool:
        postgres.pause()
        answer = pool.submit(connection.execute, "SELECT 1")
        try:
            with pytest.raises(TimeoutError):
                answer.result(timeout=0.3)
        finally:
            postgres.resume()
        assert answer.result(timeout=10).fetchone() == (1,)


def test_nothing_is_left_of_it_when_closed(server):
    process = server.process
    server.close()
    assert process.poll() is not None
    assert not server.directory.exists()


def test_a_program_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(servers, "find_program", lambda name: None)
    with pytest.raises(ServerUnavailableError, match="redis-server not found"):
        servers.Redis()


def test_the_command_line_hands_both_urls_and_the_exit_status_on(private_server):
    for kind in KINDS:
        private_server(kind).close()  # fails or skips here where one cannot be had
    code = "import os, sys; print(*(os.environ[n] for n in ('DATABASE_URL', 'TEST_REDIS_URL')), sep='\\n'); sys.exit(7)"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.servers", "--", sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    database, cache = done.stdout.split()
    assert database.startswith("postgresql://")
    assert cache.startswith("redis://")


def test_each_test_run_gets_an_empty_database_of_its_own(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


@pytest.mark.usefixtures("django_db_setup")
def test_a_database_with_our_tables_is_a_new_copy_each_time(originals, postgres_url, django_db_blocker):
    with django_db_blocker.unblock(), originals.copied(postgres_url) as one, originals.copied(postgres_url) as other:
        with psycopg.connect(one) as connection:
            connection.execute("INSERT INTO auth_group (name) VALUES ('of one')")
        with psycopg.connect(other) as connection:
            assert connection.execute("SELECT count(*) FROM auth_group").fetchone() == (0,)


def test_the_shared_redis_answers(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
