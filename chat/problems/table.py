"""The table: exception class -> status, code, public words, facts, retry rule, log level, and where it can occur.

The handler, `GET /errors` and the OpenAPI schema are made from it. A row holds for its classes and their subclasses;
the nearest class in the exception's own MRO wins. Nothing here quotes an exception's `message`, which is for the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Flag, auto
from typing import Any

from django.core import exceptions as dj
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf

from chat import exceptions as tree
from chat.problems import words
from chat.problems.facts import ABSENT, BUDGET, FORMAT, MODEL, OUTAGE, TOO_LARGE, Reader, echoed, stored
from chat.problems.words import bill, of_the_provider
from chat.types import VendorError


class Where(Flag):
    """The kinds of operations that an error can occur in."""

    ANY = auto()
    CREDENTIALS = auto()  # somebody must be known
    SESSION = auto()  # a browser's session may write
    BODY = auto()
    CHAT = auto()
    MESSAGES = auto()  # the body has messages, which are not answered
    MODEL = auto()  # the address names a model
    OBJECT = auto()  # the address names some other object, or a page
    LIMITED = auto()  # a rate of its own, and a slot
    NOWHERE = 0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One row. `message`, the `facts`, `retry_after` (seconds or None) and `level`, the log's, are read from the
    exception.

    `should_retry` says whether the same request may succeed after `retry_after`. `example` is an exception of this row
    for the catalogue of errors; `classes` are those of the row, the example's own where none is named.
    """

    status: int
    code: str
    level: str | Callable[[Any], str]
    where: Where = Where.NOWHERE
    example: BaseException
    classes: tuple[type[BaseException], ...] = ()
    meaning: str
    what_to_do: str
    message: Callable[[Any], str] | None = None
    facts: Mapping[str, Reader] = field(default_factory=dict)
    retry_after: Callable[[Any], float | None] = lambda exc: None
    should_retry: bool | Callable[[Any], bool] = False
    traceback: bool = False

    @property
    def title(self) -> str:
        """Return the code in words."""
        return self.code.replace("_", " ").capitalize().replace("json", "JSON").replace("Csrf", "CSRF")


@dataclass(frozen=True)
class Description:
    """What a client may know of one exception. `retry_after` is whole seconds, 1 or more; `vendor` is the error in a
    vendor's own words, where the client speaks its protocol."""

    problem: Problem
    message: str
    retry_after: int | None
    context: dict[str, Any]
    should_retry: bool
    vendor: VendorError | None = None

    @property
    def status(self) -> int:
        """Return the status of the response: the vendor's own, where the client gets its words."""
        return self.vendor.status if self.vendor else self.problem.status


def find(exc: BaseException) -> Problem:
    """Return the row of the nearest class in the exception's MRO."""
    return next(BY_CLASS[cls] for cls in type(exc).__mro__ if cls in BY_CLASS)


def describe(exc: BaseException) -> Description:
    """Return the public account of `exc`: its row, filled in."""
    problem = find(exc)
    wait = problem.retry_after(exc)
    retry_after = None if wait is None else max(1, math.ceil(wait))
    message = problem.message(exc) if problem.message else f"{problem.meaning} {problem.what_to_do}"
    context = {} if retry_after is None else {"retry_after": retry_after}
    read = ((name, reader(exc)) for name, reader in problem.facts.items())
    context |= {name: value for name, value in read if value is not ABSENT}
    again = problem.should_retry
    vendor = getattr(exc, "vendor", None) if isinstance(exc, tree.ProviderRequestRejectedError) else None
    return Description(problem, message, retry_after, context, again(exc) if callable(again) else again, vendor)


def level_of(exc: BaseException) -> str:
    """Return the level of the error's line in the log."""
    level = find(exc).level
    return level(exc) if callable(level) else level


def _level_of_ours(exc: tree.ProviderError) -> str:
    """Return the level of a fault on our side: a refusal of one call alone wakes nobody at night."""
    return "error" if exc.is_of_this_call else "critical"


