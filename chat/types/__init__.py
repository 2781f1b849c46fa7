"""The values that flow through a chat: the ways to serve a model, the request, the reply and the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from chat.types.money import Price as Price
from chat.types.money import Rates as Rates
from chat.types.offer import ALL_PROVIDERS as ALL_PROVIDERS
from chat.types.offer import EMBEDDINGS as EMBEDDINGS
from chat.types.offer import SIMULATOR as SIMULATOR
from chat.types.offer import Catalogue as Catalogue
from chat.types.offer import Kind as Kind
from chat.types.offer import Model as Model
from chat.types.offer import ProviderEntry as ProviderEntry
from chat.types.offer import Route as Route
from chat.types.offer import Upstream as Upstream
from chat.types.parts import Call as Call
from chat.types.parts import ChatStream as ChatStream
from chat.types.parts import Delta as Delta
from chat.types.parts import Document as Document
from chat.types.parts import FinishReason as FinishReason
from chat.types.parts import Image as Image
from chat.types.parts import Message as Message
from chat.types.parts import Opaque as Opaque
from chat.types.parts import Part as Part
from chat.types.parts import Piece as Piece
from chat.types.parts import Refusal as Refusal
from chat.types.parts import Result as Result
from chat.types.parts import Text as Text
from chat.types.parts import Thinking as Thinking
from chat.types.parts import Tick as Tick
from chat.types.parts import Usage as Usage
from chat.types.parts import joined as joined
from chat.types.parts import parts_of as parts_of
from chat.types.parts import restored_part as restored_part
from chat.types.parts import text_of as text_of
from chat.types.parts import texts_of as texts_of
from chat.types.parts import written_of as written_of
from chat.types.request import CONTENT as CONTENT
from chat.types.request import HINT as HINT
from chat.types.request import LISTED as LISTED
from chat.types.request import SAMPLING as SAMPLING
from chat.types.request import STORED as STORED
from chat.types.request import UNKNOWN as UNKNOWN
from chat.types.request import ChatRequest as ChatRequest
from chat.types.request import Choice as Choice
from chat.types.request import Format as Format
from chat.types.request import Need as Need
from chat.types.request import Raw as Raw
from chat.types.request import Tool as Tool
from chat.types.request import VendorError as VendorError
from chat.types.request import Wish as Wish
from chat.types.request import compact as compact
from chat.types.trace import Trace as Trace

SMALLEST_ANSWER = 16
"""Output tokens below which a clamped answer is not worth its price, so the chat is refused instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable answer. `usage` is None where the provider did not report it or reported nonsense; `stop_sequence` is
    the client's own stop text that ended the answer, where the provider says so. `raw` is the body as it came, for a
    client that speaks the provider's protocol."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    usage: Usage | None
    stop_sequence: str = ""
    raw: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, text: str, finish_reason: FinishReason, usage: Usage | None, stop_sequence: str = "") -> Reply:
        """Return the reply that is no more than a text."""
        return cls(parts_of(text), finish_reason, usage, stop_sequence)

    @property
    def text(self) -> str:
        return text_of(self.parts)


@dataclass(frozen=True)
class Attempt:
    """One call to one provider, the `number`-th of its chat; 0: the decision not to call it, since it rests.

    `reason` names what failed, "" for the one that answered; `status` is the provider's HTTP status, `decision` what
    the attempt led to, `tokens` what the provider said that it cost. `started` is on `time.monotonic()`'s scale.
    `trace` is its span, None where nobody is told of it.
    """

    provider: str
    upstream_model: str
    number: int
    status: int | None = None
    reason: str = ""
    milliseconds: float = 0.0
    decision: str = ""
    tokens: int = 0
    started: float = 0.0
    trace: Trace | None = None

    def told(self, began: float) -> dict[str, Any]:
        """Return the same for a record of the chat that began then, without what is empty."""
        facts = {"provider": self.provider, "model": self.upstream_model, "number": self.number, "status": self.status}
        facts |= {"reason": self.reason, "ms": round(self.milliseconds), "decision": self.decision}
        facts |= {"tokens": self.tokens, "at": round((self.started - began) * 1000) if self.started else 0}
        return {name: value for name, value in facts.items() if value}


