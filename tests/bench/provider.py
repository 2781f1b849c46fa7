"""A provider that answers every chat completion after a fixed time, or with a token each so many seconds where a stream
is asked for: `python -m tests.bench.provider PORT SECONDS`."""

from __future__ import annotations

import asyncio
import json
import sys

BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1730000000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Forty-two, as far as anybody can tell. " * 5},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 45, "total_tokens": 65},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def event(data: object) -> bytes:
    text = b"data: %b\n\n" % (data if isinstance(data, bytes) else json.dumps(data).encode())
    return b"%x\r\n%b\r\n" % (len(text), text)


def delta(reason: str | None = None, **fields: str) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1730000000, "model": "bench"}
    return event(head | {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}], "usage": None})


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKENS = [delta(content=f"word{number} ") for number in range(10)]
END = delta("stop") + event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 10}}) + event(b"[DONE]")


async def stream(writer: asyncio.StreamWriter, delay: float) -> None:
    writer.write(HEAD)
    for token in TOKENS:
        if delay:
            await asyncio.sleep(delay)
        writer.write(token)
    writer.write(END + b"0\r\n\r\n")
    await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    delay = float(sys.argv[2])
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if json.loads(body).get("stream"):
                await stream(writer, delay)
                continue
            if delay:
                await asyncio.sleep(delay)
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
