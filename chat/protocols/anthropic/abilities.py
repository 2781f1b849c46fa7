"""What each of Anthropic's models takes, and what it counts a prompt as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.protocols import fields, images
from chat.protocols.anthropic.body import NAME
from chat.protocols.anthropic.subset import fits
from chat.types import SAMPLING, ChatRequest, Upstream

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
OWN_TOOL = re.compile(r"tools\[\d+\]\.type")
"""The place at which a tool says that its definition is the vendor's."""


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
    if request.is_verbatim(NAME):
        own_tools = sum(OWN_TOOL.fullmatch(need.path) is not None for need in request.needs)
        counted += fields.hidden_tokens(request) + own_tools * TOOLS_PROMPT
    return round(counted * (LARGER if newer else 1)) + sum(
        images.claude_tokens(part, larger=newer) for part in request.media()
    )
