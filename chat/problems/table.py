"""The table: exception class -> status, code, public words, context, retry rule, log level.

The handler, `GET /errors` and the OpenAPI schema are made from it. A row holds for its classes and their subclasses;
the nearest class in the exception's own MRO wins. Nothing here quotes an exception's `message`, which is for the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core import exceptions as dj
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from rest_framework import exceptions as drf

from chat import exceptions as tree
from chat.billing.budgets import SMALLEST_ANSWER
from chat.completion.arrival import ServerStopping, StreamTooLong
from chat.conf import conf
from chat.protocols.errors import FORBIDDEN
from chat.routing import catalogue
from chat.routing.failover import ALL_PROVIDERS
from chat.types import SIMULATOR

EXAMPLE_MESSAGES = [{"role": "user", "content": "Hello!"}]
HELD = 5
"""Seconds after which tokens that chats in flight hold may have come back."""
LONGEST_ECHO = 200
"""Characters of the client's own input that an error repeats."""


class CSRFFailed(drf.PermissionDenied):
    """A browser's session request without the CSRF token."""

    default_detail = "The CSRF token is missing or does not match."


class ConversationNotFound(drf.NotFound):
    """No conversation of the user's has this id: another's, an unknown and a malformed one are alike."""

    default_detail = "The user has no conversation with this id."


class BodyTooLarge(dj.RequestDataTooBig):
    """The body has more bytes than its path takes, or more JSON values than any: one of the limits is set."""

    def __init__(self, limit_bytes: int = 0, limit_values: int = 0) -> None:
        super().__init__(
            f"The body is larger than {limit_bytes or limit_values} {'bytes' if limit_bytes else 'values'}."
        )
        self.limit_bytes = limit_bytes
        self.limit_values = limit_values


class RequestInProgress(drf.APIException):
    """Another request with the same Idempotency-Key is still running."""

    default_detail = "The Idempotency-Key's first request is still running."


class IdempotencyKeyReused(drf.APIException):
    """The Idempotency-Key was used before, for another request."""

    default_detail = "The Idempotency-Key was used before, with another body."


class TooManyConcurrentRequests(drf.APIException):
    """This user already has CHAT_MAX_IN_FLIGHT_PER_USER chats in flight."""

    default_detail = "The user has CHAT_MAX_IN_FLIGHT_PER_USER chats in flight."


class TooManyAttempts(drf.Throttled):
    """Too many passwords or keys were tried from this address or for this name."""

    def __init__(self, limit: int, reset_in: int) -> None:
        super().__init__(reset_in)
        self.limit, self.reset_in = limit, reset_in


class Overloaded(drf.APIException):
    """This server already has as many chats in flight as it can serve."""

    default_detail = "This process has CHAT_MAX_IN_FLIGHT chats in flight."


def nothing(exc: Any) -> Any:
    return None


@dataclass(frozen=True)
class Problem:
    """One row. `message`, `context` and `retry_after` (seconds or None) take the exception; `level` is the log's.

    `should_retry` says whether the same request may succeed after `retry_after`. `example` is an exception of this row
    for the catalogue of errors.
    """

    status: int
    code: str
    level: str
    classes: tuple[type[BaseException], ...]
    meaning: str
    what_to_do: str
    example: BaseException
    context: Callable[[Any], dict[str, Any] | None] = nothing
    retry_after: Callable[[Any], float | None] = nothing
    message: Callable[[Any], str] | None = None
    should_retry: bool | Callable[[Any], bool] = False
    traceback: bool = False

    @property
    def title(self) -> str:
        return self.code.replace("_", " ").capitalize().replace("json", "JSON").replace("Csrf", "CSRF")


@dataclass(frozen=True)
class Description:
    """What a client may know of one exception. `retry_after` is whole seconds, 1 or more."""

    problem: Problem
    message: str
    retry_after: int | None
    context: dict[str, Any]
    should_retry: bool


