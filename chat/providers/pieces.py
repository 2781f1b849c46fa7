"""The pieces of an answer that is still arriving: whole characters, and whether there is anything to tell."""

from __future__ import annotations

from collections.abc import Iterable

from chat.protocols.payload import as_text
from chat.providers.reading import sound
from chat.types import Call, Delta, Part, Piece, Refusal, Text, Thinking


def says_something(delta: Delta) -> bool:
    """Return whether a client would see anything of it; white space alone is nothing."""
    return any(part.text.strip() if isinstance(part, Text | Refusal) else True for _, part in delta.pieces)


class Calls:
    """The calls of an answer that is still arriving, and the arguments that each has so far."""

    def __init__(self) -> None:
        self._arguments: dict[object, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._arguments)

    def hear(self, pieces: Iterable[Piece]) -> None:
        """Add the fragments of calls in `pieces`."""
        for of, part in pieces:
            if isinstance(part, Call):
                self._arguments.setdefault(of, []).append(part.arguments)

    def all_sound(self) -> bool:
        """Return whether the arguments of each call are a JSON object; none at all are an empty one."""
        return all(sound("".join(pieces)) for pieces in self._arguments.values())


class Halves:
    """Keeps back half of a character at the end of a piece until the next piece of the same part has the other half."""

    def __init__(self) -> None:
        self._halves: dict[object, tuple[Piece, str]] = {}

    def completed(self, delta: Delta) -> Delta:
        """Return `delta` with whole characters, without the pieces that hold nothing more."""
        if not delta.pieces:
            return delta
        pieces = [self._whole(piece) for piece in delta.pieces]
        return Delta(tuple(piece for piece in pieces if _is_something(piece.part)), delta.raw)

    def last(self) -> Delta | None:
        """Return what was kept back and never completed, None for nothing."""
        rest = [_with(piece, as_text(half)) for piece, half in self._halves.values()]
        self._halves.clear()
        return Delta(tuple(rest)) if rest else None

    def _whole(self, piece: Piece) -> Piece:
        text = _words(piece.part)
        kept = self._halves.pop(piece.of, None) if self._halves else None
        if not kept and text.isascii() and "\x00" not in text:
            return piece
        text = kept[1] + text if kept else text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._halves[piece.of] = piece, text[-1]
            text = text[:-1]
        return _with(piece, as_text(text))


def _words(part: Part) -> str:
    if isinstance(part, Text | Refusal | Thinking):
        return part.text
    return part.arguments if isinstance(part, Call) else ""


def _with(piece: Piece, text: str) -> Piece:
    part = piece.part
    if isinstance(part, Text | Refusal | Thinking):
        return piece._replace(part=part._replace(text=text))
    return piece._replace(part=part._replace(arguments=text)) if isinstance(part, Call) else piece


def _is_something(part: Part) -> bool:
    """Return whether a piece tells anything: the first of a call does by its name, thoughts also by their proof."""
    if isinstance(part, Call):
        return bool(part.name or part.arguments)
    if isinstance(part, Thinking):
        return bool(part.text or part.signature)
    return bool(part.text) if isinstance(part, Text | Refusal) else True
