"""A provider that is always at home: it answers without a network, and fails on request.

A last user message `/fault NAME` makes it misbehave on purpose; an unknown NAME is answered with the known ones.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from zlib import crc32

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError
from chat.protocols import openai
from chat.protocols.payload import Response, UnusableReply
from chat.providers.reading import Reading
from chat.types import ChatRequest, Delta, FinishReason, Reply, Tick, Upstream, Usage

CHARS_PER_TOKEN = 4

ERRORS = {
    "rate_limit": (429, "requests", "rate_limit_exceeded"),
    "outage": (503, "service_unavailable_error", "server_is_overloaded"),
    "rejected": (400, "invalid_request_error", "content_policy_violation"),
    "bad_key": (401, "invalid_request_error", "invalid_api_key"),
}
"""Faults that a real provider would report: status, `error.type`, `error.code`."""

FAULTS = (*ERRORS, "timeout", "garbage", "truncated", "crash")
RANDOM_FAULTS = ("outage", "timeout", "rate_limit")

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


class SimulatorProvider:
    """Answers after `latency` seconds; `failure_rate`, from 0 to 1, is the share of calls that fail as a provider's
    would. The same conversation gets the same answer."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    random = random.Random()

    def __init__(self, *, key: str, latency: float, failure_rate: float) -> None:
        self.key = key
        self.latency = latency
        self.failure_rate = failure_rate

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """See `Provider.refuses`. It takes everything, and reads nothing but the messages and the limit."""
        return ""

    def prompt_tokens(self, request: ChatRequest, upstream: Upstream, words: int) -> int:
        """See `Provider.prompt_tokens`."""
        return words

    def tells_users_apart(self, upstream: Upstream) -> bool:
        """See `Provider.tells_users_apart`."""
        return False

    def models(self, timeout: float) -> list[str]:
        """See `Provider.models`. It answers under any name, and has none of its own."""
        return []

    def complete(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> Reply:
        """See `Provider.complete`. Also raises `RuntimeError`, a bug of our own, for `/fault crash`."""
        self._wait(self.latency, timeout)
        if fault := self._fault(request):
            raise fault
        return _reply(request)

    def stream(
        self, request: ChatRequest, *, upstream: Upstream, timeout: float, idle_timeout: float, handover: float
    ) -> SimulatorStream:
        """See `Provider.stream`: the words of `complete`'s answer, spread over `latency`; raises what that raises,
        except that the text of `/fault truncated` begins and then breaks off."""
        truncated = _command(request) == "truncated"
        fault = None if truncated else self._fault(request)
        reply = _reply(request)
        pause = self.latency / len(reply.text.split(" "))
        self._wait(self.latency if fault else pause, timeout)
        if fault:
            raise fault
        return SimulatorStream(reply, pause, self.sleep, self._truncated() if truncated else None)

    def _wait(self, seconds: float, timeout: float) -> None:
        self.sleep(max(0.0, min(seconds, timeout)))
        if seconds > timeout:
            raise self._timed_out(timeout)

    def _fault(self, request: ChatRequest) -> Exception | None:
        """Return the failure that was asked for, or that chance brings."""
        if (name := _command(request)) is not None:
            return self._failure(name, retry_after=7) if name in FAULTS else None
        if self.random.random() < self.failure_rate:
            return self._failure(self.random.choice(RANDOM_FAULTS), retry_after=self.random.randint(1, 5))
        return None

    def _failure(self, name: str, retry_after: int) -> Exception:
        if name == "crash":
            return RuntimeError("The simulator was asked to crash.")
        if name == "timeout":
            return self._timed_out(self.latency)
        if name == "truncated":
            return self._truncated()
        return self._answered(name, retry_after)

    def _answered(self, name: str, retry_after: int) -> ProviderError:
        """Return what a real provider's answer would have become, by the same tables."""
        reading = Reading(openai, self.key, ChatRequest())
        if name == "garbage":
            page = Response(200, {"content-type": "text/html"}, b"<html>Simulated garbage.</html>")
            return reading.unusable(page, UnusableReply("no JSON object"))
        status, kind, code = ERRORS[name]
        error = {"message": f"Simulated: {name}.", "type": kind, "param": None, "code": code}
        headers = {"retry-after": str(retry_after)} if status == 429 else {}
        return reading.failed(Response(status, headers, json.dumps({"error": error}).encode()))

    def _timed_out(self, seconds: float) -> ProviderTimeoutError:
        return ProviderTimeoutError(self.key, None, f"no complete answer from {self.key} after {seconds:.1f} s")

    def _truncated(self) -> InvalidProviderResponseError:
        return InvalidProviderResponseError(self.key, 200, f"the answer of {self.key} broke off")


class SimulatorStream:
    """The words of a reply, one each `pause` seconds; half of them where the stream ends with a `failure`."""

    def __init__(
        self, reply: Reply, pause: float, sleep: Callable[[float], None], failure: ProviderError | None
    ) -> None:
        words: list[str] = re.findall(r"\S+\s*", reply.text)
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.stop_sequence = ""
        self.verbatim = False
        self._reply, self._pause, self._sleep, self._failure = reply, pause, sleep, failure
        self._words = words[: max(1, len(words) // 2)] if failure else words
        self._owed = 0.0

    def next(self, seconds: float) -> Delta | Tick | None:
        """See `ChatStream.next`."""
        if self._owed > 0:
            slept = min(self._owed, seconds)
            self._sleep(slept)
            self._owed -= slept
            if self._owed > 0:
                return Tick()
        if self._words:
            self._owed = self._pause if len(self._words) > 1 else 0.0
            return Delta.of(self._words.pop(0))
        if self._failure:
            raise self._failure
        self.finish_reason, self.usage = self._reply.finish_reason, self._reply.usage
        return None

    def close(self) -> None:
        """See `ChatStream.close`."""
        if not self.finish_reason:
            self._words = []
            self._failure = self._failure or InvalidProviderResponseError("simulator", None, "the stream was closed")


def _last(request: ChatRequest) -> str:
    return next((m.text.strip() for m in reversed(request.messages) if m.role == "user"), "")


def _command(request: ChatRequest) -> str | None:
    """Return the name of the fault that the last user message asks for, or None if it does not ask."""
    command, _, name = _last(request).partition(" ")
    return name.strip() if command == "/fault" else None


def _answer(message: str) -> str:
    seed = crc32(message.encode("utf-8", "replace"))
    parts = (OPENINGS[seed % 3].format(topic=_topic(message)), MIDDLES[seed // 3 % 3], ENDINGS[seed // 9 % 3], NOTICE)
    return " ".join(parts)


def _topic(message: str) -> str:
    """Two words of the message that may be what it is about, in its order."""
    words = dict.fromkeys(re.findall(r"[^\W\d_]{4,20}", message[:2_000].lower()))
    telling = [word for word in words if word not in COMMON]
    longest = sorted(telling, key=len, reverse=True)[:2]
    return " and ".join(word for word in telling if word in longest) or "that"


def _reply(request: ChatRequest) -> Reply:
    asked = _command(request) not in (None, "truncated")
    text = f"Known faults: {', '.join(FAULTS)}. Send one as /fault NAME." if asked else _answer(_last(request))
    words = text.split(" ")
    cut = len(words) > request.max_tokens
    finish_reason: FinishReason = "length" if cut else "stop"
    said = words[: request.max_tokens]
    prompt = sum(len(message.text) // CHARS_PER_TOKEN + 1 for message in request.messages)
    return Reply.of(" ".join(said), finish_reason, Usage(prompt, len(said)))
