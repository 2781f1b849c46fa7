"""What can go wrong with a chat, as one tree.

    GenAIException(message)
    ├── ProviderError(provider, status_code, message, retry_after=None)
    │   ├── ProviderUnavailableError       the provider is down or unreachable
    │   ├── ProviderRateLimitError         the provider limits us
    │   ├── ProviderTimeoutError           the provider was too slow
    │   │   └── StreamTooLong              the answer went on for too long
    │   ├── ClientLeft                     nobody is there to hear the answer
    │   ├── InvalidProviderResponseError   the provider answered garbage
    │   └── ProviderRequestRejectedError   the provider refused this very input
    ├── BudgetError
    │   ├── TokenBudgetExceededError(user_id, tokens_used, tokens_limit, tokens_needed=None)
    │   │   └── MoneyBudgetExceededError   the budget is in money
    │   ├── ModelWithoutPrice              and no route of the model has a price
    │   ├── RateLimitExceededError(limit, reset_in, user_id=None)
    │   │   └── TooManyAttempts            passwords or keys
    │   └── TooManyConcurrentRequests
    ├── ValidationError
    │   ├── InvalidMessageFormatError
    │   ├── ModelNotFoundError(model_name, available_models)
    │   ├── UnsupportedParameter, InvalidJSON, BodyTooLarge, ConversationNotFound, CSRFFailed
    │   └── RequestInProgress, IdempotencyKeyReused
    └── SystemError
        ├── DatabaseUnavailableError
        └── Overloaded, ServerStopping

An exception stores facts as attributes and knows nothing of HTTP: the table in `problems/` decides what a client sees.
Every `message` is for the log. Facts beyond the constructors above are keyword-only and optional.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chat.exceptions.base import GenAIException as GenAIException
from chat.exceptions.budget import BudgetError as BudgetError
from chat.exceptions.budget import ModelWithoutPrice as ModelWithoutPrice
from chat.exceptions.budget import MoneyBudgetExceededError as MoneyBudgetExceededError
from chat.exceptions.budget import RateLimitExceededError as RateLimitExceededError
from chat.exceptions.budget import TokenBudgetExceededError as TokenBudgetExceededError
from chat.exceptions.budget import TooManyAttempts as TooManyAttempts
from chat.exceptions.budget import TooManyConcurrentRequests as TooManyConcurrentRequests


class ProviderError(GenAIException):
    """A provider failed. On its own (not as a subclass): a fault on our side of the contract with the provider, that
    no caller can mend, such as a refused API key, spent credit, or an upstream model that does not exist.

    `status_code` is the provider's HTTP status (None if it gave none), `retry_after` the seconds it asked us to wait
    (None if it did not say). `details` are further facts for the log, already masked. `usage` is what the provider
    billed for the failure, if it said. `unsent`: no connection came about. `tokens_charged` is what the user pays
    nevertheless, for the part of an answer that had arrived.
    """

    default_wait = 60
    """Seconds after which a new try is sensible where the provider did not say."""
    unlogged = frozenset({"message", "details", "usage"})

    def __init__(
        self,
        provider: str,
        status_code: int | None,
        message: str,
        retry_after: float | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        usage: Any = None,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status_code = status_code
        self.retry_after = retry_after
        self.details = dict(details or {})
        self.usage = usage
        self.unsent = unsent
        self.tokens_charged = 0

    def facts(self) -> dict[str, Any]:
        """See `GenAIException.facts`."""
        return super().facts() | self.details

    @property
    def is_of_this_call(self) -> bool:
        """Return whether the provider refused this call alone, and neither our key nor our account."""
        return self.details.get("kind") == "call"

    @property
    def wait(self) -> float:
        """Return the seconds until a new try is sensible."""
        return self.default_wait if self.retry_after is None else self.retry_after


class ProviderUnavailableError(ProviderError):
    """The provider is down, overloaded for everyone, or cannot be reached."""


class ProviderRateLimitError(ProviderError):
    """The provider limits us and will serve us again after `retry_after`."""


class ProviderTimeoutError(ProviderError):
    """The provider did not finish its answer in time."""

    default_wait = 5


class StreamTooLong(ProviderTimeoutError):
    """A stream was not over after CHAT_STREAM_MAX. Its client may have been the slow one."""


class ClientLeft(ProviderError):
    """Nobody is there any more to hear the answer, so that the provider was asked no further: no fault of its own."""

    def __init__(self, provider: str = "") -> None:
        super().__init__(provider, None, "the client has left")


class InvalidProviderResponseError(ProviderError):
    """The provider said success, but its answer cannot be used."""

    default_wait = 5


class ProviderRequestRejectedError(ProviderError):
    """The provider refused this input; sending it again, here or elsewhere, does not help.

    `reason` is `context_length`, `content_policy`, `too_large` or `invalid`. `param` is the field of the request
    that this upstream model does not take, and another may, or "". `vendor` is the refusal in the vendor's own words,
    for a client that speaks its protocol.
    """

    unlogged = ProviderError.unlogged | {"vendor"}

    def __init__(self, *args: Any, reason: str = "invalid", param: str = "", vendor: Any = None, **facts: Any) -> None:
        super().__init__(*args, **facts)
        self.reason = reason
        self.param = param
        self.vendor = vendor


class ValidationError(GenAIException):
    """The request breaks a rule. `fields` names the faulty fields, each with its messages for the client."""

    def __init__(self, message: str, *, fields: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class UnsupportedParameter(ValidationError):
    """The request asks for something that no route of its model, or no part of this service, can do.

    `param` is its place in the client's spelling. `model` is set where another model may do it.
    """

    def __init__(self, param: str, *, model: str = "") -> None:
        whose = f" by any route of the model {model}" if model else ""
        super().__init__(f"The parameter {param} is not supported{whose}.")
        self.param = param
        self.model = model


class InvalidMessageFormatError(ValidationError):
    """`messages` is not a list of well-formed messages.

    `field` is the place (`messages[3].role`), `received` what stood there; since that may be the user's words, it goes
    back to the client and never into the log.
    """

    unlogged = frozenset({"message", "received"})

    def __init__(self, message: str, *, field: str = "messages", received: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.received = received


class ModelNotFoundError(ValidationError):
    """No model of that name is on offer."""

    def __init__(self, model_name: str, available_models: Iterable[str]) -> None:
        self.model_name = model_name
        self.available_models = list(available_models)
        super().__init__(f"Model {model_name!r} not found. Available models: {', '.join(self.available_models)}.")


class InvalidJSON(ValidationError):
    """The body is no JSON. `received` is its text, as far as it is text at all, for who sent it alone."""

    unlogged = frozenset({"message", "fields", "received"})

    def __init__(self, message: str, received: str = "") -> None:
        super().__init__(message)
        self.received = received


class BodyTooLarge(ValidationError):
    """The body has more bytes than its path takes, or more JSON values than any: one of the limits is set."""

    def __init__(self, limit_bytes: int = 0, limit_values: int = 0) -> None:
        what = "values" if limit_values else "bytes"
        super().__init__(f"The body has more than {limit_bytes or limit_values} {what}.")
        self.limit_bytes = limit_bytes
        self.limit_values = limit_values


class ConversationNotFound(ValidationError):
    """No conversation of the user's has this id: another's, an unknown and a malformed one are alike."""


class CSRFFailed(ValidationError):
    """A browser's session sent a request without the CSRF token."""


class RequestInProgress(ValidationError):
    """Another request with the same Idempotency-Key is still running."""


class IdempotencyKeyReused(ValidationError):
    """The Idempotency-Key was used before, for another request."""


class SystemError(GenAIException):
    """Something that we run ourselves failed."""


class DatabaseUnavailableError(SystemError):
    """The database cannot be reached, so nothing can be metered and nothing is served."""


class Overloaded(SystemError):
    """This process has as many chats in flight as it may."""


class ServerStopping(SystemError):
    """A stream would have outlasted its server. `tokens_charged` is what the user pays for what had arrived."""

    def __init__(self, message: str, *, tokens_charged: int = 0) -> None:
        super().__init__(message)
        self.tokens_charged = tokens_charged