def find(exc: BaseException) -> Problem:
    """The row of the nearest class in the exception's MRO."""
    return next(BY_CLASS[cls] for cls in type(exc).__mro__ if cls in BY_CLASS)


def describe(exc: BaseException) -> Description:
    """The public account of `exc`: its row, filled in."""
    problem = find(exc)
    wait = problem.retry_after(exc)
    retry_after = None if wait is None else max(1, math.ceil(wait))
    message = problem.message(exc) if problem.message else f"{problem.meaning} {problem.what_to_do}"
    context = problem.context(exc) or {}
    if retry_after is not None:
        context = {"retry_after": retry_after} | context
    again = problem.should_retry
    return Description(problem, message, retry_after, context, again(exc) if callable(again) else again)


def level_of(exc: BaseException) -> str:
    """Return the level of the error's line in the log: a refusal of one call alone wakes nobody at night."""
    refused = isinstance(exc, tree.ProviderError) and exc.details.get("kind") == FORBIDDEN.fact
    return "error" if refused else find(exc).level


# --- the words and facts of single rows -------------------------------------------------------------------------------
def _who(exc: Any) -> str:
    if exc.provider == ALL_PROVIDERS:
        return "Every provider of this model"
    entry = catalogue.current().providers.get(exc.provider)
    return entry.name if entry else "The simulator" if exc.provider == SIMULATOR else "The provider"


NONE_OF_THEM = "None of this model's providers"


def _says(text: str) -> Callable[[Any], str]:
    """Return the writer of a message; of all providers, a "cannot" is that none of them can."""
    of_none = text.replace("{who} cannot", NONE_OF_THEM + " can").replace("{who} did not", NONE_OF_THEM + " did")
    return lambda exc: (of_none if exc.provider == ALL_PROVIDERS else text).format(
        who=_who(exc), bill=_bill(exc), wait=max(1, math.ceil(exc.wait))
    )


def _bill(exc: Any) -> str:
    if exc.tokens_charged:
        return f"The answer broke off; what had arrived is charged, {exc.tokens_charged} tokens"
    return "Nothing was charged"


def _provider(exc: Any) -> dict[str, Any]:
    return {"provider": exc.provider}


def _outage(exc: Any) -> dict[str, Any]:
    entry = catalogue.current().providers.get(exc.provider)
    return {"provider": exc.provider, "status_page": entry.status_page if entry else None}


