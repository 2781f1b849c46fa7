"""How the workers' pools of connections to PostgreSQL do, as psycopg tells it."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from prometheus_client import CollectorRegistry, Counter, Gauge

STATES = {"pool_size": "open", "pool_available": "idle", "requests_waiting": "awaited"}


class PoolMetrics:
    """The pool's metrics, in a registry. Each worker tells them when a chat of its has ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.states = Gauge(
            "chat_pool_connections",
            "Connections of the pools: open, of these idle; and how many requests await one. As of each worker's last "
            "chat.",
            ["state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        waits, failures = "Requests that stood in line for a connection.", "Requests that got no connection."
        self.waits = Counter("chat_pool_waits", waits, registry=registry)
        self.seconds = Counter("chat_pool_wait_seconds", "The time that these stood there.", registry=registry)
        self.failures = Counter("chat_pool_failures", failures, registry=registry)

    def count(self) -> None:
        """Count what psycopg has counted since the last time."""
        database: Any = connections[DEFAULT_DB_ALIAS]
        pool = database.pool if database.vendor == "postgresql" else None
        if pool is None:
            return
        stats = pool.pop_stats()
        for name, state in STATES.items():
            self.states.labels(state).set(stats.get(name, 0))
        self.waits.inc(stats.get("requests_queued", 0))
        self.seconds.inc(stats.get("requests_wait_ms", 0) / 1000)
        self.failures.inc(stats.get("requests_errors", 0))
