"""A production server: one for a test alone, or one that a module shares."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.loopback import LoopbackProvider
from tests.support.production import manage, production, started


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    with LoopbackProvider() as server:
        yield server


@pytest.fixture
def environment(tmp_path: Path, provider: LoopbackProvider) -> dict[str, str]:
    return production(tmp_path, provider)


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server for one test alone, which may stop it."""
    with started(environment) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One server for the tests of a module that leave it as it was, with a user's `key`."""
    with LoopbackProvider() as provider:
        environment = production(tmp_path_factory.mktemp("shared"), provider)
        environment |= {"CHAT_RATE_LIMIT": "1000/m", "TOKEN_BUDGET_DEFAULT": "100000000"}
        with started(environment) as (process, url):
            host, port = environment["BIND"].split(":")
            key = manage(environment, "issue_key", "ada", "--create").strip()
            facts = {"url": url, "host": host, "port": int(port), "environment": environment, "key": key}
            yield SimpleNamespace(**facts, process=process)
