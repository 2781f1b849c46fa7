"""What every test starts from: none of the developer's own settings, empty caches, and the fixtures that many share."""

from __future__ import annotations

import gc
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import hypothesis
import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connection

from chat.billing import outbox
from chat.completion import reply_cache
from chat.conf import conf
from chat.routing import cooldown
from tests.support import servers
from tests.support.contract import Log
from tests.support.databases import new_database, originals  # noqa: F401 - the second is a fixture
from tests.support.fleet import fleet_over  # noqa: F401 - a fixture
from tests.support.loopback import LoopbackProvider
from tests.support.machine import ServerUnavailableError
from tests.support.rig import rig  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.test import APIClient

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

# A provider's key or address, or a proxy, in the shell must not send a test's chat to a real provider. The rest of the
# shell's settings is ignored by genai_site.settings.testing, which is read before this file.
FOREIGN = re.compile(r"\w+_(API_KEY|BASE_URL)|(https?|all|no)_proxy", re.IGNORECASE)
for variable in [name for name in os.environ if FOREIGN.fullmatch(name)]:
    del os.environ[variable]


# A busy machine is no fault: neither an example that takes its time fails a test, nor one that is slow to make.
hypothesis.settings.register_profile(
    "busy",
    hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("busy")


def own_redis_database(url: str) -> str:
    """`url` with this worker's own database number: one worker must not empty another's cache."""
    parts = urlsplit(url)
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + WORKER}").geturl()


if conf.REDIS_URL:
    os.environ["REDIS_URL"] = own_redis_database(conf.REDIS_URL)
    for entry in settings.CACHES.values():
        if str(entry.get("LOCATION", "")).startswith("redis"):
            entry["LOCATION"] = os.environ["REDIS_URL"]


SERVERS = {"private_server", "postgres_url", "redis_url"}
"""The fixtures that start servers."""
OURS = {"db", "transactional_db", "live_server"}
"""The fixtures that have the database of DATABASE_URL."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the collector from what stays to the end: to look through six thousand tests again and again takes a
    twelfth of the run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `served` what starts processes of its own; a test that starts one without these says so itself. Of these,
    `apart` is what starts its databases, too: on whatever DATABASE_URL it is run, it does the same."""
    here = Path(__file__).parent
    for item in items:
        fixtures = {*getattr(item, "fixturenames", ())}
        is_there = item.path.is_relative_to(here / "served") or item.path.is_relative_to(here / "chaos")
        if is_there or SERVERS & fixtures:
            item.add_marker(pytest.mark.served)
        if item.get_closest_marker("served"):
            item.add_marker(pytest.mark.timeout(300), append=False)  # a busy machine takes a minute to start a server
            if not (item.get_closest_marker("django_db") or OURS & fixtures):
                item.add_marker(pytest.mark.apart)


@pytest.fixture(autouse=True)
def _clean_start() -> None:
    """Nothing that a process remembers of one test reaches the next."""
    reply_cache.flush()
    for alias in settings.CACHES:
        caches[alias].clear()
        del caches[alias]
    cooldown._seen.clear()
    outbox.pending.clear()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """pytest-django's, with one more connection: whoever closes the last one to SQLite has it write its file anew."""
    if connection.vendor != "sqlite":
        yield
        return
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as idle:
        idle.execute("PRAGMA schema_version")
        yield


# --- servers ----------------------------------------------------------------------------------------------------------


def unavailable(reason: str) -> NoReturn:
    """Skip where a server cannot be had, except where everything is meant to be tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _shared_server() -> Iterator[Callable[[type[servers.Server]], str]]:
    """Starts one server of a kind for the whole run, when the first test asks, and gives its URL."""
    with ExitStack() as stack:

        def url(kind: type[servers.Server]) -> str:
            try:
                return stack.enter_context(kind()).url
            except ServerUnavailableError as exc:
                unavailable(str(exc))

        yield url


@pytest.fixture(scope="session")
def postgres_url(_shared_server: Callable[[type[servers.Server]], str]) -> Iterator[str]:
    """An empty PostgreSQL database: on TEST_DATABASE_URL's server if that is set, else on a private one."""
    server = os.environ.get("TEST_DATABASE_URL") or _shared_server(servers.Postgres)
    with new_database(server) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(_shared_server: Callable[[type[servers.Server]], str]) -> str:
    """A Redis database that tests may empty: on TEST_REDIS_URL's server if that is set, else on a private one."""
    return own_redis_database(os.environ.get("TEST_REDIS_URL") or _shared_server(servers.Redis))


@pytest.fixture
def private_server() -> Iterator[Callable[[type[servers.Server]], servers.Server]]:
    """`private_server(servers.Redis)` starts a server for one test alone, which may stop, kill and pause it."""
    with ExitStack() as stack:

        def start(kind: type[servers.Server]) -> servers.Server:
            try:
                return stack.enter_context(kind())
            except ServerUnavailableError as exc:
                unavailable(str(exc))

        yield start


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def user(db: None, django_user_model: type[User]) -> User:
    return django_user_model.objects.create_user("ada", password="a password for tests")


@pytest.fixture
def token(user: User) -> str:
    """A key of `user`'s, as a client sends it."""
    from knox.models import get_token_model

    return str(get_token_model().objects.create(user=user)[1])


@pytest.fixture
def api_client() -> APIClient:
    """A client without credentials, which gets an error's answer as the world does instead of the exception."""
    from rest_framework.test import APIClient

    client = APIClient()
    client.raise_request_exception = False
    return client


@pytest.fixture
def auth_client(api_client: APIClient, token: str) -> Any:
    """`api_client` with the key of `user`."""
    api_client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return api_client


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged from now on, as JSON lines."""
    log = Log()
    logging.getLogger().addHandler(log.handler)
    yield log
    logging.getLogger().removeHandler(log.handler)


MODELS_FILE = """
[providers.claude]
protocol = "anthropic"
name = "Claude"
base_url = "{url}"
api_key_env = "CLAUDE_API_KEY"
status_page = "https://status.example/claude"
[providers.gpt]
protocol = "openai"
name = "GPT"
base_url = "{url}/v1"
api_key_env = "GPT_API_KEY"
[models]
claude = {{ routes = ["claude:c-1"], max_output_tokens = 4096, default_output_tokens = 1024 }}
gpt = {{ routes = ["gpt:g-1"], max_output_tokens = 4096, default_output_tokens = 1024 }}
both = {{ routes = ["claude:c-1", "gpt:g-1"], max_output_tokens = 4096, default_output_tokens = 1024 }}
"""


@pytest.fixture
def upstream(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[LoopbackProvider]:
    """A real HTTP provider behind the models `claude`, `gpt` and `both`, each asked once."""
    with LoopbackProvider() as server:
        path = tmp_path / "models.toml"
        path.write_text(MODELS_FILE.format(url=server.url))
        monkeypatch.setenv("CLAUDE_API_KEY", "planted-provider-key-claude")
        monkeypatch.setenv("GPT_API_KEY", "planted-provider-key-gpt")
        settings.CHAT_MODELS_FILE = str(path)
        settings.CHAT_MAX_ATTEMPTS = 2
        yield server
