"""The simulator answers plausibly, and misbehaves as a real provider would."""

from __future__ import annotations

import random

import pytest

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.providers.simulator import FAULTS, SimulatorProvider, SimulatorStream
from chat.types import ChatRequest, Message, Reply, Upstream
from tests.providers.streaming import said


@pytest.fixture
def slept(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(SimulatorProvider, "sleep", staticmethod(slept.append))
    return slept


def chat(text: str, max_tokens: int = 200) -> ChatRequest:
    return ChatRequest((Message.of("system", "Be brief."), Message.of("user", text)), max_tokens, 0.7)


def ask(text: str, *, max_tokens=200, latency=0.0, failure_rate=0.0, timeout=30.0) -> Reply:
    provider = SimulatorProvider(key="simulator", latency=latency, failure_rate=failure_rate)
    return provider.complete(chat(text, max_tokens), upstream=Upstream("any"), timeout=timeout)


def test_the_answer_reacts_to_the_message_without_repeating_it():
    question = "Please explain how photosynthesis works in tropical orchids, in a few words"
    reply = ask(question)
    assert "photosynthesis" in reply.text
    assert question not in reply.text
    assert ask("What is the capital of France?").text != reply.text
    assert ask(question) == reply


@pytest.mark.parametrize("text", ["", "?", "x" * 100_000, "\ud800", "日本語の質問です", "/faults"])
def test_any_message_gets_an_answer(text):
    assert ask(text).text


@pytest.mark.parametrize("max_tokens", [1, 5, 16])
def test_max_tokens_cuts_the_answer(max_tokens):
    reply = ask("Tell me a story", max_tokens=max_tokens)
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == max_tokens == len(reply.text.split())


def test_usage_of_a_whole_answer():
    reply = ask("Tell me a story " * 10)
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == len(reply.text.split()) < 200
    assert 40 <= reply.usage.prompt_tokens <= 60


def test_latency_is_slept_within_the_timeout(slept):
    ask("hi", latency=0.3)
    with pytest.raises(ProviderTimeoutError):
        ask("hi", latency=9, timeout=2)
    with pytest.raises(ProviderTimeoutError):
        ask("/fault timeout", latency=0.3)
    assert slept == [0.3, 2, 0.3]


def test_failure_rate(monkeypatch):
    monkeypatch.setattr(SimulatorProvider, "random", random.Random(1))
    raised = []
    for _ in range(300):
        try:
            ask("hi", failure_rate=0.5)
        except ProviderError as exc:
            raised.append(exc)
    kinds = {type(exc) for exc in raised}
    assert 100 < len(raised) < 200
    assert kinds == {ProviderUnavailableError, ProviderTimeoutError, ProviderRateLimitError}
    waits = {exc.retry_after for exc in raised if isinstance(exc, ProviderRateLimitError)}
    assert waits == {1, 2, 3, 4, 5}


def test_failure_rate_of_one_always_fails_but_not_a_wanted_answer():
    with pytest.raises(ProviderError):
        ask("hi", failure_rate=1)
    assert "rate_limit" in ask("/fault nonsense", failure_rate=1).text


@pytest.mark.parametrize(
    ("name", "expected", "code", "facts"),
    [
        ("rate_limit", ProviderRateLimitError, 429, {"retry_after": 7}),
        ("outage", ProviderUnavailableError, 503, {"retry_after": None}),
        ("timeout", ProviderTimeoutError, None, {}),
        ("garbage", InvalidProviderResponseError, 200, {}),
        ("truncated", InvalidProviderResponseError, 200, {}),
        ("rejected", ProviderRequestRejectedError, 400, {"reason": "content_policy"}),
        ("bad_key", ProviderError, 401, {}),
    ],
)
def test_faults(name, expected, code, facts):
    with pytest.raises(ProviderError) as caught:
        ask(f"  /fault {name} ")
    failed = caught.value
    assert type(failed) is expected
    assert failed.provider == "simulator"
    assert failed.status_code == code
    assert {key: getattr(failed, key) for key in facts} == facts
    assert failed.details.get("kind") == ("key" if name == "bad_key" else None)


def test_crash_is_a_bug_of_our_own():
    with pytest.raises(RuntimeError):
        ask("/fault crash")


@pytest.mark.parametrize("text", ["/fault", "/fault nonsense", "/fault RATE_LIMIT"])
def test_an_unknown_fault_is_answered_with_the_known_ones(text):
    reply = ask(text).text
    assert all(name in reply for name in FAULTS)


def test_a_fault_named_within_a_message_is_none():
    assert ask("What does /fault outage do?").finish_reason == "stop"


def stream(text: str, *, max_tokens=200, latency=0.0, failure_rate=0.0, timeout=30.0) -> SimulatorStream:
    provider = SimulatorProvider(key="simulator", latency=latency, failure_rate=failure_rate)
    return provider.stream(
        chat(text, max_tokens), upstream=Upstream("any"), timeout=timeout, idle_timeout=30.0, handover=15.0
    )


def pieces(stream: SimulatorStream) -> list[str]:
    return list(iter(lambda: said(stream, 1.0), None))


@pytest.mark.parametrize("max_tokens", [1, 5, 200])
def test_a_stream_says_what_complete_says(max_tokens):
    streamed, reply = stream("Tell me a story", max_tokens=max_tokens), ask("Tell me a story", max_tokens=max_tokens)
    assert streamed.finish_reason is streamed.usage is None
    words = pieces(streamed)
    assert "".join(words) == reply.text
    assert len(words) == len(reply.text.split())
    assert (streamed.finish_reason, streamed.usage) == (reply.finish_reason, reply.usage)
    streamed.close()
    assert streamed.next(0) is None


def test_a_stream_spreads_its_words_over_the_latency(slept):
    words = pieces(stream("Tell me a story", latency=0.6))
    assert slept == [pytest.approx(0.6 / len(words))] * len(words)


def test_silence_between_two_words(slept):
    streamed = stream("Tell me a story", max_tokens=2, latency=4.0)
    first, *rest = pieces(streamed)
    assert (rest[0], first + rest[1]) == ("", ask("Tell me a story", max_tokens=2).text)
    assert slept[:3] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("name", [name for name in FAULTS if "truncated" not in name and name != "crash"])
def test_a_fault_comes_before_the_first_word(name):
    with pytest.raises(ProviderError) as streamed:
        stream(f"/fault {name}")
    with pytest.raises(ProviderError) as completed:
        ask(f"/fault {name}")
    assert type(streamed.value) is type(completed.value)


def test_a_stream_fails_by_chance_and_in_time(slept):
    with pytest.raises(ProviderError):
        stream("hi", failure_rate=1.0)
    with pytest.raises(ProviderTimeoutError):
        stream("hi", max_tokens=1, latency=9.0, timeout=2.0)
    assert slept == [0.0, 2.0]


@pytest.mark.parametrize("max_tokens", [1, 200])
def test_a_truncated_stream_begins(max_tokens):
    streamed = stream("/fault truncated", max_tokens=max_tokens)
    assert streamed.next(1.0)
    with pytest.raises(InvalidProviderResponseError):
        pieces(streamed)
    assert streamed.finish_reason is streamed.usage is None


def test_a_truncated_stream_ends_half_way():
    streamed = stream("/fault truncated", max_tokens=20)
    assert len([said(streamed, 1.0) for _ in range(10)]) == 10
    with pytest.raises(InvalidProviderResponseError):
        streamed.next(1.0)


def test_a_closed_stream_goes_no_further():
    streamed = stream("hi")
    streamed.close()
    streamed.close()
    with pytest.raises(InvalidProviderResponseError):
        streamed.next(1.0)
