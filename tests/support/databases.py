"""Databases for the tests: empty ones, and ones with our tables, which are copies of one that was migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import environ
import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from psycopg import sql

ALIAS = "fleet"


def run(server: str, words: LiteralString, *names: str) -> None:
    """Send the server a statement about databases of these names."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(words).format(*map(sql.Identifier, names)))


@contextmanager
def new_database(server: str, template: str = "template0") -> Iterator[str]:
    """A database on the PostgreSQL at the URL `server`, empty or a copy of another, and its own URL."""
    name = f"chat_{uuid4().hex[:12]}"
    run(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    run(server, "DROP DATABASE {} WITH (FORCE)", name)  # anew, since the server may have been away meanwhile


@contextmanager
def connected(url: str) -> Iterator[None]:
    """Let Django reach the database at `url` under the name `ALIAS`."""
    config = environ.Env.db_url_config(url)
    connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: config})[ALIAS]
    try:
        yield
    finally:
        connections[ALIAS].close()
        del connections[ALIAS], connections.settings[ALIAS]


def migrate(url: str) -> None:
    with connected(url):
        call_command("migrate", database=ALIAS, verbosity=0)


class Originals:
    """Databases with our tables and nothing else, one a server and one as a file, made when first asked for."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "db.sqlite3"
        self.names: dict[str, str] = {}

    @contextmanager
    def copied(self, url: str) -> Iterator[str]:
        """A copy on the PostgreSQL at `url`, or as the file that `url` names, and its own URL."""
        if url.startswith("sqlite"):
            if not self.file.exists():
                migrate(f"sqlite:///{self.file}")
            shutil.copy(self.file, urlsplit(url).path[1:])
            yield url
        else:
            with new_database(url, self.on(url)) as own:
                yield own

    def on(self, server: str) -> str:
        """The name of the original on this server, which may be another one than before at the same port."""
        if not self.is_there(server):
            self.names[server] = name = f"original_{uuid4().hex[:12]}"
            run(server, "CREATE DATABASE {}", name)
            migrate(urlsplit(server)._replace(path=f"/{name}").geturl())
        return self.names[server]

    def is_there(self, server: str) -> bool:
        with psycopg.connect(server) as connection:
            query = "SELECT FROM pg_database WHERE datname = %s"
            return connection.execute(query, [self.names.get(server)]).fetchone() is not None

    def drop(self) -> None:
        for server, name in self.names.items():
            with suppress(psycopg.OperationalError):  # most servers were there for one test alone
                run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Originals]:
    originals = Originals(tmp_path_factory.mktemp("migrated"))
    yield originals
    originals.drop()
