"""The production server as a process: gunicorn with the production settings, SQLite and a loopback provider."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.fleet import accepts
from tests.support.loopback import LoopbackProvider
from tests.support.rig import eventually

ROOT = Path(__file__).parents[2]


def production(directory: Path, provider: LoopbackProvider) -> dict[str, str]:
    """Return the environment of a server on a free port, with its files in `directory`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "genai_site.settings.production",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "SECURE_SSL_REDIRECT": "false",
        "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
        "REDIS_URL": "",
        "STATIC_ROOT": str(directory / "static"),
        "OPENAI_API_KEY": "sk-loopback",
        "OPENAI_BASE_URL": provider.openai_url,
        "BIND": f"127.0.0.1:{port}",
    }


def manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@contextmanager
def started(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start the server on a database that is there, and give its process and its URL."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:genai_site.gunicorn", "genai_site.wsgi"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or accepts(environment["BIND"]), 50)
        assert process.poll() is None
        yield process, f"http://{environment['BIND']}"
    finally:
        process.kill()
        process.wait()
