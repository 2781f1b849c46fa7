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

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import FrameType
from typing import IO, Any, ClassVar, Self

import psycopg
import redis

from tests.support.machine import ServerUnavailableError, children, find_program, free_port, unprivileged_account

START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0


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
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            account = unprivileged_account()
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            self.run_as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        subprocess.run(["cp", "-a", str(new_cluster()), str(self.data)], check=True)

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


@cache
def new_cluster() -> Path:
    """Return the directory that PostgreSQL starts with. It is made once a process, since it takes longer than most
    tests, and each server begins with a copy."""
    initdb = find_program("initdb")
    directory = Path(tempfile.mkdtemp(prefix="cluster-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    data = directory / "data"
    run_as: dict[str, Any] = {}
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        account = unprivileged_account()
        for path in (directory, data):
            os.chown(path, account.pw_uid, account.pw_gid)
        run_as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    done = subprocess.run(
        [str(initdb), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        check=False,
        **run_as,
    )
    if done.returncode:
        raise ServerUnavailableError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return data


def main(arguments: list[str]) -> int:
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print("usage: python -m tests.support.servers -- COMMAND ...", file=sys.stderr)
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
