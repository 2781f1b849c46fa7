"""The simulator as a provider: whole answers and streams after a while, and failures by command or by chance."""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError
from chat.protocols import embeddings, fields, openai
from chat.protocols.payload import Response, UnusableReply
from chat.providers.reading import Reading
from chat.providers.simulator.answers import answer_to, broken_off, media_tokens, prompt_tokens
from chat.providers.simulator.commands import ERRORS, FAULTS, TRUNCATED, Command, command_of
from chat.providers.simulator.vectors import embedded
from chat.types import CONTENT, SIMULATOR, ChatRequest, Delta, FinishReason, Piece, Reply, Tick, Upstream, Usage

RANDOM_FAULTS = ("outage", "timeout", "rate_limit")


class SimulatorProvider:
    """Answers after `latency` seconds; `failure_rate`, from 0 to 1, is the share of calls that fail as a provider's
    would. The same conversation gets the same answer."""

    NAME = SIMULATOR
    CARRIES = frozenset((*CONTENT, "verbosity", "client_tool", "custom_tool"))
    """What it can be asked with; tools that are no functions it never calls."""
    sleep: Callable[[float], None] = staticmethod(time.sleep)
    random = random.Random()

    def __init__(self, *, key: str, latency: float, failure_rate: float) -> None:
        self.key = key
        self.latency = latency
        self.failure_rate = failure_rate

    def refuses(self, request: ChatRequest, upstream: Upstream) -> str:
        """See `Provider.refuses`. It takes what all vendors have, and nothing that is one vendor's own."""
        forced = next((need.path for need in request.needs if need.path.startswith("tool_choice")), "")
        return fields.refused(request, upstream, self) or forced

    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream, *, verbatim: bool) -> bool:
        """See `Protocol.takes`."""
        return name != "n"

    def prompt_tokens(self, request: ChatRequest, upstream: Upstream, words: int) -> int:
        """See `Provider.prompt_tokens`."""
        if request.is_verbatim(embeddings.NAME):
            return embeddings.prompt_tokens(request, upstream, words)
        return words + media_tokens(request)

    def tells_users_apart(self, upstream: Upstream) -> bool:
        """See `Provider.tells_users_apart`."""
        return False

    def models(self, timeout: float) -> list[str]:
        """See `Provider.models`. It answers under any name, and has none of its own."""
        return []

    def count_tokens(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> int | None:
        """See `Provider.count_tokens`."""
        return prompt_tokens(request)

    def complete(self, request: ChatRequest, *, upstream: Upstream, timeout: float) -> Reply:
        """See `Provider.complete`. Also raises `RuntimeError`, a bug of our own, for `/fault crash`."""
        self._wait(self.latency, timeout)
        command = command_of(request)
        if fault := self._fault(command):
            raise fault
        return embedded(request) if request.is_verbatim(embeddings.NAME) else answer_to(request, command)[1]

    def stream(
        self, request: ChatRequest, *, upstream: Upstream, timeout: float, idle_timeout: float, handover: float
    ) -> SimulatorStream:
        """See `Provider.stream`: the pieces of `complete`'s answer, spread over `latency`; raises what that raises,
        except that the answer of `/fault truncated` begins and then breaks off."""
        command = command_of(request)
        fault = None if command.breaks_off else self._fault(command)
        pieces, reply = answer_to(request, command)
        pause = self.latency / max(len(pieces), 1)
        self._wait(self.latency if fault else pause, timeout)
        if fault:
            raise fault
        if command.breaks_off:
            return SimulatorStream(broken_off(pieces, command), reply, pause, self.sleep, self._truncated())
        return SimulatorStream(pieces, reply, pause, self.sleep)

    def _wait(self, seconds: float, timeout: float) -> None:
        self.sleep(max(0.0, min(seconds, timeout)))
        if seconds > timeout:
            raise self._timed_out(timeout)

    def _fault(self, command: Command) -> Exception | None:
        """Return the failure that was asked for, or that chance brings."""
        if (name := command.fault) is not None:
            return self._failure(name, retry_after=7) if name in FAULTS else None
        if self.random.random() < self.failure_rate:
            return self._failure(self.random.choice(RANDOM_FAULTS), retry_after=self.random.randint(1, 5))
        return None

    def _failure(self, name: str, retry_after: int) -> Exception:
        if name == "crash":
            return RuntimeError("The simulator was asked to crash.")
        if name == "timeout":
            return self._timed_out(self.latency)
        if name in TRUNCATED:
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
    """The pieces of a reply, one each `pause` seconds; `failure` is how it ends where it breaks off."""

    def __init__(
        self,
        pieces: Iterable[Piece],
        reply: Reply,
        pause: float,
        sleep: Callable[[float], None],
        failure: ProviderError | None = None,
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.stop_sequence = ""
        self.verbatim = False
        self._pieces, self._reply, self._pause, self._sleep, self._failure = deque(pieces), reply, pause, sleep, failure
        self._owed = 0.0

    def next(self, seconds: float) -> Delta | Tick | None:
        """See `ChatStream.next`."""
        if self._owed > 0:
            slept = min(self._owed, seconds)
            self._sleep(slept)
            self._owed -= slept
            if self._owed > 0:
                return Tick()
        if self._pieces:
            self._owed = self._pause if len(self._pieces) > 1 else 0.0
            return Delta((self._pieces.popleft(),))
        if self._failure:
            raise self._failure
        self.finish_reason, self.usage = self._reply.finish_reason, self._reply.usage
        self.stop_sequence = self._reply.stop_sequence
        return None

    def close(self) -> None:
        """See `ChatStream.close`."""
        if not self.finish_reason:
            self._pieces.clear()
            self._failure = self._failure or InvalidProviderResponseError("simulator", None, "the stream was closed")
