"""What a provider's error means: tables from status and error word to one of our exceptions, and the facts kept of it.

Sources: the error pages of OpenAI's and Anthropic's API references, and what compatible servers answer.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.providers.incoming import Response
from chat.providers.payload import parse_object
from chat.redaction import EXAMINED, excerpt

LONGEST_RETRY_AFTER = 120.0
"""Seconds; nothing is gained by believing a provider that says "tomorrow"."""


class Verdict(NamedTuple):
    """`fact` is the `reason` of a rejection, and `details["kind"]` of a bare `ProviderError`; `meaning` is for the
    log; `param` is the field that is refused, if it is about one."""

    error: type[ProviderError]
    meaning: str
    fact: str = ""
    param: str = ""


KEY_REFUSED = Verdict(ProviderError, "our API key is refused", "key")
CREDIT_SPENT = Verdict(ProviderError, "our account's credit or spend limit is used up", "credit")
UNKNOWN_MODEL = Verdict(ProviderError, "it does not offer this model to us, or its base URL lacks a part", "model")
UNEXPECTED = Verdict(ProviderError, "it objects to how we call it", "other")
TOO_LONG = Verdict(ProviderRequestRejectedError, "the prompt is too long for the model", "context_length")
AGAINST_POLICY = Verdict(ProviderRequestRejectedError, "the prompt breaks its content policy", "content_policy")
NOT_ACCEPTED = Verdict(ProviderRequestRejectedError, "it does not accept this request", "invalid")
RATE_LIMITED = Verdict(ProviderRateLimitError, "it limits our rate")
TOO_SLOW = Verdict(ProviderTimeoutError, "it gave up waiting for itself")
UNAVAILABLE = Verdict(ProviderUnavailableError, "it is down or overloaded")
NO_ANSWER = Verdict(InvalidProviderResponseError, "neither an answer nor an error; redirects are not followed")

STATUSES = {
    400: NOT_ACCEPTED,
    401: KEY_REFUSED,
    402: CREDIT_SPENT,
    403: KEY_REFUSED,
    404: UNKNOWN_MODEL,
    408: TOO_SLOW,
    409: UNAVAILABLE,
    413: TOO_LONG,
    422: NOT_ACCEPTED,
    429: RATE_LIMITED,
    504: TOO_SLOW,
}
FAMILIES = {4: UNEXPECTED, 5: UNAVAILABLE}

STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "service_unavailable_error": 503,
    "server_is_overloaded": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that OpenAI and Anthropic give to an error of this type or code where the status is still to be sent."""


class ProviderSays(NamedTuple):
    """The parts of an error body, as found; each is "" where there is none."""

    code: str = ""
    type: str = ""
    message: str = ""
    request_id: str = ""
    param: str = ""


def read_error(body: bytes) -> ProviderSays:
    """What an error body says. Bodies of any shape are taken: HTML, empty, a list, `error` as a string."""
    data = parse_object(body)
    if data is None:
        return ProviderSays(message=body[: EXAMINED * 4].decode("utf-8", "replace"))
    error = data.get("error")
    if isinstance(error, str):
        return ProviderSays(_word(data.get("code")), _word(data.get("type")), error, _word(data.get("request_id")))
    # Some compatible servers leave the envelope out, and some call the text `detail`.
    error = error if isinstance(error, dict) else data
    extra = error.get("details")
    code = _word(extra.get("error_code")) if isinstance(extra, dict) else ""
    text = error.get("message") or error.get("detail") or ""
    message = text if isinstance(text, str) else str(text)[:EXAMINED]
    return ProviderSays(
        code or _word(error.get("code")),
        _word(error.get("type")),
        message,
        _word(data.get("request_id")),
        _word(error.get("param")),
    )


def verdict_on(status: int, says: ProviderSays, words: Mapping[str, Verdict]) -> Verdict:
    """The meaning of an error status. `words` are a protocol's codes and types that say more than a 4xx status."""
    if 400 <= status < 500:
        for word in (says.code, says.type):
            if word in words:
                return words[word]
    return STATUSES.get(status) or FAMILIES.get(status // 100, NO_ANSWER)


def status_meant(says: ProviderSays, words: Mapping[str, Verdict]) -> int | None:
    """The status of an error that came within a stream, after a 200; None where it does not say what it is.

    Some servers (vLLM, llama.cpp, OpenRouter) put the status itself where others have a code.
    """
    for word in (says.code, says.type):
        if re.fullmatch("[45][0-9][0-9]", word, re.ASCII):
            return int(word)
        if word in STATUS_OF_WORD:
            return STATUS_OF_WORD[word]
    return 400 if {says.code, says.type} & set(words) else None


def provider_error(
    provider: str,
    response: Response,
    verdict: Verdict,
    says: ProviderSays,
    *,
    contents: Iterable[str] = (),
    secrets: Iterable[str] = (),
    usage: Any = None,
    within: str = "",
) -> ProviderError:
    """The exception for `verdict`, with everything that a log may know of `response`.

    `contents` are the request's messages, which must not be found in it, and neither must `secrets`. `within` is
    added to "answered <status>".
    """
    contents, secrets = list(contents), list(secrets)
    facts = {
        "error_type": excerpt(says.type, contents, secrets, 100),
        "error_code": excerpt(says.code, contents, secrets, 100),
        "provider_request_id": request_id_of(response, says),
        "text": excerpt(says.message, contents, secrets),
    }
    details = {name: value for name, value in facts.items() if value}
    words = "/".join(details[name] for name in ("error_type", "error_code") if name in details)
    message = f"{provider} answered {response.status}{within}{words and f' ({words})'}: {verdict.meaning}"
    common: dict[str, Any] = {"retry_after": retry_after(response.headers), "details": details, "usage": usage}
    if verdict.param:
        details["param"] = verdict.param
    if verdict.error is ProviderError:
        details["kind"] = verdict.fact
    if verdict.error is ProviderRequestRejectedError:
        common |= {"reason": verdict.fact, "param": verdict.param}
    return verdict.error(provider, response.status, message, **common)


def request_id_of(response: Response, says: ProviderSays) -> str:
    """The provider's own id of the request, which its support asks for, or ""."""
    for value in (response.headers.get("x-request-id"), response.headers.get("request-id"), says.request_id):
        if value and re.fullmatch(r"[\w.:-]{1,128}", value, re.ASCII):
            return value
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a provider asks us to wait, at most 120; None where it does not say, or says nothing sensible."""
    for value in (_milliseconds(headers.get("retry-after-ms")), _seconds(headers.get("retry-after"))):
        if value is not None and math.isfinite(value) and value > 0:
            return min(value, LONGEST_RETRY_AFTER)
    return None


def _milliseconds(text: str | None) -> float | None:
    value = _number(text)
    return None if value is None else value / 1000


def _seconds(text: str | None) -> float | None:
    value = _number(text)
    if value is not None or not text:
        return value
    try:
        return parsedate_to_datetime(text.strip()[:64]).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    # float() alone also takes "1_0", "infinity" and digits of other scripts.
    if text is None or not re.fullmatch(r"\s*[+-]?[0-9]{1,15}(\.[0-9]{0,15})?\s*", text):
        return None
    return float(text)


def _word(value: Any) -> str:
    """An error's type or code, which some servers send as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:200]