ABANDONED = "abandoned"
"""The reason of an attempt that did not fail: another one answered first."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking the providers: a `reply` (a `Reply`, or a `ChatStream` that has begun) and the `route`
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
        """Return the calls that were made."""
        return sum(attempt.number > 0 for attempt in self.attempts)

    @property
    def uncharged(self) -> int:
        """Return the tokens that providers billed for calls that did not answer."""
        return sum(attempt.tokens for attempt in self.attempts if attempt.reason)


@dataclass(frozen=True)
class Reservation:
    """Tokens and money set aside for one chat, at the prices of the moment `at`. `output_tokens` is how long the answer
    may be; `cost` is in nano-dollars."""

    record_id: int
    user_id: Any
    period: str
    period_start: datetime
    tokens: int
    output_tokens: int
    cost: int
    at: datetime


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
    was none and the user pays nothing. `cost` is in nano-dollars, None where the price is not known. `uncharged` are
    tokens that providers billed in vain, `error` names what went wrong, and `cached` says that an earlier answer stood
    in. The answer of a `claim` is kept in the transaction that charges it, or a retry could pay again.

    `duration_ms` and `first_token_ms` count from the chat's beginning; `attempts` are the calls as the record has them.
    """

    reservation: Reservation
    state: Ending
    usage: Usage = Usage(0, 0)
    provider: str = ""
    upstream_model: str = ""
    estimated: bool = False
    uncharged: int = 0
    error: str = ""
    claim: Claim | None = None
    cost: int | None = None
    cached: bool = False
    attempts: Sequence[Mapping[str, Any]] = ()
    duration_ms: int | None = None
    first_token_ms: int | None = None
    finished_at: datetime = field(default_factory=partial(datetime.now, UTC))

    @property
    def tokens_used(self) -> int:
        """Return the tokens that the user pays."""
        return 0 if self.state == "released" else self.usage.total

    @property
    def cost_used(self) -> int | None:
        """Return the nano-dollars that the user pays, as far as they are known."""
        return 0 if self.state == "released" else self.cost

    def answered_again(self) -> Settlement:
        """Return the end of a chat in whose place another has answered, and was paid for, meanwhile."""
        unpaid = self.uncharged + self.tokens_used
        return replace(self, state="released", error="AnsweredAgain", uncharged=unpaid)


@dataclass(frozen=True)
class Start:
    """The first item of a streamed answer: the facts that are known before its text. `usage` is the provider's count so
    far, or the estimate of the prompt; `answer` is the whole answer where it is an earlier one; `verbatim` says that
    the provider's own events follow, the opening one too. See `Answer` for the others."""

    usage: Usage
    ignored: Sequence[str] = ()
    budget_limit: int = 0
    answer: Answer | None = None
    verbatim: bool = False


class Told(NamedTuple):
    """An error as a client is told of it: our code, the status, the words, and the facts beside them. `vendor` is the
    same in a vendor's own words, for clients that speak its protocol."""

    code: str
    status: int
    message: str
    context: dict[str, Any]
    vendor: VendorError | None = None


class Answer(NamedTuple):
    """The outcome of a chat. `tokens_used` is what the budget was charged; `message` says why it is a cached one;
    `created` is seconds since the epoch; `upstream_model` is the provider's own name of the model that answered.

    `ignored` are the client's fields that an operator has left out; `stop_sequence` is the client's own text that ended
    the answer, where that is known; `budget_limit` are the tokens at which the budget cut it, 0 where it did not;
    `cost` is in nano-dollars, None where the price is not known; `raw` is the provider's own body, for a client that
    speaks its protocol; where such a client was streamed to, `stop_reason` is the provider's own word for the end. A
    further field needs a default, which those kept before it then have.
    """

    parts: tuple[Part, ...]
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
    cost: int | None = None
    raw: Mapping[str, Any] | None = None
    stop_reason: str = ""

    @property
    def text(self) -> str:
        return text_of(self.parts)

    @property
    def charged(self) -> Usage:
        """Return the tokens that the budget was charged, which clients of other APIs read a usage as."""
        return Usage(0, 0) if self.cached else self.usage

    def kept(self) -> dict[str, Any]:
        """Return the fields to keep as JSON. The provider's body is a text, or PostgreSQL would sort its names."""
        return self._asdict() | {"raw": None if self.raw is None else compact(self.raw)}

    @classmethod
    def restored(cls, kept: dict[str, Any], **changes: Any) -> Answer | None:
        """From what `kept` made of one, wherever it was kept meanwhile. Another version of this class may have made it:
        what is not known here is left out, and None is for one that lacks what is needed."""
        known = {name: value for name, value in {**kept, **changes}.items() if name in cls._fields}
        try:
            known["raw"] = json.loads(known["raw"]) if known.get("raw") else None
            parts = tuple(map(restored_part, kept["parts"])) if "parts" in kept else parts_of(kept["text"] + "")
            return cls(**known | {"parts": parts, "usage": Usage(*known["usage"])})
        except (IndexError, KeyError, TypeError, ValueError):
            return None
