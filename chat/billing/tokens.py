"""The count of tokens: the estimate of a prompt before anything is sent, and what an answer cost.

A budget needs a number that is not too small: what is reserved too much is given back when the provider reports, what
was reserved too little is spent already. So this leans above what the common byte-level BPE vocabularies give, and
needs none of them, since each model has another one and some are secret. The numbers were fitted to prose in thirty
languages, code, JSON and random strings; `tests/billing/test_tokens.py` holds true counts to keep them honest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isqrt

from chat.types import Usage

# Prices are whole twentieths of a token, so that a price fits a byte and the sum stays exact.
TOKEN = 20

# A word is about one token up to five letters and pays for each further letter. Words of other languages, identifiers
# and random strings break into more pieces, and they betray themselves by letters that are rare in English.
WORD = re.compile(rb"[A-Za-z]{1,5}([A-Za-z]*)")
WORD_PRICE = 16
FURTHER_LETTER_PRICE = 7

# Most vocabularies part a number from the space and letters before it, so many short ones cost more than a long one.
NUMBER = re.compile(rb"[0-9]+")
NUMBER_PRICE = 30

# The error of a sum grows with the root of its length: short texts need the most room, long ones hardly any.
ROOM = 60
ROOM_PER_ROOT_BYTE = 9

# What a byte adds. The first byte of a UTF-8 sequence tells the script and pays for the whole character.
BYTE_PRICES: dict[bytes, int] = {
    b"bmuy": 6,
    b"jkqvwxz": 16,
    b"ABCDEFGHILMNOPRSTU": 5,
    b"JKQVWXYZ": 20,
    b"0123456789": 9,
    b'"': 9,
    b"()./:;=>_`]": 6,
    b"%+-{}~": 17,
    b"!#$&'*<?@[\\^|,": 24,
    b" ": 1,
    b"\t": 2,
    b"\r": 8,
    b"\n": 20,
    bytes(range(0x09)) + bytes((0x0B, 0x0C, *range(0x0E, 0x20))) + b"\x7f": 20,
    bytes(range(0xC2, 0xC6)): 30,  # accented Latin
    bytes(range(0xC6, 0xCE)): 34,  # rarer Latin, phonetics, combining marks
    bytes(range(0xCE, 0xD0)): 30,  # Greek
    bytes(range(0xD0, 0xD2)): 17,  # Cyrillic
    bytes(range(0xD2, 0xD6)): 40,  # rarer Cyrillic, Armenian
    bytes(range(0xD6, 0xD8)): 22,  # Hebrew
    bytes(range(0xD8, 0xDC)): 23,  # Arabic
    bytes(range(0xDC, 0xE1)): 40,  # Syriac to Thai, with the scripts of India
    b"\xe1": 44,  # Georgian, Khmer, Vietnamese
    b"\xe2": 34,  # dashes, quotes, symbols, box drawing
    b"\xe3": 17,  # kana
    bytes(range(0xE4, 0xEA)): 44,  # Chinese characters
    bytes(range(0xEA, 0xEE)): 32,  # Hangul
    bytes(range(0xEE, 0xF0)): 40,  # private use, full-width forms
    bytes(range(0xF0, 0xF5)): 78,  # emoji and everything else beyond 16 bits
}
PRICE_OF_BYTE = bytes(sum(price for members, price in BYTE_PRICES.items() if byte in members) for byte in range(256))

# The wrapping of a turn (start, role, separator, end), and the words that open the answer.
MESSAGE_TOKENS = 4
REPLY_TOKENS = 3
STRICT_MESSAGE_TOKENS = 8

MOST_WORDS_A_TOKEN = 4
"""Words of an answer for each token reported, above which the report is no count of that answer. A word takes at least
one token in all known vocabularies."""
MOST_ESTIMATED_A_TOKEN = 25
"""Tokens of our own estimate for each token reported, likewise: for scripts that write no spaces."""


def estimate_text(text: str) -> int:
    """About the tokens in `text`, seldom below the true count and never more than its UTF-8 bytes."""
    data = _encode(text)
    further_letters = WORD.findall(data)
    price = sum(data.translate(PRICE_OF_BYTE))
    price += len(further_letters) * WORD_PRICE + len(b"".join(further_letters)) * FURTHER_LETTER_PRICE
    price += len(NUMBER.findall(data)) * NUMBER_PRICE + ROOM + isqrt(len(data)) * ROOM_PER_ROOT_BYTE
    return min(-(-price // TOKEN), len(data))


def estimate_prompt(texts: Sequence[str], *, strict: bool = False) -> int:
    """About the tokens a provider will count for a prompt of these texts, a message each.

    `strict` gives a bound that no byte-level BPE can pass (unless it first rewrites the text, as NFKC does to a few
    ligatures), about three times the estimate on English.
    """
    if strict:
        return sum(len(_encode(text)) + STRICT_MESSAGE_TOKENS for text in texts)
    # Together, so that the room for error is given once and not for each turn of a long conversation.
    return estimate_text("\n".join(texts)) + len(texts) * MESSAGE_TOKENS + REPLY_TOKENS


def counted(prompt_tokens: int, text: str, limit: int) -> Usage:
    """Return our own estimate, which is on the high side; but the answer was limited to `limit` tokens."""
    return Usage(prompt_tokens, min(estimate_text(text), limit))


def believed(reported: Usage | None, estimate: Usage, text: str) -> tuple[Usage, bool]:
    """Return the cost of `text`, and whether any half of it is our own estimate: a half that the text contradicts is no
    report."""
    if reported is None:
        return estimate, True
    prompt, completion = reported.prompt_tokens or estimate.prompt_tokens, reported.completion_tokens
    contradicted = len(text.split()) > completion * MOST_WORDS_A_TOKEN
    if (text and not completion) or contradicted or estimate.completion_tokens > completion * MOST_ESTIMATED_A_TOKEN:
        completion = max(completion, estimate.completion_tokens)
    return reported._replace(prompt_tokens=prompt, completion_tokens=completion), (prompt, completion) != reported[:2]


def _encode(text: str) -> bytes:
    # JSON can carry half of a surrogate pair, which plain UTF-8 refuses.
    return text.encode("utf-8", "surrogatepass")
