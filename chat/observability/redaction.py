"""What must not be read by others, taken out of text before it is logged: secrets, and the users' own words.

Every function here takes any string, never raises, and works in time linear in its arguments, since part of the text
is a stranger's. `mask` is the log's own step.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache

from structlog.typing import EventDict, WrappedLogger

MASK = "***"
CUT = "[…]"
CLOSELY_COMPARED = 8_000
"""Characters of a chat that a text is compared with at every place. In a longer one only each eighth place is looked
at, so that a quotation counts from 15 characters on."""
MOST_COMPARED = 160_000
"""Characters of a chat that a text is compared with at all. Of a longer one nobody could say in good time that a text
does not quote it, so no word of the text is kept."""
NOT_COMPARED = "[not kept: the chat is too long to be compared]"
EXAMINED = 4_000
"""Characters of a provider's text that `excerpt` looks at."""
SHORTEST_QUOTE = 8
"""Characters that text and a message must share in a row to count as a quotation."""
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAY_QUOTE = ("exception", "detail")
FIRST = ("timestamp", "level", "event", "request_id")
OWN = {"timestamp", "level"}
PLAIN = {bool, int, float, type(None)}

_private: ContextVar[tuple[str, ...]] = ContextVar("private", default=())

_NAMES = (
    r"(?:[\w-]{0,40}[_-])?(?:api[_-]?key|key|token|secret|password|passwd|pwd|signature|credential)"
    r"|apikey|accesstoken|authtoken|sessionid|csrftoken"
)
_SPELT_OUT = r"(?:[\w-]{0,40}[_-])?(?:api[_-]?key|token|secret|password|passwd)|apikey|accesstoken|authtoken"

