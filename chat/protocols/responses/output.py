"""The items of an answer while it arrives, and the events that tell of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols.responses import answer as whole
from chat.types import Call, Piece, Refusal, Text, Wish

STEMS = {"function_call": "function_call_arguments", "custom_tool_call": "custom_tool_call_input"}
FIELDS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Of each kind of call, the name of its events and of the field that they fill."""


class Item:
    """An item of the answer that is still arriving, the `index`-th."""

    def __init__(self, data: dict[str, Any], index: int) -> None:
        self.data, self.index = data, index
        self.said: list[str] = []

    def event(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Return an event that is about this item."""
        return {"type": f"response.{kind}", "item_id": self.data["id"], "output_index": self.index} | facts

    def added(self) -> dict[str, Any]:
        return {"type": "response.output_item.added", "output_index": self.index, "item": self.data}

    def done(self, *, cut: bool) -> dict[str, Any]:
        """Return the event of the item's end; a custom call has no status."""
        if "status" in self.data:
            self.data["status"] = "incomplete" if cut else "completed"
        return {"type": "response.output_item.done", "output_index": self.index, "item": self.data}


class OpenCall(Item):
    """A call whose arguments arrive."""

    def add(self, arguments: str) -> dict[str, Any]:
        """Return the event of a further fragment."""
        self.said.append(arguments)
        return self.event(f"{STEMS[self.data['type']]}.delta", delta=arguments)

    def end(self, *, cut: bool) -> Iterator[dict[str, Any]]:
        """Yield the events of the end. Without any arguments they are an empty object; cut ones are never done."""
        kind = self.data["type"]
        if not self.said and not cut and kind == "function_call":
            yield self.add("{}")
        self.data[FIELDS[kind]] = whole_text = "".join(self.said)
        if not cut:
            yield self.event(f"{STEMS[kind]}.done", **{FIELDS[kind]: whole_text})
        yield self.done(cut=cut)


class OpenMessage(Item):
    """A message whose parts arrive, one after the other."""

    part: tuple[Any, str] | None = None
    """The key and the kind of the part that arrives."""

    def add(self, of: Any, part: Text | Refusal) -> Iterator[dict[str, Any]]:
        """Yield the events of a further fragment."""
        if self.part != (of, part.kind):
            yield from self.end_part()
            self.part = of, part.kind
            yield self._about("content_part.added", part=whole.content_of(part._replace(text="")))
        self.said.append(part.text)
        yield self._about(f"{self._stem}.delta", delta=part.text, **self._logprobs)

    def end_part(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the end of a part, if one has begun."""
        if not self.part:
            return
        text = "".join(self.said)
        name, made = ("text", Text(text)) if self.part[1] == "text" else ("refusal", Refusal(text))
        content = whole.content_of(made)
        yield self._about(f"{self._stem}.done", **{name: text}, **self._logprobs)
        yield self._about("content_part.done", part=content)
        self.data["content"].append(content)
        self.part, self.said = None, []

    def end(self, *, cut: bool) -> Iterator[dict[str, Any]]:
        """Yield the events of the end."""
        yield from self.end_part()
        yield self.done(cut=cut)

    def _about(self, kind: str, **facts: Any) -> dict[str, Any]:
        return self.event(kind, content_index=len(self.data["content"]), **facts)

    @property
    def _stem(self) -> str:
        return "output_text" if self.part and self.part[1] == "text" else "refusal"

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {"logprobs": []} if self._stem == "output_text" else {}


class Output:
    """The items of an answer. A call stays open to the end, since its fragments may come between those of others; a
    message is done when a call begins."""

    def __init__(self, response: Mapping[str, Any], wish: Wish) -> None:
        self._wish = wish
        self._ids = whole.Ids(str(response["id"]), int(response["created_at"]))
        self._begun = 0
        self._calls: dict[Any, OpenCall] = {}
        self._message: OpenMessage | None = None
        self._done: dict[int, dict[str, Any]] = {}

    @property
    def done(self) -> list[dict[str, Any]]:
        """Return the items that are whole."""
        return [self._done[index] for index in sorted(self._done)]

    def hear(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the events of a further piece. Thoughts have none: only the vendor who made them could read them."""
        part = piece.part
        if isinstance(part, Text | Refusal) and part.text:
            if not self._message:
                self._message = OpenMessage(*self._item("message", role="assistant", status="in_progress", content=[]))
                yield self._message.added()
            yield from self._message.add(piece.of, part)
        elif isinstance(part, Call):
            yield from self._end_message(cut=False)
            if piece.of not in self._calls:
                self._calls[piece.of] = self._call(part)
                yield self._calls[piece.of].added()
            if part.arguments:
                yield self._calls[piece.of].add(part.arguments)

    def close(self, *, cut: bool) -> Iterator[dict[str, Any]]:
        """Yield the events that end all items; of an answer that was `cut`, the last is not whole."""
        for call in self._calls.values():
            yield from self._end(call, cut=cut and call.index == self._begun - 1)
        yield from self._end_message(cut=cut)

    def _call(self, call: Call) -> OpenCall:
        kind = whole.kind_of(call, self._wish)
        status = {"status": "in_progress"} if kind == "function_call" else {}
        return OpenCall(*self._item(kind, **status, call_id=call.id, name=call.name, **{FIELDS[kind]: ""}))

    def _end_message(self, *, cut: bool) -> Iterator[dict[str, Any]]:
        message, self._message = self._message, None
        if message:
            yield from self._end(message, cut=cut)

    def _end(self, item: OpenCall | OpenMessage, *, cut: bool) -> Iterator[dict[str, Any]]:
        yield from item.end(cut=cut)
        self._done[item.index] = item.data

    def _item(self, kind: str, **facts: Any) -> tuple[dict[str, Any], int]:
        index, self._begun = self._begun, self._begun + 1
        return self._ids.item(kind) | facts, index
