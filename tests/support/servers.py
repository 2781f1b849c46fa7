"""Private PostgreSQL and Redis servers for the tests: on loopback, in a temporary directory, gone afterwards.

    with Redis() as redis:
        ... redis.url ...
        redis.pause()       # accepts connections and answers nothing, as a hung server does
        redis.resume()
        redis.kill()        # refuses connections
        redis.start()       # is back, on the same port

`python -m tests.support.servers -- COMMAND ...` starts both, names them to COMMAND in DATABASE_URL, REDIS_URL and in
both with TEST_ before them, and ends with its exit status.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, ClassVar, Self
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import redis
from psycopg import sql

START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0


class ServerUnavailableError(Exception):
    """The server cannot be had on this machine; the message says why."""


class Server:
    """One private server process. A subclass says which programs it needs, how it is started and when it is ready."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.paths = {program: find_program(program) for program in self.programs}
        missing = [program for program, path in self.paths.items() if path is None]
        if missing:
            raise ServerUnavailableError(f"{self.name} is not installed here ({', '.join(missing)} not found)")
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name.lower()}-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.was_killed = False
        self.run_as: dict[str, Any] = {}

    # --- for a subclass ---

    @property
    def url(self) -> str:
        raise NotImplementedError

    def prepare(self) -> None:
        """Called once, before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def ping(self) -> None:
        """Raises where the server does not answer yet."""
        raise NotImplementedError

    # --- for a test ---

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, or start it again on the same port, and return when it answers."""
        self.process = self._spawn()
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return self.ping()
            except (psycopg.OperationalError, redis.RedisError) as exc:
                ended = self.process.poll() is not None
                if ended and self.was_killed and time.monotonic() < deadline:
                    # PostgreSQL refuses to start beside what is left of it: a process that it was just starting when
                    # it was killed takes a moment to notice.
                    self.process = self._spawn()
                elif ended or time.monotonic() > deadline:
                    self.kill()
                    with self._log("rb") as log:
                        tail = log.read()[-2000:].decode(errors="replace")
                    raise ServerUnavailableError(f"{self.name} did not start: {exc}\n{tail}") from exc
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order: open connections are closed, then new ones are refused."""
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is None:
            return
        self._signal_all(signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.was_killed = True

    def pause(self) -> None:
        """Keep it from answering; the kernel goes on accepting connections for it."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log("ab") as log:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C in the terminal is for pytest, which then stops the server itself
                **self.run_as,
            )

    def _log(self, mode: str) -> IO[bytes]:
        # Beside the data rather than in it, since initdb wants an empty directory.
        return Path(self.directory, "log").open(mode)

    def _signal_all(self, number: signal.Signals) -> None:
        # Not the process group: PostgreSQL's workers each lead their own.
        if self.process is None or self.process.poll() is not None:
            return
        for pid in [self.process.pid, *children(self.process.pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


class Redis(Server):
    """An empty Redis that keeps nothing on disk: what it held is lost when it ends."""

    name = "Redis"
    programs = ("redis-server",)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--save": "",
            "--appendonly": "no",
            "--databases": "64",  # one for each worker of pytest-xdist
            "--dir": str(self.directory),
        }
        return [str(self.paths["redis-server"]), *(word for option in options.items() for word in option)]

    def ping(self) -> None:
        with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as client:
            client.ping()


class Postgres(Server):
    """A PostgreSQL that trusts everyone on loopback. Its data outlive `kill` and `stop`, until it is closed."""

    name = "PostgreSQL"
    programs = ("initdb", "postgres")
    stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            account = unprivileged_account()
            for path in (self.directory, self.data):
                os.chown(path, account.pw_uid, account.pw_gid)
            self.run_as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        done = subprocess.run(
            [str(self.paths["initdb"]), "-D", str(self.data), "-U", "postgres", "-A", "trust"]
            + ["-E", "UTF8", "--locale=C", "--no-sync"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.directory,
            check=False,
            **self.run_as,
        )
        if done.returncode:
            raise ServerUnavailableError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            # The data need not survive the machine. What was committed must survive the server, which tests kill: with
            # synchronous_commit off as well, it would forget the last commits that it acknowledged.
            "fsync": "off",
            "full_page_writes": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.paths["postgres"]), "-D", str(self.data), "-p", str(self.port), *words]

    def ping(self) -> None:
        psycopg.connect(self.url, connect_timeout=2).close()


class PgBouncer(Server):
    """A pooler before the PostgreSQL at the URL `upstream`, with few processes, each lent for a transaction."""

    name = "PgBouncer"
    programs = ("pgbouncer",)
    stop_signal = signal.SIGINT

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = urlsplit(upstream)

    @property
    def url(self) -> str:
        return self.upstream._replace(netloc=f"{self.upstream.username}@127.0.0.1:{self.port}").geturl()

    def prepare(self) -> None:
        account = unprivileged_account()
        self.directory.chmod(0o755)
        if os.geteuid() == 0:  # which PgBouncer refuses to run as
            self.run_as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        place = f"host={self.upstream.hostname} port={self.upstream.port} user={self.upstream.username}"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": "4",
            "server_round_robin": "1",
        }
        lines = [
            "[databases]",
            f"* = {place}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        Path(self.directory, "pgbouncer.ini").write_text("\n".join(lines))

    def command(self) -> list[str]:
        return [str(self.paths["pgbouncer"]), str(self.directory / "pgbouncer.ini")]

    def ping(self) -> None:
        psycopg.connect(self.url, connect_timeout=2).close()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """An empty database on the PostgreSQL at the URL `server`, and its own URL."""
    name = f"chat_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:  # the server may have been away meanwhile
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


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


def main(arguments: list[str]) -> int:
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print("usage: python -m tests.servers -- COMMAND ...", file=sys.stderr)
        return 2

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)  # so that the servers are stopped then too
    try:
        with Postgres() as database, Redis() as cache:
            named = {"DATABASE_URL": database.url, "REDIS_URL": cache.url}
            named |= {f"TEST_{name}": url for name, url in named.items()}
            return subprocess.run(command, env={**os.environ, **named}, check=False).returncode
    except ServerUnavailableError as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
