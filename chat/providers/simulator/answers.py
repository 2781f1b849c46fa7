"""The simulator's answers: what it says, thinks and calls, in the pieces of a stream, each of them one token."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from zlib import crc32

from chat.protocols import images
from chat.providers.simulator.commands import FAULTS, Command
from chat.providers.simulator.instances import NoInstance, instance_of
from chat.types import (
    Call,
    ChatRequest,
    Document,
    FinishReason,
    Image,
    Message,
    Part,
    Piece,
    Reply,
    Result,
    Text,
    Thinking,
    Usage,
    compact,
    joined,
    text_of,
)

CHARS_PER_TOKEN = 4
WORD = re.compile(r"\s*\S{1,24}\s*|\s+")
FRAGMENT = 8
"""Characters of a call's arguments that come at once."""
LONGEST_QUOTE = 200

COMMON_WORDS = """
about after also because before between could does explain from have help into know like make more need please should
some tell than that their them then there these they thing this want what when where which will with would write your
"""

COMMON = frozenset(re.findall(r"\w+", COMMON_WORDS))

OPENINGS = (
    "Good question about {topic}.",
    "Here is a short take on {topic}.",
    "Let us look at {topic} step by step.",
)
MIDDLES = (
    "The first thing to settle is what you want to achieve, because that decides which details matter.",
    "It usually helps to separate what is known from what is assumed, and to check the assumptions first.",
    "In practice most of the difficulty lies in a few corner cases, and the rest follows from them.",
)
ENDINGS = (
    "Start small, measure, and change one thing at a time.",
    "If you tell me more about your situation, I can be more specific.",
    "A good next step is to try it on a small example and see where it breaks.",
)
NOTICE = "(This is the built-in simulator; no language model was asked.)"
THOUGHTS = "The question is about {topic}. Nobody here knows the answer, so a plausible one must do."


def answer_to(request: ChatRequest, command: Command) -> tuple[list[Piece], Reply]:
    """Return the answer in pieces and whole. The limit and the client's stop texts cut it as they do a model's."""
    parts = tuple(_parts(request, command))
    parts, stop = _stopped(parts, request.stop)
    pieces = [piece for of, part in enumerate(parts) for piece in _pieces(of, part)]
    said = pieces[: request.max_tokens]
    reasoning = sum(isinstance(piece.part, Thinking) for piece in said)
    usage = Usage(prompt_tokens(request), len(said), reasoning_tokens=reasoning)
    if len(said) < len(pieces):
        said[-1:] = [_without_space(piece) for piece in said[-1:]]
        return said, Reply(joined(said), "length", usage)
    ended: FinishReason = "tool_calls" if any(isinstance(part, Call) for part in parts) else "stop"
    return said, Reply(joined(said), ended, usage, stop)


def _without_space(piece: Piece) -> Piece:
    """Return the piece at which an answer is cut without the space that parts it from the next word."""
    return piece._replace(part=Text(piece.part.text.rstrip())) if isinstance(piece.part, Text) else piece


