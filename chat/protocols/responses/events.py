"""A streamed answer as clients of the Responses API get it: each event says its type, and all are numbered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from chat.protocols import sse
from chat.protocols.openai.errors import write_error
from chat.protocols.payload import as_object
from chat.protocols.replies import noted
from chat.protocols.responses import answer as whole
from chat.protocols.responses.output import Output
from chat.types import Answer, Delta, Start, Tick, Told, Wish

CLOSING = ("response.completed", "response.incomplete")


class EventWriter:
    """See `EventWriter` of `Face`. The answer is whole where `response.completed` or `.incomplete` is the last event.

    A provider's own events are relayed but for the last, which waits for the bill.
    """

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.wish, self.request_id = wish, request_id
        self.number = 0
        self.response = whole.response_of(request_id, int(time.time()), wish.model.name, wish)
        self.opened = False
        self.last: Mapping[str, Any] | None = None
        self.output = Output(self.response, wish)

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Start):
            return "" if item.verbatim else self._open(item.answer)
        if isinstance(item, Tick):
            return sse.COMMENT
        if isinstance(item, Answer):
            return self._close(item)
        if item.raw is not None:
            return self._relay(item.raw)
        return self._written(event for piece in item.pieces for event in self.output.hear(piece))

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`. What is not done stays so, and the response is told as failed; the last event
        is the one at which OpenAI's own package raises."""
        opening = "" if self.opened else self._open(None)
        told = write_error(error, self.request_id)["error"]
        message = f"{told['message']} (request_id {self.request_id})"  # of a stream, clients keep no headers
        facts = {"message": message, "param": told["param"]}
        # A response's own codes are few, and some clients know no others.
        code = told["code"] if error.vendor else "rate_limit_exceeded" if told["type"] == "requests" else "server_error"
        failure = facts | {"code": code, "type": told["code"]}
        failed = self.response | {"status": "failed", "error": failure, "output": self.output.done}
        last = {"type": "error", "code": told["code"], **facts, "error": told | facts}
        return opening + self._written([{"type": "response.failed", "response": failed}, last])

    def _open(self, stored: Answer | None) -> str:
        self.opened = True
        if stored:
            head = whole.response_of(stored.request_id, stored.created, stored.model, self.wish)
            self.response = head | noted(stored)
            self.output = Output(self.response, self.wish)
        kinds = ("response.created", "response.in_progress")
        return self._written({"type": kind, "response": self.response} for kind in kinds)

    def _close(self, answer: Answer) -> str:
        if self.last:
            response = as_object(self.last.get("response"))
            named = whole.renamed(response, self.request_id, self.response["model"], self.wish, answer.charged)
            return self._event({**self.last, "response": named})
        closing = self._written(self.output.close(cut=answer.finish_reason == "length"))
        response = self.response | whole.ended(answer, self.output.done)
        return closing + self._written([{"type": f"response.{response['status']}", "response": response}])

    def _relay(self, event: Mapping[str, Any]) -> str:
        self.opened = True
        if isinstance(number := event.get("sequence_number"), int):
            self.number = number + 1
        if event.get("type") in CLOSING:
            self.last = event
            return ""
        if isinstance(response := event.get("response"), dict):
            event = {**event, "response": whole.renamed(response, self.request_id, self.response["model"], self.wish)}
        return self._event(event)

    def _written(self, events: Iterable[dict[str, Any]]) -> str:
        return "".join(map(self._numbered, events))

    def _numbered(self, event: dict[str, Any]) -> str:
        number, self.number = self.number, self.number + 1
        return self._event(event | {"sequence_number": number})

    def _event(self, event: Mapping[str, Any]) -> str:
        return sse.write(event, str(event.get("type", "")))
