"""Secrets and quotations are found in whatever shape a provider returns them."""

from __future__ import annotations

import html
import json
import re
import time

import pytest

from chat.observability.redaction import NOT_COMPARED, cut_quotes, excerpt, mask_secrets

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Incorrect API key provided: sk-ab***yz. Find it", "Incorrect API key provided: *** Find it"),
        ("key sk-proj-abcDEF123_456 is", "key *** is"),
        ("sk-ant-api03-abc_def", "***"),
        ("gsk_abcdef123456", "***"),
        ("AIzaSyA1234567890abcdef", "***"),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("'authorization': 'Token abc'", "'authorization': '***'"),
        ("got Bearer abc.def, sorry", "got Bearer ***, sorry"),
        (f"Token {HEX}", "Token ***"),
        (f"seen {HEX.upper()} there", "seen *** there"),
        ("x-api-key: abc", "x-api-key: ***"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("?api_key=abc&n=1", "?api_key=***&n=1"),
        ("a=1&token=abc", "a=1&token=***"),
        ("password=p%40ss&x=1", "password=***&x=1"),
        ("key=abc secret=def refresh_token=ghi", "key=*** secret=*** refresh_token=***"),
        ("Cookie: sessionid=abc; theme=dark", "Cookie: ***"),
        ("sessionid=abc; csrftoken=def", "sessionid=***; csrftoken=***"),
        ("http://user:p4ss@host:80/x", "http://***@host:80/x"),
        ("postgres://u:p@ss@db/x", "postgres://***@db/x"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "***"),
    ],
)
def test_secrets_are_masked(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rate limit reached: Limit 30000, Used 29000, Requested 1500. Please try again in 1s",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "token limit exceeded; max_tokens=5, prompt_tokens: 7",
        "The task-based risk-free desk-side monkey",
        "see https://example.org/docs#errors for req_011CUB2XUHWkFnQzxcKBbjpF",
        "Token budget exceeded. User 5 has used 9500/10000 tokens.",
    ],
)
def test_plain_words_stay(text):
    assert mask_secrets(text) == text


@pytest.mark.parametrize("echo", ["correct-horse-battery", "key correct-horse ends", "…t-horse-battery."])
def test_a_given_secret_is_masked_whole_and_in_part(echo):
    masked = mask_secrets(echo, ["correct-horse-battery"])
    assert "horse" not in masked
    assert "***" in masked


def test_a_short_secret_is_masked_whole():
    assert mask_secrets("hunt22 and hunt23", ["hunt22"]) == "*** and hunt23"


def test_an_empty_secret_masks_nothing():
    assert mask_secrets("abc", ["", "a"]) == "abc"


@pytest.mark.parametrize(
    ("text", "contents", "cut"),
    [
        ("Invalid: 'the grey geese fly' given", ["Do the grey geese fly south?"], "Invalid: '[…]' given"),
        ("Invalid: GREY GEESE", ["grey geese"], "Invalid: […]"),
        ("hello there", ["hello"], "[…] there"),
        ("hellos", ["hello"], "hellos"),
        ("seven77 is not more", ["is more", "seven77"], "[…] is not more"),
        ("nothing shared at all", ["entirely different words"], "nothing shared at all"),
        ("short: 1234567", ["x1234567x"], "short: 1234567"),
        ("short: 12345678", ["x12345678x"], "short: […]"),
        ("İstanbul’da güneş", ["güneşli İSTANBUL’da"], "[…] güneş"),
        ("empty", ["", "   "], "empty"),
        ("", ["whatever else"], ""),
        ("one two three four and five six seven", ["one two three four", "five six seven"], "[…] and […]"),
    ],
)
def test_quotations_are_cut(text, contents, cut):
    assert cut_quotes(text, contents) == cut


@pytest.mark.parametrize("escape", [json.dumps, lambda text: json.dumps(text, ensure_ascii=False), html.escape])
def test_escaped_quotations_are_cut(escape):
    content = 'Мой "секрет"\n & <тег>'
    assert cut_quotes(f"input was {escape(content)}", [content]).replace('"', "") == "input was […]"


def test_excerpt_cuts_masks_and_shortens():
    text = "You said my dog is called Rex with Bearer abc. " + "so " * 3000
    result = excerpt(text, ["my dog is called Rex"])
    assert result.startswith("You said […] with Bearer *** so so")
    assert len(result) == 500


def test_excerpt_of_nothing_but_a_quotation():
    assert excerpt("secret words " * 1000, ["secret words " * 1000]) == "[…]"


def test_excerpt_is_fit_for_any_log():
    assert excerpt("a\ud800b\x00c", []) == "a?bc"


WORST = [
    *("a_", "a", "*", "key ", "cookie  ", "a://", "eyJ-", "eyJaaaaaaaaa.", "token\t", "basic ", "bearer ", "sk-"),
    *("0123456789abcdef", "authorization ", "authorization: ", "key: ", "key provided ", "api_key=", "\"'", "-"),
    *("_key ", "AIza"),
]


@pytest.mark.parametrize("hostile", WORST)
def test_twice_the_text_takes_twice_the_time(hostile):
    def cost(length):
        text = (hostile * length)[:length]
        return min(timed(mask_secrets, text) for _ in range(5))

    assert cost(120_000) < 3 * cost(60_000) + 0.005 or cost(120_000) < 3 * cost(60_000) + 0.005  # machines are noisy


@pytest.mark.parametrize("length", [1_000_000, 4_000_000])
def test_what_is_done_for_the_log_is_bounded_however_long_the_chat(length):
    short = "the quick brown fox jumps over the lazy dog again " * 3_000
    text = "Something is wrong with 'the lazy cat'. " * 50
    bounded = min(timed(excerpt, text, [short]) for _ in range(3))
    assert min(timed(excerpt, text, ["x" * length]) for _ in range(3)) < bounded
    assert min(timed(excerpt, text, ["x" * 10] * (length // 10)) for _ in range(3)) < 20 * bounded


def timed(work, *arguments):
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def test_a_long_chat_is_compared_too_and_of_a_very_long_one_no_word_is_kept():
    words = [f"w{number * 7919 % 100_000}" for number in range(20_000)]
    content = " ".join(words)
    quoted = " ".join(words[9_000:9_010])
    assert re.fullmatch(r"You[ said]*\[…\][ and]* more", excerpt(f"You said {quoted} and more", [content]))
    assert excerpt("You said something", [content * 2]) == NOT_COMPARED
    assert excerpt("", [content * 2]) == ""
