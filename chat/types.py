"""The values that flow through a chat: the ways to serve a model, the request, the reply and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from chat.exceptions import ModelNotFoundError

SIMULATOR = "simulator"
"""The key and the protocol of the built-in provider."""
SAMPLING = ("temperature", "top_p")
"""The fields of a request that steer how an answer is drawn."""


@dataclass(frozen=True)
class Price:
    """What a provider asks, in millionths of a dollar per million tokens."""

    input: int
    output: int
    cached: int


@dataclass(frozen=True)
class Upstream:
    """A provider's own model, and how to ask it.

    `takes` says of a request's field whether the model takes it; a field that is not in it is decided by the protocol
    and the model's name. `drop` are the fields that an operator has left out of every request. `temperature` is sent
    where the client sends no sampling. `effort` is how much the model is to think, `limit_field` the name of the output
    limit, both "" for the protocol's own way. `max_output_tokens` is None where the model's limit holds;
    `pseudonyms` says whether the provider is told which of its requests are of one user, None: if it is the vendor.
    """

    model: str
    takes: Mapping[str, bool] = field(default_factory=dict, hash=False)
    drop: frozenset[str] = frozenset()
    temperature: float | None = None
    effort: str = ""
    limit_field: str = ""
    max_output_tokens: int | None = None
    price: Price | None = None
    pseudonyms: bool | None = None


@dataclass(frozen=True)
class ProviderEntry:
    """One `[providers.KEY]` table. Times are seconds. `base_url` and `api_key` are resolved from the environment."""

    key: str
    protocol: str
    name: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    api_key_env: str = ""
    base_url_env: str = ""
    status_page: str | None = None
    timeout: float = 30.0
    connect_timeout: float = 5.0

    @property
    def missing(self) -> str:
        """Return the reason why this provider is not live, in words; "" for a live one."""
        if self.api_key_env and not self.api_key:
            return f"{self.api_key_env} is not set"
        return "" if self.base_url else f"{self.base_url_env or 'base_url'} is not set"


@dataclass(frozen=True)
class Route:
    """One way to serve a model: a provider, and that provider's own model."""

    provider: ProviderEntry
    upstream: Upstream

    @property
    def upstream_model(self) -> str:
        return self.upstream.model

    def __str__(self) -> str:
        return f"{self.provider.key}:{self.upstream.model}"


@dataclass(frozen=True)
class Model:
    """One model on offer. `routes` are its live routes in order of preference; limits are in tokens."""

    name: str
    routes: tuple[Route, ...]
    max_output_tokens: int
    default_output_tokens: int

    @property
    def simulated(self) -> bool:
        return self.routes[0].provider.protocol == SIMULATOR


@dataclass(frozen=True)
class Catalogue:
    """The offer of models.toml in this process. `unavailable` gives the reason for each model that is not on offer."""

    models: Mapping[str, Model]
    providers: Mapping[str, ProviderEntry]
    unavailable: Mapping[str, str]

    def get(self, name: str) -> Model:
        """Return the model of that exact name. Raises `ModelNotFoundError`."""
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFoundError(name, sorted(self.models)) from None


FinishReason = Literal["stop", "length", "content_filter"]


class ChatMessage(NamedTuple):
    """One turn. `role` is `system`, `user` or `assistant`; `name` tells apart those who share a role, "" if nobody."""

    role: str
    content: str
    name: str = ""


