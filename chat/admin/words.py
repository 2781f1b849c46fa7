"""The words of the records and budgets, explained where they stand."""

from __future__ import annotations

STATES = {
    "reserved": "The chat is running: its tokens are set aside, and nothing is charged yet.",
    "settled": "The answer is complete and charged.",
    "truncated": "The answer broke off; what came of it is charged.",
    "released": "There was no answer: what was reserved went back, and nothing is charged.",
    "reclaimed": "The worker was lost in the middle: what was reserved went back once it had expired.",
    "refused": "The request never reached a provider: its budget, its rate or its form was the reason.",
}
FIGURES = {
    "reserved tokens": "What was set aside before the provider was asked: the prompt and the longest answer allowed.",
    "overrun": "How far the charge went beyond what was reserved.",
    "uncharged": "Tokens that providers billed us for answers that could not be used; the user does not pay them.",
    "estimated": "The provider did not say how many tokens it took, so we counted ourselves.",
}
