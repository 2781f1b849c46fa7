"""Our own format, of `POST /chat`: for clients alone, since no provider speaks it."""

from __future__ import annotations

from typing import Any

from chat.protocols import sse
from chat.types import Answer, Delta, Start, Tick, Told, Wish


def write_reply(answer: Answer) -> dict[str, Any]:
    """See `Face.write_reply`."""
    return {"response": answer.text} | _facts(answer)


def write_error(error: Told, request_id: str) -> dict[str, Any]:
    """See `Face.write_error`."""
    return {"error": error.code, "message": error.message, "request_id": request_id} | error.context


class EventWriter:
    """See `EventWriter` of `Face`: `delta` for each piece, then `done` with all that a whole answer has besides its
    text, or `error`."""

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.request_id = request_id

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Delta):
            return sse.write({"text": item.part.text}, "delta")
        if isinstance(item, Answer):
            return sse.write(_facts(item), "done")
        return sse.COMMENT if isinstance(item, Tick) else ""

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`."""
        return sse.write(write_error(error, self.request_id) | {"status": error.status}, "error")


def _facts(answer: Answer) -> dict[str, Any]:
    """Return the contract's fields of an answer, its text apart."""
    body = {
        "model": answer.model,
        "upstream_model": answer.upstream_model,
        "tokens_used": answer.tokens_used,
        "usage": answer.usage._asdict(),
        "finish_reason": answer.finish_reason,
        "provider": answer.provider,
        "cached": answer.cached,
        "request_id": answer.request_id,
    }
    return body | ({"message": answer.message} if answer.cached else {})
