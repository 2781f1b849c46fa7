"""The blocks of an answer as a client gets them: of a whole one, and as events while it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chat.protocols.anthropic.body import NAME
from chat.protocols.anthropic.content import REDACTED
from chat.protocols.anthropic.translate import LONGEST_ID
from chat.protocols.ids import fit
from chat.protocols.payload import parse_object
from chat.types import Answer, Call, Opaque, Part, Piece, Refusal, Text, Thinking


def blocks_of(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a whole answer. A call that a limit has cut has no input, so it is left out."""
    for part in answer.parts:
        if isinstance(part, Call):
            if (arguments := _input(part.arguments)) is not None:
                yield _call(part) | {"input": arguments}
        elif block := _block(part):
            yield block


def _call(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": fit(call.id, LONGEST_ID), "name": call.name, "input": {}}


def _input(arguments: str) -> dict[str, Any] | None:
    return parse_object(arguments.encode("utf-8", "replace")) if arguments.strip() else {}


def _block(part: Part) -> dict[str, Any] | None:
    """Return the block that a part is, None for nothing. Thoughts without a proof are not the vendor's: a client would
    send them back to it."""
    if isinstance(part, Text | Refusal) and part.text:
        return {"type": "text", "text": part.text}
    if isinstance(part, Thinking) and part.signature:
        if part.signature.startswith(REDACTED):
            return {"type": "redacted_thinking", "data": part.signature.removeprefix(REDACTED)}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return dict(part.data) if isinstance(part, Opaque) and part.protocol == NAME else None


PING = {"type": "ping"}


class Blocks:
    """The blocks of an answer that is still arriving, numbered without a gap. A call stays open to the end, since its
    fragments may come between those of others; a text or a thought is over when another part begins. A thought's proof
    is known with its first fragment, and told at its end."""

    def __init__(self) -> None:
        self._begun = 0
        self._calls: dict[Any, int] = {}
        self._open: tuple[Any, int, str] | None = None
        """The key of the text or thought that arrives, the number of its block, and the proof of the thought."""

    def hear(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the events of a further piece."""
        part = piece.part
        if isinstance(part, Text | Refusal):
            if part.text:
                yield from self._said(piece.of, part.text)
        elif isinstance(part, Call):
            if piece.of not in self._calls:
                yield from self._end()
                self._calls[piece.of] = self._begun
                yield self._start(_call(part))
            if part.arguments:
                delta = {"type": "input_json_delta", "partial_json": part.arguments}
                yield _about("content_block_delta", self._calls[piece.of], delta=delta)
        elif isinstance(part, Thinking) and not part.signature.startswith(REDACTED):
            yield from self._thought(piece.of, part)
        elif block := _block(part):
            yield from self._end()
            index = self._begun
            yield self._start(block)
            yield _about("content_block_stop", index)

    def close(self) -> Iterator[dict[str, Any]]:
        """Yield the events that end all blocks."""
        yield from self._end()
        for index in self._calls.values():
            yield _about("content_block_stop", index)

    def _said(self, of: Any, text: str) -> Iterator[dict[str, Any]]:
        if not self._open or self._open[0] != of:
            yield from self._begin(of, {"type": "text", "text": ""})
            if self._begun == 1:
                yield PING
        yield from self._delta({"type": "text_delta", "text": text})

    def _thought(self, of: Any, thought: Thinking) -> Iterator[dict[str, Any]]:
        if not self._open or self._open[0] != of:
            if not thought.signature:
                return
            yield from self._begin(of, {"type": "thinking", "thinking": "", "signature": ""}, thought.signature)
        if thought.text:
            yield from self._delta({"type": "thinking_delta", "thinking": thought.text})

    def _begin(self, of: Any, block: dict[str, Any], proof: str = "") -> Iterator[dict[str, Any]]:
        yield from self._end()
        self._open = of, self._begun, proof
        yield self._start(block)

    def _delta(self, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._open:
            yield _about("content_block_delta", self._open[1], delta=delta)

    def _start(self, block: dict[str, Any]) -> dict[str, Any]:
        index, self._begun = self._begun, self._begun + 1
        return _about("content_block_start", index, content_block=block)

    def _end(self) -> Iterator[dict[str, Any]]:
        """Yield the events that end the text or thought that has arrived."""
        if not self._open:
            return
        _, index, proof = self._open
        if proof:
            yield from self._delta({"type": "signature_delta", "signature": proof})
        self._open = None
        yield _about("content_block_stop", index)


def _about(kind: str, index: int, **facts: Any) -> dict[str, Any]:
    return {"type": kind, "index": index} | facts
