"""For pytest. SQLite in a file and the in-process cache, unless DATABASE_URL and REDIS_URL name real servers."""

import os

import environ

# Of the shell's settings only these two count, or the tests would fail on a machine that is set up for real use.
environ.Env.ENVIRON = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if name in os.environ}

from genai_site.settings.base import *  # noqa: E402, F403

SECRET_KEY = "a key that is only ever used by the tests, long enough for every check"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SIMULATOR_LATENCY = 0.0
SIMULATOR_FAILURE_RATE = 0.0
PROVIDER_POOL_SIZE = 16  # urllib3 fills a queue of so many for each provider, of which most tests make their own
# A file, since threads of a concurrency test would share one connection to a database in memory.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    DATABASES["default"]["TEST"] = {"NAME": BASE_DIR / ".test.sqlite3"}  # noqa: F405
