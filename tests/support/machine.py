"""The machine that the tests run on: its programs, ports, accounts and processes."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path


class ServerUnavailableError(Exception):
    """The server cannot be had on this machine; the message says why."""


def find_program(name: str) -> str | None:
    """The path of a server program: from PATH, else from where Debian and pg_config say PostgreSQL keeps its own."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True)
    places = [os.environ.get("PATH", os.defpath), *map(str, debian)]
    if shutil.which("pg_config"):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        places.append(asked.stdout.strip())
    return next((path for place in places if place and (path := shutil.which(name, path=place))), None)


def free_port() -> int:
    """A free loopback port below those that the kernel gives to clients, so that none takes it during a restart."""
    # Not the module's own generator: pytest-randomly seeds it alike in all workers.
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailableError("no free port on loopback")


def unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerUnavailableError("PostgreSQL does not run as root, and there is no account to run it as")


def children(parent: int) -> list[int]:
    """The processes that `parent` started and that still run."""
    return [pid for pid, its_parent in _processes() if its_parent == parent]


def _processes() -> Iterator[tuple[int, int]]:
    if Path("/proc/self/stat").exists():
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                # "pid (name) state parent ...", and the name may hold anything.
                yield int(path.parent.name), int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            pid, its_parent = line.split()
            yield int(pid), int(its_parent)