TELL = "Try again later; if it stays, tell an operator the request_id."
WAIT = "Try again after `retry_after` seconds."
OURS = "Something went wrong on our side."
DOWN = "A part of this service is down, so the request was not served."
IN_A_SECOND: Callable[[Any], float] = lambda exc: 1  # noqa: E731
IN_FIVE: Callable[[Any], float] = lambda exc: 5  # noqa: E731
PROVIDERS_OWN: Callable[[Any], float] = lambda exc: exc.wait  # noqa: E731
LIMIT = stored("limit", "reset_in")
RESET: Callable[[Any], float] = lambda exc: exc.reset_in  # noqa: E731

# One row an error, in the order of HTTP.md.
PROBLEMS = [
    Problem(
        status=400,
        code="bad_request",
        level="warning",
        where=Where.ANY,
        classes=(dj.SuspiciousOperation, dj.BadRequest, MultiPartParserError, UnreadablePostError),
        example=dj.BadRequest(),
        meaning="The request is broken below its JSON: a host name that is not served here, a body that was cut short, "
        "or an address or headers that are too long or no HTTP.",
        what_to_do="Check the address, the headers and the connection, then send it again.",
    ),
    Problem(
        status=400,
        code="invalid_json",
        level="info",
        where=Where.BODY,
        classes=(tree.InvalidJSON, drf.ParseError),
        example=tree.InvalidJSON("Expecting value: line 1 column 12 (char 11)"),
        meaning="The body is not valid JSON.",
        what_to_do="Send one JSON object in UTF-8 with finite numbers and without NUL characters.",
        message=words.json_words,
    ),
    Problem(
        status=400,
        code="invalid_message_format",
        level="info",
        where=Where.CHAT | Where.MESSAGES,
        example=tree.InvalidMessageFormatError("The content is blank.", field="messages[0].content", received='""'),
        meaning="`messages` is not a list of well-formed messages.",
        what_to_do="Send at least one message, each with a role and a content, and at least one of them from the user.",
        facts=FORMAT,
        message=lambda exc: f"{exc.field} is not valid: {exc.message} See `example` for one that is.",
    ),
    Problem(
        status=400,
        code="invalid_request",
        level="info",
        where=Where.BODY,
        classes=(tree.ValidationError, drf.ValidationError),
        example=tree.ValidationError("", fields={"temperature": ["This must be a number from 0 to 2."]}),
        meaning="One or more fields are missing, unknown or break a rule.",
        what_to_do="`fields` names each of them; correct them and send the request again.",
        facts={"fields": words.fields_of},
        message=words.fields_words,
    ),
    Problem(
        status=400,
        code="unsupported_parameter",
        level="info",
        where=Where.CHAT,
        example=tree.UnsupportedParameter("tools"),
        meaning="The request asks for something that no route of its model, or no part of this service, can do.",
        what_to_do="Leave out `param`, or what it is a part of; nothing that changes the answer is silently ignored.",
        facts={"param": echoed("param")},
        message=words.unsupported_words,
    ),
    Problem(
        status=401,
        code="not_authenticated",
        level="info",
        where=Where.CREDENTIALS,
        example=drf.NotAuthenticated(),
        meaning="The request carries no credentials.",
        what_to_do="Send your key in the header `Authorization: Token <key>`.",
    ),
    Problem(
        status=401,
        code="authentication_failed",
        level="warning",
        where=Where.CREDENTIALS,
        example=drf.AuthenticationFailed("This key is not known."),
        meaning="The credentials are not valid.",
        what_to_do="Check the key, or ask for a new one.",
        message=lambda exc: f"{exc.detail} Check the key, or ask for a new one.",
    ),
    Problem(
        status=403,
        code="permission_denied",
        level="warning",
        classes=(drf.PermissionDenied, dj.PermissionDenied),
        example=drf.PermissionDenied(),
        meaning="You are known, but this is not allowed to you.",
        what_to_do="Ask an operator for it.",
    ),
    Problem(
        status=403,
        code="csrf_failed",
        level="warning",
        where=Where.SESSION,
        example=tree.CSRFFailed(""),
        meaning="The browser's session was sent without a matching CSRF token.",
        what_to_do="Reload the page and try again, or use a key.",
    ),
    Problem(
        status=404,
        code="model_not_found",
        level="warning",
        where=Where.CHAT | Where.MODEL,
        example=tree.ModelNotFoundError("unknown-model", ["claude-3", "gpt-4", "llama-2"]),
        meaning="No model of this name is on offer.",
        what_to_do="Choose one of `available_models`.",
        facts=MODEL,
    ),
    Problem(
        status=404,
        code="not_found",
        level="info",
        where=Where.OBJECT,
        classes=(Http404, drf.NotFound),
        example=drf.NotFound(),
        meaning="There is nothing at this address, or it is not yours.",
        what_to_do="Check the path and the id; GET / lists the endpoints.",
    ),
    Problem(
        status=404,
        code="not_found",
        level="info",
        example=tree.ConversationNotFound(""),
        meaning="The conversation does not exist, or it is not yours.",
        what_to_do="Check the `conversation_id`; GET /conversations lists yours, POST /conversations begins another.",
    ),
    Problem(
        status=405,
        code="method_not_allowed",
        level="info",
        example=drf.MethodNotAllowed("GET"),
        meaning="This address does not support the request's method.",
        what_to_do="The Allow header names the methods that it does.",
    ),
    Problem(
        status=406,
        code="not_acceptable",
        level="info",
        where=Where.ANY,
        example=drf.NotAcceptable(),
        meaning="The Accept header admits no format that is offered here.",
        what_to_do="Accept application/json.",
    ),
    Problem(
        status=415,
        code="unsupported_media_type",
        level="info",
        where=Where.BODY,
        example=drf.UnsupportedMediaType("text/plain"),
        meaning="The body's Content-Type is not supported.",
        what_to_do="Send JSON, with Content-Type: application/json.",
    ),
    Problem(
        status=413,
        code="request_too_large",
        level="warning",
        where=Where.BODY,
        classes=(tree.BodyTooLarge, dj.RequestDataTooBig),
        example=tree.BodyTooLarge(limit_bytes=2_621_440),
        meaning="The body is larger than `limit_bytes`, or than `limit_values` JSON values.",
        what_to_do="Shorten it.",
        message=words.too_large_words,
        facts=TOO_LARGE,
    ),
    Problem(
        status=429,
        code="token_budget_exceeded",
        level="warning",
        where=Where.CHAT,
        classes=(tree.TokenBudgetExceededError, tree.MoneyBudgetExceededError),
        example=tree.TokenBudgetExceededError(
            7, 9500, 10000, 800, prompt_tokens=300, resets_at=datetime(2026, 12, 1, tzinfo=UTC)
        ),
        meaning="The request needs more tokens than your budget has left.",
        what_to_do="The message says which of these helps: a lower max_tokens, shorter messages, to wait until "
        "`resets_at`, a larger budget.",
        facts=BUDGET,
        retry_after=words.budget_wait,
        message=words.budget_words,
        should_retry=words.is_held,
    ),
    Problem(
        status=429,
        code="rate_limit_exceeded",
        level="warning",
        where=Where.CREDENTIALS | Where.LIMITED,
        example=tree.RateLimitExceededError(10, 42),
        meaning="You sent more requests than your rate limit allows.",
        what_to_do="Wait `reset_in` seconds.",
        facts=LIMIT,
        retry_after=RESET,
        message=lambda exc: (
            f"Your rate limit of {exc.limit} per window is used up. Wait {exc.reset_in} seconds and try again."
        ),
        should_retry=True,
    ),
    Problem(
        status=429,
        code="rate_limit_exceeded",
        level="warning",
        example=tree.TooManyAttempts(10, 42),
        meaning="Too many keys or passwords were tried.",
        what_to_do="Wait `reset_in` seconds.",
        facts=LIMIT,
        retry_after=RESET,
        message=lambda exc: (
            "Too many keys or passwords were tried from this address or for this name. "
            f"Wait {exc.reset_in} seconds and try again."
        ),
        should_retry=True,
    ),
    Problem(
        status=429,
        code="rate_limit_exceeded",
        level="warning",
        example=drf.Throttled(42),
        meaning="You sent more requests than your rate limit allows.",
        what_to_do=WAIT,
        retry_after=PROVIDERS_OWN,
        should_retry=True,
    ),
    Problem(
        status=409,
        code="request_in_progress",
        level="info",
        where=Where.CHAT,
        example=tree.RequestInProgress(""),
        meaning="A request with the same Idempotency-Key is still running.",
        what_to_do="Send it again in a second to get its answer.",
        retry_after=IN_A_SECOND,
        should_retry=True,
    ),
    Problem(
        status=422,
        code="idempotency_key_reused",
        level="warning",
        where=Where.CHAT,
        example=tree.IdempotencyKeyReused(""),
        meaning="This Idempotency-Key was already used for a different request.",
        what_to_do="Use a new key for a new request.",
    ),
    Problem(
        status=429,
        code="too_many_concurrent_requests",
        level="warning",
        where=Where.CHAT | Where.LIMITED,
        example=tree.TooManyConcurrentRequests(60),
        meaning="You already have as many chats in flight as you may.",
        what_to_do="Wait for one of them to finish.",
        facts=stored("limit"),
        retry_after=IN_A_SECOND,
        should_retry=True,
    ),
    Problem(
        status=503,
        code="overloaded",
        level="error",
        where=Where.CHAT | Where.LIMITED,
        example=tree.Overloaded(""),
        meaning="The server has as many chats in flight as it can serve.",
        what_to_do="Try again in a second.",
        retry_after=IN_A_SECOND,
        should_retry=True,
    ),
    Problem(
        status=503,
        code="provider_rate_limited",
        level="error",
        where=Where.CHAT,
        example=tree.ProviderRateLimitError("anthropic", 429, "", 30),
        meaning="The provider limits this service as a whole; it is not your own limit.",
        what_to_do=WAIT,
        facts=stored("provider"),
        retry_after=PROVIDERS_OWN,
        message=of_the_provider("{who} is busy. {bill}; try again in {wait} seconds."),
        should_retry=True,
    ),
    Problem(
        status=503,
        code="provider_unavailable",
        level="error",
        where=Where.CHAT,
        example=tree.ProviderUnavailableError("anthropic", 503, ""),
        meaning="The provider is down or cannot be reached.",
        what_to_do="Try again after `retry_after` seconds, or choose another model.",
        facts=OUTAGE,
        retry_after=PROVIDERS_OWN,
        message=of_the_provider("{who} is unavailable. {bill}; try again in {wait} seconds, or use another model."),
        should_retry=True,
    ),
    Problem(
        status=504,
        code="provider_timeout",
        level="error",
        where=Where.CHAT,
        example=tree.ProviderTimeoutError("anthropic", None, ""),
        meaning="The provider did not answer in time.",
        what_to_do="Try again after `retry_after` seconds, perhaps with a smaller max_tokens.",
        facts=stored("provider"),
        retry_after=PROVIDERS_OWN,
        message=of_the_provider("{who} did not answer in time. {bill}; try again in {wait} seconds."),
        should_retry=True,
    ),
    Problem(
        status=504,
        code="provider_timeout",
        level="warning",
        example=tree.StreamTooLong("anthropic", None, ""),
        meaning="The answer went on for longer than a stream may take here.",
        what_to_do="Ask for a shorter one, or take it faster.",
        facts=stored("provider"),
        message=lambda exc: (
            f"The answer went on for longer than a stream may take here. {bill(exc)}; "
            "ask for a shorter one, or take it faster."
        ),
    ),
    Problem(
        status=400,
        code="bad_request",
        level="info",
        example=tree.ClientLeft(),
        meaning="The client closed its connection before there was an answer, and nothing is charged.",
        what_to_do="Nobody reads this.",
    ),
    Problem(
        status=502,
        code="invalid_provider_response",
        level="error",
        where=Where.CHAT,
        example=tree.InvalidProviderResponseError("anthropic", 200, ""),
        meaning="The provider's answer could not be used.",
        what_to_do=WAIT,
        facts=stored("provider"),
        retry_after=PROVIDERS_OWN,
        message=of_the_provider("{who} gave an unusable answer. {bill}; try again in {wait} seconds."),
        should_retry=True,
    ),
    Problem(
        status=400,
        code="provider_rejected_request",
        level="warning",
        where=Where.CHAT,
        example=tree.ProviderRequestRejectedError("anthropic", 400, "", reason="context_length"),
        meaning="The provider refused this input; `reason` is context_length, content_policy, too_large or invalid.",
        what_to_do="Change the request; sending it again unchanged does not help.",
        facts=stored("provider", "reason"),
        message=lambda exc: f"{words.REASONS[exc.reason]} {bill(exc)}.",
    ),
    Problem(
        status=503,
        code="provider_error",
        level=_level_of_ours,
        where=Where.CHAT,
        example=tree.ProviderError("anthropic", 401, ""),
        meaning="This service's own account or set-up with the provider is at fault, not your request.",
        what_to_do="Use another model, or tell an operator the request_id.",
        facts=stored("provider"),
        retry_after=PROVIDERS_OWN,
        message=of_the_provider(
            "{who} cannot be used at the moment, through no fault of yours. {bill}; use another model, or tell an "
            "operator the request_id."
        ),
    ),
    Problem(
        status=503,
        code="service_temporarily_unavailable",
        level="error",
        where=Where.CREDENTIALS,
        classes=(tree.DatabaseUnavailableError, OperationalError, InterfaceError, InternalError),
        example=tree.DatabaseUnavailableError(""),
        meaning=DOWN,
        what_to_do="Nothing was charged. Try again in a few seconds.",
        retry_after=IN_FIVE,
        should_retry=True,
        traceback=True,
    ),
    Problem(
        status=503,
        code="service_temporarily_unavailable",
        level="error",
        example=tree.ServerStopping(""),
        meaning="The server is being restarted.",
        what_to_do="Try again in a few seconds.",
        retry_after=IN_FIVE,
        message=lambda exc: f"The server is being restarted. {bill(exc)}; try again in 5 seconds.",
        should_retry=True,
    ),
    Problem(
        status=429,
        code="budget_exceeded",
        level="error",
        example=tree.BudgetError(""),
        meaning="Your allowance does not cover this request.",
        what_to_do="Ask an operator for a larger one.",
    ),
    Problem(
        status=429,
        code="budget_exceeded",
        level="error",
        example=tree.ModelWithoutPrice(7, ["openai:gpt-6-luna"]),
        meaning="Your budget is in money, and nobody has said what this model costs.",
        what_to_do="Choose another model, or ask an operator to give this one a price.",
    ),
    Problem(
        status=503,
        code="service_temporarily_unavailable",
        level="error",
        example=tree.SystemError(""),
        meaning=DOWN,
        what_to_do=TELL,
    ),
    Problem(
        status=500,
        code="internal_error",
        level="error",
        example=tree.GenAIException(""),
        meaning=OURS,
        what_to_do=TELL,
    ),
    Problem(
        status=500,
        code="internal_error",
        level="error",
        where=Where.ANY,
        classes=(Exception, drf.APIException),
        example=Exception(),
        meaning=OURS,
        what_to_do=TELL,
        traceback=True,
    ),
]
BY_CLASS: dict[type[BaseException], Problem] = {
    cls: row for row in PROBLEMS for cls in row.classes or (type(row.example),)
}
BUG = "internal_error"
"""The code of an exception without a row, which is a fault of ours."""
CODES = {cls.__name__: problem.code for cls, problem in BY_CLASS.items()}
"""The code of each exception by its name, as records have it; of any other, `BUG`."""
BY_CODE: dict[str, Problem] = {}
"""One row a code, for the catalogue of errors: the first of a code's rows stands for it."""
for _row in PROBLEMS:
    BY_CODE.setdefault(_row.code, _row)
