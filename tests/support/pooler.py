"""A pooler before a private PostgreSQL."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.support.machine import unprivileged_account
from tests.support.servers import Server


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
