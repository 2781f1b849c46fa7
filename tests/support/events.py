"""Reading a streamed answer of `POST /chat`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.signals import request_finished
from django.db import close_old_connections

COMMENT = ":"


def pieces_of(response: Any) -> Iterator[tuple[str, Any]]:
    """The events of a streamed answer, as they come: name and data; of a comment its text, under the name ":"."""
    for chunk in response.streaming_content:
        yield from parsed(chunk.decode())


@contextmanager
def begun(response: Any) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a stream whose client leaves at the end of the block."""
    assert response.status_code == 200, response.content
    try:
        yield pieces_of(response)
    finally:
        leave(response)


def leave(response: Any) -> None:
    """What a server does when the client has gone; the test's own connection to the database stays."""
    response._iterator.close()  # the test client's, which connects the signal again
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)


def events_of(response: Any) -> list[tuple[str, Any]]:
    """All events, of one that came to its end."""
    assert response.status_code == 200, response.content
    return list(pieces_of(response))


def parsed(text: str) -> Iterator[tuple[str, Any]]:
    assert text == "" or text.endswith("\n\n")
    for block in text.split("\n\n")[:-1]:
        if block.startswith(COMMENT):
            yield COMMENT, block
            continue
        name, data = block.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def text_of(events: list[tuple[str, Any]]) -> str:
    return "".join(data["text"] for name, data in events if name == "delta")


def end_of(events: list[tuple[str, Any]]) -> tuple[str, Any]:
    """The last event, which alone may be one of those that end a stream."""
    assert [name for name, _ in events if name not in ("delta", COMMENT)] == [events[-1][0]]
    return events[-1]