class Usage(NamedTuple):
    """What a call cost, in tokens, as the provider reported it (cached and reasoning tokens included)."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat, free of any provider's wire format. `max_tokens` bounds the output; `request_id` is our own, passed
    on where the provider has a header for it. `temperature`, `top_p` and `stop` (texts that end the answer) are the
    client's own: none of them has a default. `pseudonym` tells a vendor which requests are one user's, not whose."""

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = None
    request_id: str = ""
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    pseudonym: str = ""

    def optional(self) -> dict[str, Any]:
        """Return the fields that the client sent and that a provider's model may be unable to take."""
        names = True if any(message.name for message in self.messages) else None
        sent = {"temperature": self.temperature, "top_p": self.top_p, "stop": self.stop or None, "name": names}
        return {name: value for name, value in sent.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A usable answer. `usage` is None where the provider did not report it or reported nonsense."""

    text: str
    finish_reason: FinishReason
    usage: Usage | None
    stop_sequence: str = ""
    """The client's own stop text that ended the answer, where the provider says so."""


@dataclass(frozen=True)
class Attempt:
    """One call to one provider, the `number`-th of its chat; 0: the decision not to call it, since it rests.

    `reason` names what failed, "" for the one that answered; `status` is the provider's HTTP status, `decision` what
    the attempt led to, `tokens` what the provider said that it cost.
    """

    provider: str
    upstream_model: str
    number: int
    status: int | None = None
    reason: str = ""
    milliseconds: float = 0.0
    decision: str = ""
    tokens: int = 0


ABANDONED = "abandoned"
"""The reason of an attempt that did not fail: another one answered first."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking the providers: a `reply` (a `ChatReply`, or a `ChatStream` that has begun) and the `route`
    that gave it, or the `failure` to tell the client of. `seconds` were spent waiting, also between two attempts."""

    reply: Any = None
    route: Route | None = None
    failure: BaseException | None = None
    attempts: tuple[Attempt, ...] = ()
    seconds: float = 0.0

    @property
    def provider(self) -> str:
        return self.route.provider.key if self.route else getattr(self.failure, "provider", "")

    @property
    def upstream_model(self) -> str:
        return self.route.upstream_model if self.route else ""

    @property
    def calls(self) -> int:
        """The calls that were made."""
        return sum(attempt.number > 0 for attempt in self.attempts)

    @property
    def uncharged(self) -> int:
        """The tokens that providers billed for calls that did not answer."""
        return sum(attempt.tokens for attempt in self.attempts if attempt.reason)


@dataclass(frozen=True)
class Reservation:
    """Tokens set aside for one chat. `output_tokens` is how long the answer may be."""

    record_id: int
    user_id: Any
    period: str
    period_start: datetime
    tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Claim:
    """The hold of a request on its Idempotency-Key, for as long as the stored row `pk` says `expires_at`. `answer` are
    the fields of the answer to keep; None where there is none, so that the key is to be free again."""

    pk: int
    expires_at: datetime
    answer: dict[str, Any] | None = None


Ending = Literal["settled", "truncated", "released"]


@dataclass(frozen=True)
class Settlement:
    """How a reservation ends. Its `state`: `settled`; `truncated`, a part of the answer had arrived; `released`, there
    was none and the user pays nothing. `uncharged` are tokens that providers billed in vain, `error` names what went
    wrong. The answer of a `claim` is kept in the transaction that charges it, or a retry could pay again."""

    reservation: Reservation
    state: Ending
    usage: Usage = Usage(0, 0)
    provider: str = ""
    upstream_model: str = ""
    estimated: bool = False
    uncharged: int = 0
    error: str = ""
    claim: Claim | None = None
    finished_at: datetime = field(default_factory=partial(datetime.now, UTC))

    @property
    def tokens_used(self) -> int:
        """The tokens that the user pays."""
        return 0 if self.state == "released" else self.usage.total

    def answered_again(self) -> Settlement:
        """Return the end of a chat in whose place another has answered, and was paid for, meanwhile."""
        unpaid = self.uncharged + self.tokens_used
        return replace(self, state="released", error="AnsweredAgain", uncharged=unpaid)


@dataclass(frozen=True)
class Start:
    """The first item of a streamed answer: the facts that are known before its text. `usage` is the provider's count so
    far; `answer` is the whole answer where it is an earlier one. See `Answer` for the others."""

    usage: Usage | None = None
    ignored: Sequence[str] = ()
    budget_limit: int = 0
    answer: Answer | None = None


@dataclass(frozen=True)
class Delta:
    """A further piece of a streamed answer."""

    text: str


@dataclass(frozen=True)
class Tick:
    """A second of a stream without any text: time to look whether the client is still there."""


class Answer(NamedTuple):
    """The outcome of a chat. `tokens_used` is what the budget was charged; `message` says why it is a cached one;
    `created` is seconds since the epoch; `upstream_model` is the provider's own name of the model that answered.

    `ignored` are the client's fields that an operator has left out; `stop_sequence` is the client's own text that ended
    the answer, where that is known; `budget_limit` are the tokens at which the budget cut it, 0 where it did not.
    A further field needs a default, which those kept before it then have.
    """

    text: str
    usage: Usage
    finish_reason: FinishReason
    provider: str
    tokens_used: int
    model: str
    request_id: str
    created: int
    cached: bool = False
    message: str = ""
    upstream_model: str = ""
    ignored: Sequence[str] = ()
    stop_sequence: str = ""
    budget_limit: int = 0

    @classmethod
    def restored(cls, kept: dict[str, Any], **changes: Any) -> Answer | None:
        """From what `_asdict` made of one, wherever it was kept meanwhile. Another version of this class may have made
        it: what is not known here is left out, and None is for one that lacks what is needed."""
        known = {name: value for name, value in {**kept, **changes}.items() if name in cls._fields}
        try:
            return cls(**known | {"usage": Usage(*known["usage"])})
        except (KeyError, TypeError):
            return None
