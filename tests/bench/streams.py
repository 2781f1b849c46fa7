"""Streams: many at once, the time that we add before the first token, and memory after many of them."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

from tests.bench import load

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

BODY = load.BODY[:-1] + b', "stream": true}'
END = b"\r\n0\r\n\r\n"


class Stream(load.Client):
    """A keep-alive connection to us or, with a `path` of its own, to the provider; times the first token."""

    def __init__(self, port: int, key: str, path: str = "/chat") -> None:
        super().__init__(port, key)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        self.request = head.encode() + BODY
        self.first, self.last = (b"event: delta", b"event: done") if path == "/chat" else (b'"content"', b"[DONE]")

    async def listen(self, result: load.Result) -> None:
        started = time.perf_counter()
        try:
            heard_at = await asyncio.wait_for(self._listen(), 120)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            self.reader = None
            result.errors += 1
        else:
            result.seconds.append(heard_at - started)

    async def _listen(self) -> float:
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.request)
        heard, heard_at = b"", 0.0
        while not heard.endswith(END):
            piece = await self.reader.read(65536)
            heard += piece
            if not heard_at and self.first in heard:
                heard_at = time.perf_counter()
            if not piece or (b"\r\n\r\n" in heard and not heard.startswith(b"HTTP/1.1 200")):
                raise ValueError(heard[:200])
        if self.last not in heard:
            raise ValueError(heard[-200:])
        return heard_at


async def closed(port: int, key: str, connections: int, streams: int) -> load.Result:
    """`connections` clients that each ask for their next stream when one has ended; `streams` in all."""
    result, left = load.Result(), iter(range(streams))

    async def client() -> None:
        one = Stream(port, key)
        for _ in left:
            await one.listen(result)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    result.wall = time.perf_counter() - started
    return result


async def opened(port: int, key: str, path: str, rate: float, seconds: float) -> load.Result:
    """`rate` new streams a second."""
    result, idle, running = load.Result(), [Stream(port, key, path) for _ in range(100)], []
    started = time.perf_counter()

    async def one(stream: Stream) -> None:
        await stream.listen(result)
        idle.append(stream)

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        running.append(asyncio.create_task(one(idle.pop() if idle else Stream(port, key, path))))
    await asyncio.gather(*running)
    result.wall = time.perf_counter() - started
    return result


def at_once(bench: Bench) -> None:
    """300 streams of ten tokens, at a provider that sends one each 0.3 s."""
    asyncio.run(closed(bench.ours[0], bench.key, 20, 20))  # warm up
    result = asyncio.run(closed(bench.ours[0], bench.key, 300, 600))
    print(f"300 at once, ten tokens in 3 s each: {result.rate:.0f} streams/s of 100, {result.errors} errors")
    first = [f"p{percent} {(result.percentile(percent) - 0.3) * 1000:.0f} ms" for percent in (50, 99)]
    print(f"  first token later than the provider's: {', '.join(first)}", flush=True)


def first_token(bench: Bench, rounds: int) -> None:
    """20 streams a second, the provider's own and ours in turns."""
    asyncio.run(closed(bench.ours[0], bench.key, 20, 60))  # warm up
    results: tuple[list[load.Result], list[load.Result]] = ([], [])
    for _ in range(rounds):
        for index, (port, path) in enumerate([(bench.provider, "/v1/chat/completions"), (bench.ours[0], "/chat")]):
            results[index].append(asyncio.run(opened(port, bench.key, path, 20, 8)))
    direct = median(result.percentile(50) * 1000 for result in results[0])
    for percent in (50, 99):
        ours = median(result.percentile(percent) * 1000 for result in results[1])
        added = f"{ours - direct:.1f} ms ({ours:.1f} - {direct:.1f})"
        print(f"first token at 20 streams/s, added by us, p{percent}: {added}", flush=True)
    print(f"  errors: {sum(result.errors for result in results[1])}")


def memory(bench: Bench) -> None:
    """After 1,000 streams and after 10,000, of ten tokens that come as fast as they can."""
    done = 0
    for total in (1_000, 4_000, 7_000, 10_000):
        result = asyncio.run(closed(bench.ours[0], bench.key, 50, total - done))
        done = total
        facts = f"{bench.memory():.1f} MB; {result.rate:.0f} streams/s, {result.errors} errors"
        print(f"memory after {total:>6,} streams: {facts}", flush=True)