def _too_large(exc: Any) -> dict[str, Any]:
    if getattr(exc, "limit_values", 0):
        return {"limit_values": exc.limit_values}
    return {"limit_bytes": getattr(exc, "limit_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)}


def _budget(exc: tree.TokenBudgetExceededError) -> dict[str, Any]:
    resets_at = exc.resets_at.isoformat().replace("+00:00", "Z") if exc.resets_at else None
    return {
        "tokens_used": exc.tokens_used,
        "tokens_limit": exc.tokens_limit,
        "tokens_needed": exc.tokens_needed,
        "tokens_remaining": exc.tokens_remaining,
        "resets_at": resets_at,
        "upgrade_url": conf.UPGRADE_URL,
    }


def _is_held(exc: tree.TokenBudgetExceededError) -> bool:
    """Return whether chats in flight hold the tokens that are missing: those may come back in seconds."""
    needed = exc.tokens_used + (exc.tokens_needed or 0)
    return exc.can_ever_fit and exc.tokens_reserved > 0 and needed <= exc.tokens_limit


def _budget_wait(exc: tree.TokenBudgetExceededError) -> float | None:
    if _is_held(exc):
        return HELD
    if exc.resets_at is None or not exc.can_ever_fit:
        return None
    return (exc.resets_at - timezone.now()).total_seconds()


def _budget_message(exc: tree.TokenBudgetExceededError) -> str:
    budget = f" and your budget of {exc.tokens_limit}"
    if not exc.can_ever_fit:
        budget = f", more than your whole budget of {exc.tokens_limit}, which"
    held = f" (chats in flight hold {exc.tokens_reserved})" if exc.tokens_reserved else ""
    renewal = f" until it is renewed, on {exc.resets_at:%Y-%m-%d at %H:%M} UTC" if exc.resets_at else ""
    now, later = _to_fit(exc, exc.tokens_remaining), "wait until then"
    if _is_held(exc):
        later = "wait until those chats are over"
    if not exc.can_ever_fit:
        change = _to_fit(exc, exc.tokens_limit)
        later = f"{later} and {change}" if change and not now else ""
    *others, last = filter(None, (now, later, "ask for a larger budget"))
    advice = f"{', '.join(others)}, or {last}" if others else last
    facts = f"This request needs {exc.tokens_needed} tokens{budget} has {exc.tokens_remaining} left{held}{renewal}."
    return f"{facts} {advice[0].upper()}{advice[1:]}."


def _to_fit(exc: tree.TokenBudgetExceededError, tokens: int) -> str:
    """The change after which the request would fit into `tokens`; nothing where they are too few for any chat."""
    if tokens - exc.prompt_tokens >= SMALLEST_ANSWER:
        return f"lower max_tokens to {tokens - exc.prompt_tokens} at most"
    return "shorten the messages" if tokens >= 2 * SMALLEST_ANSWER else ""


def _fields(exc: Any) -> dict[str, Any]:
    """`fields` of our own and of DRF's validation errors."""
    fields = getattr(exc, "fields", None)
    if fields is None:
        detail = exc.detail if isinstance(exc.detail, dict) else {"body": exc.detail}
        fields = {
            name: [str(item) for item in ([text] if isinstance(text, str) else text)] for name, text in detail.items()
        }
    return {"fields": fields}


def _fields_message(exc: Any) -> str:
    fields = _fields(exc)["fields"]
    if not fields:
        return "The request breaks a rule. Check it against GET /errors/invalid_request and send it again."
    complaints = " ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items())
    return f"The request is not valid. {complaints[:500]}"


def _format_context(exc: tree.InvalidMessageFormatError) -> dict[str, Any]:
    return {"field": exc.field, "received": exc.received[:LONGEST_ECHO], "example": EXAMPLE_MESSAGES}


def _unsupported(exc: tree.UnsupportedParameter) -> str:
    place, why = exc.param[:LONGEST_ECHO], "is not ignored, since the answer would not be what you asked for."
    if exc.kind:
        return f"{place} '{exc.kind}' is not supported here; only {exc.only}. It {why}"
    if exc.model:
        whose = f"None of the providers of {exc.model[:LONGEST_ECHO]} takes"
        return f"{whose} the parameter {place} with this value, and it {why} Leave it out, or ask another model."
    return f"The parameter {place} is not supported here with this value, and {why} Leave it out."


def _model_context(exc: tree.ModelNotFoundError) -> dict[str, Any]:
    return {"requested_model": exc.model_name[:LONGEST_ECHO], "available_models": exc.available_models}


REASONS = {
    "context_length": "The messages are too long for this model. Shorten them or start a new conversation.",
    "content_policy": "The provider's content policy does not allow this request. Change the messages.",
    "too_large": "The request is too large for this model's providers. Shorten the messages or lower max_tokens.",
    "invalid": "The provider does not accept this request. Change the messages or the options.",
}


def _wait(exc: tree.ProviderError) -> float:
    return exc.wait


TELL = "Try again later; if it stays, tell an operator the request_id."
WAIT = "Try again after `retry_after` seconds."
OURS = "Something went wrong on our side."
DOWN = "A part of this service is down, so the request was not served."
_RESET = datetime(2026, 12, 1, tzinfo=UTC)

# One row an error, in the order of HTTP.md; a formatter would make a list of it that nobody can read as a table.
# fmt: off
PROBLEMS = [
    Problem(400, "bad_request", "warning",
            (dj.SuspiciousOperation, dj.BadRequest, MultiPartParserError, UnreadablePostError),
            "The request is broken below its JSON: a host name that is not served here, or a body that was cut short.",
            "Check the address and the connection, then send it again.", dj.BadRequest()),
    Problem(400, "invalid_json", "info", (drf.ParseError,),
            "The body is not valid JSON.",
            "Send one JSON object in UTF-8 with finite numbers and without NUL characters.",
            drf.ParseError("Expecting value: line 1 column 12 (char 11)"),
            message=lambda exc: f"The body is not valid JSON: {str(exc.detail).rstrip('.')}. Correct it and retry."),
    Problem(400, "invalid_message_format", "info", (tree.InvalidMessageFormatError,),
            "`messages` is not a list of well-formed messages.",
            "Send 1 to 256 messages, each with exactly a role and a content, at least one of them from the user.",
            tree.InvalidMessageFormatError("The content is blank.", field="messages[0].content", received='""'),
            context=_format_context,
            message=lambda exc: f"{exc.field} is not valid: {exc.message} See `example` for one that is."),
    Problem(400, "invalid_request", "info", (tree.ValidationError, drf.ValidationError),
            "One or more fields are missing, unknown or break a rule.",
            "`fields` names each of them; correct them and send the request again.",
            tree.ValidationError("", fields={"temperature": ["This must be a number from 0 to 2."]}),
            context=_fields, message=_fields_message),
    Problem(400, "unsupported_parameter", "info", (tree.UnsupportedParameter,),
            "The request asks for something that OpenAI's or Anthropic's own API has and this service has not.",
            "Leave out `param`, or what it is a part of; nothing that changes the answer is silently ignored.",
            tree.UnsupportedParameter("tools"), context=lambda exc: {"param": exc.param[:LONGEST_ECHO]},
            message=_unsupported),
    Problem(401, "not_authenticated", "info", (drf.NotAuthenticated,),
            "The request carries no credentials.", "Send your key in the header `Authorization: Token <key>`.",
            drf.NotAuthenticated()),
    Problem(401, "authentication_failed", "warning", (drf.AuthenticationFailed,),
            "The credentials are not valid.", "Check the key, or ask for a new one.",
            drf.AuthenticationFailed("This key is not known."),
            message=lambda exc: f"{exc.detail} Check the key, or ask for a new one."),
    Problem(403, "permission_denied", "warning", (drf.PermissionDenied, dj.PermissionDenied),
            "You are known, but this is not allowed to you.", "Ask an operator for it.", drf.PermissionDenied()),
    Problem(403, "csrf_failed", "warning", (CSRFFailed,),
            "The browser's session was sent without a matching CSRF token.",
            "Reload the page and try again, or use a key.", CSRFFailed()),
    Problem(404, "model_not_found", "warning", (tree.ModelNotFoundError,),
            "No model of this name is on offer.", "Choose one of `available_models`.",
            tree.ModelNotFoundError("unknown-model", ["claude-3", "gpt-4", "llama-2"]), context=_model_context),
    Problem(404, "not_found", "info", (Http404, drf.NotFound),
            "There is nothing at this address, or it is not yours.",
            "Check the path and the id; GET / lists the endpoints.", drf.NotFound()),
    Problem(404, "not_found", "info", (ConversationNotFound,),
            "The conversation does not exist, or it is not yours.",
            "Check the `conversation_id`; GET /conversations lists yours, POST /conversations begins another.",
            ConversationNotFound()),
    Problem(405, "method_not_allowed", "info", (drf.MethodNotAllowed,),
            "This address does not support the request's method.", "The Allow header names the methods that it does.",
            drf.MethodNotAllowed("GET")),
    Problem(406, "not_acceptable", "info", (drf.NotAcceptable,),
            "The Accept header admits no format that is offered here.", "Accept application/json.",
            drf.NotAcceptable()),
    Problem(415, "unsupported_media_type", "info", (drf.UnsupportedMediaType,),
            "The body's Content-Type is not supported.", "Send JSON, with Content-Type: application/json.",
            drf.UnsupportedMediaType("text/plain")),
    Problem(413, "request_too_large", "warning", (dj.RequestDataTooBig,),
            "The body is larger than `limit_bytes`, or than `limit_values` JSON values.", "Shorten it.",
            dj.RequestDataTooBig(),
            context=_too_large),
    Problem(429, "token_budget_exceeded", "warning", (tree.TokenBudgetExceededError,),
            "The request needs more tokens than your budget has left.",
            "The message says which of these helps: a lower max_tokens, shorter messages, to wait until `resets_at`, "
            "a larger budget.",
            tree.TokenBudgetExceededError(7, 9500, 10000, 800, prompt_tokens=300, resets_at=_RESET),
            context=_budget, retry_after=_budget_wait, message=_budget_message, should_retry=_is_held),
    Problem(429, "rate_limit_exceeded", "warning", (tree.RateLimitExceededError,),
            "You sent more requests than your rate limit allows.", "Wait `reset_in` seconds.",
            tree.RateLimitExceededError(10, 42), should_retry=True,
            context=lambda exc: {"limit": exc.limit, "reset_in": exc.reset_in}, retry_after=lambda exc: exc.reset_in,
            message=lambda exc: (f"Your rate limit of {exc.limit} per window is used up. "
                                 f"Wait {exc.reset_in} seconds and try again.")),
    Problem(429, "rate_limit_exceeded", "warning", (TooManyAttempts,),
            "Too many keys or passwords were tried.", "Wait `reset_in` seconds.",
            TooManyAttempts(10, 42), should_retry=True,
            context=lambda exc: {"limit": exc.limit, "reset_in": exc.reset_in}, retry_after=lambda exc: exc.reset_in,
            message=lambda exc: ("Too many keys or passwords were tried from this address or for this name. "
                                 f"Wait {exc.reset_in} seconds and try again.")),
    Problem(429, "rate_limit_exceeded", "warning", (drf.Throttled,),
            "You sent more requests than your rate limit allows.", WAIT,
            drf.Throttled(42), should_retry=True, retry_after=lambda exc: exc.wait),
    Problem(409, "request_in_progress", "info", (RequestInProgress,),
            "A request with the same Idempotency-Key is still running.", "Send it again in a second to get its answer.",
            RequestInProgress(), should_retry=True, retry_after=lambda exc: 1),
    Problem(422, "idempotency_key_reused", "warning", (IdempotencyKeyReused,),
            "This Idempotency-Key was already used for a different request.", "Use a new key for a new request.",
            IdempotencyKeyReused()),
    Problem(429, "too_many_concurrent_requests", "warning", (TooManyConcurrentRequests,),
            "You already have as many chats in flight as you may.", "Wait for one of them to finish.",
            TooManyConcurrentRequests(), should_retry=True, retry_after=lambda exc: 1,
            context=lambda exc: {"limit": conf.CHAT_MAX_IN_FLIGHT_PER_USER}),
    Problem(503, "overloaded", "error", (Overloaded,),
            "The server has as many chats in flight as it can serve.", "Try again in a second.",
            Overloaded(), should_retry=True, retry_after=lambda exc: 1),
    Problem(503, "provider_rate_limited", "error", (tree.ProviderRateLimitError,),
            "The provider limits this service as a whole; it is not your own limit.", WAIT,
            tree.ProviderRateLimitError("anthropic", 429, "", 30), should_retry=True,
            context=_provider, retry_after=_wait,
            message=_says("{who} is busy. {bill}; try again in {wait} seconds.")),
    Problem(503, "provider_unavailable", "error", (tree.ProviderUnavailableError,),
            "The provider is down or cannot be reached.", WAIT[:-1] + ", or choose another model.",
            tree.ProviderUnavailableError("anthropic", 503, ""), should_retry=True,
            context=_outage, retry_after=_wait,
            message=_says("{who} is unavailable. {bill}; try again in {wait} seconds, "
                          "or use another model.")),
    Problem(504, "provider_timeout", "error", (tree.ProviderTimeoutError,),
            "The provider did not answer in time.", WAIT[:-1] + ", perhaps with a smaller max_tokens.",
            tree.ProviderTimeoutError("anthropic", None, ""), should_retry=True,
            context=_provider, retry_after=_wait,
            message=_says("{who} did not answer in time. {bill}; try again in {wait} seconds.")),
    Problem(504, "provider_timeout", "warning", (StreamTooLong,),
            "The answer went on for longer than a stream may take here.",
            "Ask for a shorter one, or take it faster.", StreamTooLong("anthropic", None, ""), context=_provider,
            message=lambda exc: f"The answer went on for longer than a stream may take here. {_bill(exc)}; "
                                "ask for a shorter one, or take it faster."),
    Problem(502, "invalid_provider_response", "error", (tree.InvalidProviderResponseError,),
            "The provider's answer could not be used.", WAIT,
            tree.InvalidProviderResponseError("anthropic", 200, ""), should_retry=True,
            context=_provider, retry_after=_wait,
            message=_says("{who} gave an unusable answer. {bill}; try again in {wait} seconds.")),
    Problem(400, "provider_rejected_request", "warning", (tree.ProviderRequestRejectedError,),
            "The provider refused this input; `reason` is context_length, content_policy or invalid.",
            "Change the request; sending it again unchanged does not help.",
            tree.ProviderRequestRejectedError("anthropic", 400, "", reason="context_length"),
            context=lambda exc: {"provider": exc.provider, "reason": exc.reason},
            message=lambda exc: f"{REASONS[exc.reason]} {_bill(exc)}."),
    Problem(503, "provider_error", "critical", (tree.ProviderError,),
            "This service's own account or set-up with the provider is at fault, not your request.",
            "Use another model, or tell an operator the request_id.",
            tree.ProviderError("anthropic", 401, ""), context=_provider, retry_after=_wait,
            message=_says("{who} cannot be used at the moment, through no fault of yours. {bill}; "
                          "use another model, or tell an operator the request_id.")),
    Problem(503, "service_temporarily_unavailable", "error",
            (tree.DatabaseUnavailableError, OperationalError, InterfaceError, InternalError),
            DOWN, "Nothing was charged. Try again in a few seconds.",
            tree.DatabaseUnavailableError(""), should_retry=True, retry_after=lambda exc: 5, traceback=True),
    Problem(503, "service_temporarily_unavailable", "error", (ServerStopping,),
            "The server is being restarted.", "Try again in a few seconds.", ServerStopping(""), should_retry=True,
            retry_after=lambda exc: 5,
            message=lambda exc: f"The server is being restarted. {_bill(exc)}; try again in 5 seconds."),
    Problem(429, "budget_exceeded", "error", (tree.BudgetError,),
            "Your allowance does not cover this request.", "Ask an operator for a larger one.", tree.BudgetError("")),
    Problem(503, "service_temporarily_unavailable", "error", (tree.SystemError,), DOWN, TELL, tree.SystemError("")),
    Problem(500, "internal_error", "error", (tree.GenAIException,), OURS, TELL, tree.GenAIException("")),
    Problem(500, "internal_error", "error", (Exception, drf.APIException), OURS, TELL, Exception(), traceback=True),
]
# fmt: on
BY_CLASS: dict[type[BaseException], Problem] = {cls: row for row in PROBLEMS for cls in row.classes}
BY_CODE: dict[str, Problem] = {}
"""One row a code, for the catalogue of errors: the first of a code's rows stands for it."""
for _row in PROBLEMS:
    BY_CODE.setdefault(_row.code, _row)
