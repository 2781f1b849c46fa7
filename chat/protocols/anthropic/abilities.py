"""What each of Anthropic's models takes, and what it counts a prompt as."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols import images
from chat.protocols.anthropic.subset import fits
from chat.types import SAMPLING, ChatRequest, Opaque, Part, Result, Thinking, Upstream, compact

NAME = "anthropic"
MODEL = re.compile(r"claude-(?:[a-z]+-)*(\d+)(?:[-.](\d{1,2})(?!\d))?")
"""A model's name, with its version: claude-haiku-4-5-20251001 is of 4.5, claude-opus-4-20250514 of 4."""
WITHOUT_SAMPLING = (4, 7)
"""The first version that refuses sampling fields, counts more tokens, and sees larger images. Source: Anthropic's
migration guide to Claude Opus 4.7."""
THINKS, ADAPTS = (3, 7), (4, 6)
"""The first version that thinks, and the first that itself finds how much."""
ALWAYS_THINKING = re.compile(r"claude-opus-(?:5[-.][5-9](?!\d)|[6-9]|\d\d)(?!\d{3})")
LARGER = 1.35
TOOLS_PROMPT = 850
"""Tokens of the prompt by which the API tells a model of tools, and about those of a tool whose definition it has."""
HIDDEN = 4
"""Characters of what nobody reads here that count as a token: about as many as of plain text."""


def takes(name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
    """See `Protocol.takes`. Source: Anthropic's API reference and its migration guides."""
    if name in SAMPLING:
        return _takes_sampling(name, asked, upstream, verbatim)
    if name == "stop":
        return all(text.strip() for text in asked["stop"])
    if verbatim:
        return True
    if name in ("name", "n"):
        return False  # models read names, so to leave one out would change the conversation
    if name == "effort":
        return _takes_effort(asked["effort"], upstream)
    if name == "choice":  # a model that thinks cannot be forced
        return asked["choice"].mode not in ("any", "tool") or not ALWAYS_THINKING.search(upstream.model)
    if name == "tools":
        return all(fits(tool.parameters) for tool in asked["tools"] if tool.strict)
    return name != "format" or (asked["format"].schema is not None and fits(asked["format"].schema))


def _takes_sampling(name: str, asked: Mapping[str, Any], upstream: Upstream, verbatim: bool) -> bool:
    if version_of(upstream) >= WITHOUT_SAMPLING:
        return False
    thinks = not verbatim and version_of(upstream) >= THINKS and asked.get("effort", "none") != "none"
    # The two are refused together, so the one that asks for nothing gives way.
    temperature, top_p = float(asked.get("temperature", 1)), float(asked.get("top_p", 1))
    taken = temperature == 1 if name == "top_p" else temperature < 1 or temperature == top_p == 1
    return taken and not thinks


def _takes_effort(effort: str, upstream: Upstream) -> bool:
    if version_of(upstream) < THINKS:
        return True  # of a model that does not think, it is no more than a hint
    if effort == "none":
        return not ALWAYS_THINKING.search(upstream.model)
    return version_of(upstream) >= ADAPTS


def version_of(upstream: Upstream) -> tuple[int, int]:
    """Return the version in the name of a model, zeros for one that is not of Anthropic's."""
    found = MODEL.search(upstream.model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def prompt_tokens(request: ChatRequest, upstream: Upstream, words: int) -> int:
    """See `Protocol.prompt_tokens`. Source: Anthropic's guides to vision, to PDFs, to tools and to Claude Opus 4.7."""
    newer = version_of(upstream) >= WITHOUT_SAMPLING
    counted = words + (TOOLS_PROMPT if request.tools else 0)
    counted += _hidden(request) if request.is_verbatim(NAME) else 0
    return round(counted * (LARGER if newer else 1)) + sum(
        images.claude_tokens(part, larger=newer) for part in request.media()
    )


def _hidden(request: ChatRequest) -> int:
    """Return about the tokens of what nobody reads here: thoughts that are encrypted, the vendor's own blocks and
    tools."""
    length = 0
    for part in _parts(request):
        if isinstance(part, Thinking):
            length += len(part.signature)
        elif isinstance(part, Opaque):
            length += len(compact(part.data))
    listed = request.raw.body.get("tools") if request.raw else None
    own = [tool for tool in listed or () if tool.get("type") not in (None, "custom")]
    return (length + sum(len(compact(tool)) for tool in own)) // HIDDEN + len(own) * TOOLS_PROMPT


def _parts(request: ChatRequest) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, Result):
                yield from part.parts
