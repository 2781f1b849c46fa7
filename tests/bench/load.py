"""The load: so many connections at once, or so many chats a second, over keep-alive connections on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

BODY = json.dumps(
    {
        "model": "gpt-4",
        "messages": [{"role": "user", "content": "What is the answer to life, the universe and everything?"}],
        "max_tokens": 100,
    }
).encode()


@dataclass
class Result:
    """`seconds` of each answer, in the order in which they came; `wall` is the whole run."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    wall: float = 0.0

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.wall


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        head = f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {key}\r\n"
        head += f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        self.request = head.encode() + BODY
        self.reader: asyncio.StreamReader | None = None

    async def chat(self, result: Result) -> None:
        started = time.perf_counter()
        try:
            status = await asyncio.wait_for(self._exchange(), 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.reader, status = None, b"lost"
        if status == b"200":
            result.seconds.append(time.perf_counter() - started)
        else:
            result.errors += 1

    async def _exchange(self) -> bytes:
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if length:
            await self.reader.readexactly(int(length))
        else:
            await self.reader.readuntil(b"\r\n0\r\n\r\n")
        if b"connection: close" in head.lower():
            self.reader = None
        return head.split(b" ", 2)[1]


async def closed(port: int, key: str, connections: int, chats: int) -> Result:
    """`connections` clients that each send their next chat as soon as they have an answer; `chats` in all."""
    result, left = Result(), iter(range(chats))

    async def client() -> None:
        one = Client(port, key)
        for _ in left:
            await one.chat(result)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    result.wall = time.perf_counter() - started
    return result


async def opened(port: int, key: str, rate: float, seconds: float) -> Result:
    """`rate` chats a second, whether or not the answers keep up."""
    result, idle, running = Result(), [Client(port, key) for _ in range(200)], []
    started = time.perf_counter()

    async def one(client: Client) -> None:
        await client.chat(result)
        idle.append(client)

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        running.append(asyncio.create_task(one(idle.pop() if idle else Client(port, key))))
    await asyncio.gather(*running)
    result.wall = time.perf_counter() - started
    return result
