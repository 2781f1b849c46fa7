"""Starts its own provider, PostgreSQL, Redis and servers, runs both views in turns, and prints medians and ratios."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import load, streams
from tests.support.servers import Postgres, Redis

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


def processes(pid: int) -> list[int]:
    """`pid` and all below it."""
    found = [pid]
    for parent in found:
        found += [int(n) for n in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system seconds that a server's processes have used."""
    total = 0
    for process in processes(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mb(pid: int) -> float:
    """Proportional memory of a server's processes."""
    lines = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes(pid)]
    return sum(int(text.split("\nPss:")[1].split()[0]) for text in lines) / 1024


@contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


class Bench:
    """The servers under test; `ours` and `bare` are (port, pid)."""

    def __init__(self, stack: ExitStack, workers: int, delay: float) -> None:
        self.stack, self.workers = stack, workers
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres, redis = stack.enter_context(Postgres()), stack.enter_context(Redis())
        provider = self.provider = free_port()
        stack.enter_context(
            running(
                [sys.executable, "-m", "tests.bench.provider", str(provider), str(delay)], dict(os.environ), provider
            )
        )
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "genai_site.settings.production",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "SECURE_SSL_REDIRECT": "false",
            "STATIC_ROOT": folder,
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{provider}/v1",
            "WEB_CONCURRENCY": str(workers),
            "PROVIDER_POOL_SIZE": "1000",
            "CHAT_MAX_IN_FLIGHT": "1000",
            "CHAT_MAX_IN_FLIGHT_PER_USER": "1000",
        }
        for command in (["migrate", "-v0"], ["set_budget", "ada", "--limit", "1000000000", "--rate", "1000000/s"]):
            if command[0] == "set_budget":
                self.key = self.manage("issue_key", "ada", "--create").strip()
            self.manage(*command)
        self.ours = self.start("genai_site.wsgi")
        self.bare = self.start("tests.bench.bare")

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def start(self, application: str) -> tuple[int, int]:
        port = free_port()
        environment = self.environment | {"BIND": f"127.0.0.1:{port}"}
        command = [sys.executable, "-m", "gunicorn", "-c", "python:genai_site.gunicorn", application]
        return port, self.stack.enter_context(running(command, environment, port))

    def memory(self) -> float:
        """Proportional megabytes of our server's processes."""
        return memory_mb(self.ours[1])

    def cost(self, server: tuple[int, int], connections: int, chats: int) -> tuple[float, float, int]:
        """CPU seconds of the server's processes per 1,000 chats, chats a second, errors."""
        port, pid = server
        before = cpu_seconds(pid)
        result = asyncio.run(load.closed(port, self.key, connections, chats))
        return (cpu_seconds(pid) - before) / chats * 1000, result.rate, result.errors


def in_turns(rounds: int, *measures: Callable[[], Any]) -> list[list[Any]]:
    """The results of each, taken in turns, there and back."""
    results: list[list[Any]] = [[] for _ in measures]
    for number in range(rounds):
        order = range(len(measures))
        for index in order if number % 2 == 0 else reversed(order):
            results[index].append(measures[index]())
    return results


def row(title: str, ours: float, bare: float, unit: str) -> None:
    print(f"{title:<44}{ours:>10.2f}{bare:>10.2f}{ours / bare if bare else float('nan'):>8.2f}  {unit}", flush=True)


def cost_at(workers: int, rounds: int, chats: int) -> None:
    with ExitStack() as stack:
        bench = Bench(stack, workers, 0.0)
        for server in (bench.ours, bench.bare):
            bench.cost(server, 16, 300)  # warm up
        for connections in (16, 64):
            ours, bare = in_turns(
                rounds,
                partial(bench.cost, bench.ours, connections, chats),
                partial(bench.cost, bench.bare, connections, chats),
            )
            name = f"0 ms provider, {connections} connections"
            row(f"CPU per 1,000 chats, {name}", median(r[0] for r in ours), median(r[0] for r in bare), "s")
            row(f"throughput, {name}", median(r[1] for r in ours), median(r[1] for r in bare), "chats/s")
            errors = [sum(r[2] for r in kind) for kind in (ours, bare)]
            if any(errors):
                print(f"  errors: {errors[0]}, bare {errors[1]}")


def latency_at(workers: int, rounds: int) -> None:
    with ExitStack() as stack:
        bench = Bench(stack, workers, 0.05)
        ports = (bench.ours[0], bench.bare[0], bench.provider)
        runs = in_turns(rounds, *(partial(opened, port, bench.key) for port in ports))
        direct = median(run.percentile(50) * 1000 for run in runs[2])
        for percent in (50, 99):
            ours, bare = (median(run.percentile(percent) * 1000 for run in kind) - direct for kind in runs[:2])
            row(f"added latency at 50/s, 50 ms provider, p{percent}", ours, bare, "ms")
        errors = [sum(run.errors for run in kind) for kind in runs]
        print(f"  without us it takes {direct:.1f} ms; errors: {errors[0]}, bare {errors[1]}, without us {errors[2]}")


def opened(port: int, key: str) -> load.Result:
    return asyncio.run(load.opened(port, key, 50, 6))


def in_flight(workers: int) -> None:
    with ExitStack() as stack:
        bench = Bench(stack, workers, 1.0)
        for server in (bench.ours, bench.bare):
            bench.cost(server, 16, 32)  # or the first would wait for the workers to start
        for connections in (500, 1000):
            ours = asyncio.run(load.closed(bench.ours[0], bench.key, connections, connections * 6))
            bare = asyncio.run(load.closed(bench.bare[0], bench.key, connections, connections * 6))
            name = f"{connections} in flight, 1 s provider"
            row(f"throughput, {name}", ours.rate, bare.rate, "chats/s")
            row(f"p99, {name}", ours.percentile(99), bare.percentile(99), "s")
            row(f"memory, {name}", memory_mb(bench.ours[1]), memory_mb(bench.bare[1]), "MB")
            print(f"  errors: {ours.errors}, bare {bare.errors}")


def streaming(workers: int, rounds: int) -> None:
    with ExitStack() as stack:
        streams.at_once(Bench(stack, workers, 0.3))
    with ExitStack() as stack:
        streams.first_token(Bench(stack, workers, 0.05), rounds)
    with ExitStack() as stack:
        streams.memory(Bench(stack, workers, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=2000, help="chats of one measurement")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["cost", "latency", "flight", "streams"])
    options = parser.parse_args()
    print(f"{'':<44}{'ChatView':>10}{'bare':>10}{'ratio':>8}")
    if options.only in (None, "cost"):
        cost_at(options.workers, options.rounds, options.chats)
    if options.only in (None, "latency"):
        latency_at(options.workers, options.rounds)
    if options.only in (None, "flight"):
        in_flight(options.workers)
    if options.only in (None, "streams"):
        streaming(options.workers, options.rounds)


if __name__ == "__main__":
    main()
