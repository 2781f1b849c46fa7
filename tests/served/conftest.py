"""A browser, and a production server: one for a test alone, or one that a module shares."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.browser import SharedBrowser
from tests.support.loopback import LoopbackProvider
from tests.support.production import manage, production, started


@pytest.fixture(scope="session")
def browser() -> Iterator[SharedBrowser]:
    browser = SharedBrowser()
    yield browser
    browser.stop()


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    with LoopbackProvider() as server:
        yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an operator makes before the first start: a directory with an empty database, and the static files."""
    directory = tmp_path_factory.mktemp("site")
    with LoopbackProvider() as provider:
        environment = production(directory, provider)
    manage(environment, "migrate", "-v0")
    manage(environment, "collectstatic", "--noinput", "-v0")
    return directory


def installed(site: Path, directory: Path, provider: LoopbackProvider) -> dict[str, str]:
    """Return the environment of a server with a database of its own in `directory`."""
    for file in site.glob("db.sqlite3*"):
        shutil.copy(file, directory)
    return production(directory, provider) | {"STATIC_ROOT": str(site / "static")}


@pytest.fixture
def environment(site: Path, tmp_path: Path, provider: LoopbackProvider) -> dict[str, str]:
    return installed(site, tmp_path, provider)


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server for one test alone, which may stop it."""
    with started(environment) as server:
        yield server


@pytest.fixture(scope="module")
def shared(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One server for the tests of a module that leave it as it was, with a user's `key`."""
    with LoopbackProvider() as provider:
        environment = installed(site, tmp_path_factory.mktemp("shared"), provider)
        environment |= {"CHAT_RATE_LIMIT": "1000/m", "TOKEN_BUDGET_DEFAULT": "100000000"}
        with started(environment) as (process, url):
            host, port = environment["BIND"].split(":")
            key = manage(environment, "issue_key", "ada", "--create").strip()
            facts = {"url": url, "host": host, "port": int(port), "environment": environment, "key": key}
            yield SimpleNamespace(**facts, process=process)