_PATTERNS = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in [
        (r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s/?#\"'<>]{1,512}@", rf"\1{MASK}@"),
        (r"\b((?:set-)?cookie[\"']?\s*:\s*)[^\r\n]+", rf"\1{MASK}"),
        (r"\b(authorization[\"']?\s*[:=]\s*[\"']?)(?:[a-z]+\s+)?[^\s\"',;]+", rf"\1{MASK}"),
        (r"\b(bearer\s+)[^\s\"',;]+", rf"\1{MASK}"),
        # "Token" is an English word, too: what follows counts as a key only if it cannot be one of English.
        (r"\b((?:token|basic)\s+)(?=[^\s\"',;]*\d|[^\s\"',;]{16})[\w.~+/=-]{6,}", rf"\1{MASK}"),
        (rf"(?<![\w-])((?:{_NAMES})[\"']?\s*=\s*[\"']?)[^\s\"'&,;#}}]+", rf"\1{MASK}"),
        (rf"(?<![\w-])((?:{_SPELT_OUT})[\"']?\s*:\s*[\"']?)[^\s\"'&,;}}]+", rf"\1{MASK}"),
        (r"\b(key(?:\s+provided)?:\s*[\"']?)[^\s\"',;]+", rf"\1{MASK}"),
        (r"\b(?:sk|pk|rk|gsk|xai|pplx|nvapi|hf|r8|ghp|gho|ghs|glpat|github_pat)[-_][\w*.…-]{3,}", MASK),
        (r"\bAIza[\w*.…-]{4,}", MASK),
        # Only at the start of a run, or each of its letters would look through all of the rest.
        (r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", MASK),
        (r"\b[0-9a-f]{64,}\b", MASK),
        (r"(?:[\w-]{1,64}\*{3,}|(?<!\*)\*{3,}(?=[\w-]))[\w*-]*", MASK),
    ]
]


def mask_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with each credential replaced by `***`: what looks like one, and each of `secrets`, whole or in part."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
            text = _replace_spans(text, _shared_runs(text, [secret]), MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def cut_quotes(text: str, contents: Iterable[str]) -> str:
    """`text` with everything that it quotes from `contents` replaced by `[…]`.

    A quotation is a run of 8 or more characters that both share, in any case and as JSON or HTML would escape it. A
    content that is itself shorter counts where it stands as a whole word.
    """
    kept = [content.strip() for content in contents]
    long = [form for content in kept if len(content) >= SHORTEST_QUOTE for form in _written_forms(content)]
    stride = 1 if sum(map(len, kept)) <= CLOSELY_COMPARED else SHORTEST_QUOTE
    text = _replace_spans(text, _shared_runs(text, long, stride), CUT)
    short = sorted({content for content in kept if 0 < len(content) < SHORTEST_QUOTE}, key=len, reverse=True)
    if short:
        words = "|".join(map(re.escape, short))
        text = re.sub(rf"(?<!\w)(?:{words})(?!\w)", CUT, text, flags=re.IGNORECASE)
    return text


def too_long(contents: Collection[str]) -> bool:
    """Return whether `contents` are too long to be compared with a text."""
    return sum(map(len, contents)) > MOST_COMPARED


def keep_private(contents: Iterable[str]) -> None:
    """Make `contents` what `cut_private` cuts, for this request and the threads that it starts."""
    _private.set(tuple(contents))


def cut_private(text: str) -> str:
    """Return `text`, a traceback or a message, without quotations of the current request's chat. Of a traceback, the
    lines of code are ours."""
    contents = _private.get()
    if not contents:
        return text
    if not too_long(contents):
        return cut_quotes(text, contents)
    ours = [line for line in text.splitlines() if line.startswith(("  ", "Traceback ("))]
    return "\n".join([*ours, NOT_COMPARED])


def mask(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Mask keys, tokens and cookies in every string of the event, at any depth, and cut what a traceback and its
    exception's own words quote from the chat being served.

    What a reader looks for comes first.
    """
    if "exception" in event:  # no other line has words that are not our own, and the cut of a long chat is slow
        for key in MAY_QUOTE:
            if isinstance(event.get(key), str):
                event[key] = cut_private(event[key])
    first = {key: event.pop(key) for key in FIRST if key in event}
    return {key: value if key in OWN else _masked(value) for key, value in (first | dict(event)).items()}


def _masked(value: object) -> object:
    if type(value) in PLAIN:
        return value
    if isinstance(value, str):
        return _mask_short(value) if len(value) <= 64 else mask_secrets(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return _masked(str(value))


@lru_cache(4096)
def _mask_short(text: str) -> str:
    """Most values of a line stand in the next one, too, and the request's id is nearly always of one shape."""
    return text if UUID.fullmatch(text) else mask_secrets(text)


def excerpt(text: str, contents: Collection[str], secrets: Iterable[str] = (), limit: int = 500) -> str:
    """Return at most `limit` characters from the start of a provider's text that may go into the log: no quotes of
    `contents`, no credentials."""
    if text and too_long(contents):
        return NOT_COMPARED
    text = mask_secrets(cut_quotes(text[:EXAMINED], contents), secrets)
    text = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def for_the_client(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a provider's text that may go to the client who caused it: no credentials, none of our accounts."""
    text = mask_secrets(text[:EXAMINED], secrets)
    return re.sub(r"\b(?:org|proj|organization|workspace|wrkspc|acct)[-_][A-Za-z0-9]{8,}", MASK, text)


def _written_forms(content: str) -> set[str]:
    return {
        content,
        json.dumps(content)[1:-1],
        json.dumps(content, ensure_ascii=False)[1:-1],
        html.escape(content),
    }


def _fold(text: str) -> str:
    # The two letters whose lower case is longer than themselves, or depends on their neighbours, would shift or hide
    # what follows them.
    return text.replace("İ", "i").lower().replace("ς", "σ")


def _shared_runs(text: str, contents: Iterable[str], stride: int = 1) -> list[tuple[int, int]]:
    """Where `text` has a run of 8 or more characters in common with any of `contents`, as (start, end)."""
    width = SHORTEST_QUOTE
    folded = _fold(text)
    windows = {folded[i : i + width] for i in range(len(folded) - width + 1)}
    found: set[str] = set()
    for content in contents:
        # Collecting the content's windows, not the text's, keeps one pass over a content of megabytes at one set
        # look-up a character.
        found |= windows.intersection(_windows(_fold(content), width, stride))
    more = stride - 1  # the ends of a quotation, which lie between two places
    spans: list[tuple[int, int]] = []
    for i in range(len(folded) - width + 1) if found else ():
        if folded[i : i + width] not in found:
            continue
        start, end = max(i - more, 0), i + width + more
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _windows(text: str, width: int, stride: int) -> Iterator[str]:
    return (text[i : i + width] for i in range(0, len(text) - width + 1, stride))


def _replace_spans(text: str, spans: list[tuple[int, int]], replacement: str) -> str:
    for start, end in reversed(spans):
        text = text[:start] + replacement + text[end:]
    return text
