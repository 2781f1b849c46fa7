"""The tokens that an answer cost: the provider's report where that can be believed, else our own estimate."""

from __future__ import annotations

from chat.billing import tokens
from chat.types import Usage

MOST_WORDS_A_TOKEN = 4
"""Words of an answer for each token reported, above which the report is no count of that answer. A word takes at least
one token in all known vocabularies."""
MOST_ESTIMATED_A_TOKEN = 25
"""Tokens of our own estimate for each token reported, likewise: for scripts that write no spaces."""


def counted(prompt_tokens: int, text: str, limit: int) -> Usage:
    """Return our own estimate, which is on the high side; but the answer was limited to `limit` tokens."""
    return Usage(prompt_tokens, min(tokens.estimate_text(text), limit))


def believed(reported: Usage | None, estimate: Usage, text: str) -> tuple[Usage, bool]:
    """Return the cost of `text`, and whether any half of it is our own estimate: a half that the text contradicts is no
    report."""
    if reported is None:
        return estimate, True
    prompt, completion = reported.prompt_tokens or estimate.prompt_tokens, reported.completion_tokens
    contradicted = len(text.split()) > completion * MOST_WORDS_A_TOKEN
    if (text and not completion) or contradicted or estimate.completion_tokens > completion * MOST_ESTIMATED_A_TOKEN:
        completion = max(completion, estimate.completion_tokens)
    return Usage(prompt, completion), (prompt, completion) != reported