def broken_off(pieces: list[Piece], command: Command) -> list[Piece]:
    """Return the pieces that come before the answer breaks off: in the middle of its thoughts where that is asked for,
    else of what comes after them."""
    thoughts = [piece for piece in pieces if isinstance(piece.part, Thinking)]
    if command.fault == "truncated_thinking":
        return thoughts[: (len(thoughts) + 1) // 2]
    after = len(pieces) - len(thoughts)
    return pieces[: len(thoughts) + (after + 1) // 2]


def prompt_tokens(request: ChatRequest) -> int:
    """Return the tokens of the prompt, by the length of its texts and the size of its images and documents."""
    said = sum(sum(map(len, message.texts())) // CHARS_PER_TOKEN + 1 for message in request.messages)
    tools = (len(f"{tool.name}{tool.description}{compact(tool.parameters or {})}") for tool in request.tools)
    return said + sum(length // CHARS_PER_TOKEN + 1 for length in tools) + media_tokens(request)


def media_tokens(request: ChatRequest) -> int:
    """Return the tokens of the images and documents in a request."""
    return sum(images.claude_tokens(part, larger=False) for part in request.media())


# --- what is said -----------------------------------------------------------------------------------------------------
def _parts(request: ChatRequest, command: Command) -> Iterator[Part]:
    if command.thinks or command.fault == "truncated_thinking":
        thoughts = THOUGHTS.format(topic=_topic(command.text))
        yield Thinking(thoughts, f"simulated-{hashlib.sha256(thoughts.encode()).hexdigest()}")
    if command.complaint or not command.calls:
        yield Text(command.complaint or _text(request, command))
        return
    try:
        yield from list(_calls(request, command))
    except NoInstance:
        names = ", ".join(tool.name for tool, _ in command.calls)
        yield Text(f"No arguments are found that fit the schema of {names}. Send /tool NAME {{json}}.")


def _calls(request: ChatRequest, command: Command) -> Iterator[Call]:
    words = "\n".join(request.texts()).encode("utf-8", "replace")
    for number, (tool, arguments) in enumerate(command.calls):
        made = arguments or compact(instance_of({"type": "object", **(tool.parameters or {})}))
        digits = hashlib.sha256(b"%d %b" % (number, words)).hexdigest()[:24]
        yield Call(f"call_{digits}", tool.name, made)


def _text(request: ChatRequest, command: Command) -> str:
    if command.fault is not None and not command.breaks_off:
        return f"Known faults: {', '.join(FAULTS)}. Send one as /fault NAME."
    if request.format:
        return _formatted(request, command)
    last = request.messages[-1] if request.messages else Message("user", ())
    results = [part for part in last.parts if isinstance(part, Result)]
    if results and not command.text:
        return " ".join([*(_quoted(result, request) for result in results), NOTICE])
    seen = _described(part for part in last.parts if isinstance(part, Image | Document))
    return _answer(command.text, f"You sent {seen}." if seen else "")


def _formatted(request: ChatRequest, command: Command) -> str:
    """Return JSON of the form that is asked for."""
    assert request.format
    if request.format.schema is None:
        return compact({"answer": _answer(command.text)})
    try:
        return compact(instance_of(request.format.schema))
    except NoInstance:
        return "No answer is found that fits the schema."


def _quoted(result: Result, request: ChatRequest) -> str:
    """Return what a tool answered, in short."""
    calls = (part for message in request.messages for part in message.parts if isinstance(part, Call))
    name = next((call.name for call in calls if call.id == result.call_id), "The tool")
    said, seen = " ".join(text_of(result.parts).split()), _described(result.parts)
    quote = f'"{said[:LONGEST_QUOTE]}{"…" if len(said) > LONGEST_QUOTE else ""}"' if said or not seen else ""
    return f"{name} {'failed' if result.is_error else 'answered'}: {' and '.join(filter(None, [quote, seen]))}."


def _described(parts: Iterable[Part]) -> str:
    """Return the images and documents in words."""
    return " and ".join(_in_words(part) for part in parts if isinstance(part, Image | Document))


def _in_words(part: Image | Document) -> str:
    name = f" {part.name}" if isinstance(part, Document) and part.name else ""
    article = "an" if part.kind == "image" else "a"
    if part.url:
        return f"the address of {article} {part.kind}{name}, which is not opened"
    size = images.size_of(part) if isinstance(part, Image) else None
    facts = [part.media_type or "text/plain", f"{_bytes(part):,} bytes", f"{size[0]} x {size[1]}" if size else ""]
    return f"{article} {part.kind}{name} ({', '.join(filter(None, facts))})"


def _bytes(part: Image | Document) -> int:
    if isinstance(part, Document) and part.text:
        return len(part.text.encode("utf-8", "replace"))
    return len(part.data.rstrip("=")) * 3 // 4


def _answer(message: str, seen: str = "") -> str:
    seed = crc32(message.encode("utf-8", "replace"))
    opening, middle, ending = OPENINGS[seed % 3], MIDDLES[seed // 3 % 3], ENDINGS[seed // 9 % 3]
    return " ".join(filter(None, [opening.format(topic=_topic(message)), seen, middle, ending, NOTICE]))


def _topic(message: str) -> str:
    """Two words of the message that may be what it is about, in its order."""
    words = dict.fromkeys(re.findall(r"[^\W\d_]{4,20}", message[:2_000].lower()))
    telling = [word for word in words if word not in COMMON]
    longest = sorted(telling, key=len, reverse=True)[:2]
    return " and ".join(word for word in telling if word in longest) or "that"


# --- in pieces --------------------------------------------------------------------------------------------------------
def _stopped(parts: tuple[Part, ...], stops: Iterable[str]) -> tuple[tuple[Part, ...], str]:
    """Return the parts up to the first of the client's stop texts, and that text."""
    *before, last = parts
    found = [(last.text.find(stop), stop) for stop in stops if isinstance(last, Text) and stop in last.text]
    if not found or not isinstance(last, Text):
        return parts, ""
    place, stop = min(found)
    return (*before, Text(last.text[:place])), stop


def _pieces(of: int, part: Part) -> Iterator[Piece]:
    """Yield the fragments of a part, each of them a token. The proof of a thought comes with its first."""
    if isinstance(part, Text):
        yield from (Piece(of, Text(word)) for word in WORD.findall(part.text))
    elif isinstance(part, Thinking):
        words = WORD.findall(part.text)
        yield from (Piece(of, Thinking(word, "" if n else part.signature)) for n, word in enumerate(words))
    elif isinstance(part, Call):
        yield Piece(of, part._replace(arguments=""))
        text = part.arguments
        yield from (Piece(of, Call("", "", text[i : i + FRAGMENT])) for i in range(0, len(text), FRAGMENT))
