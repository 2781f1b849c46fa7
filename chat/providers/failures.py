"""What a provider's error means: tables from status and error word to one of our exceptions, and the facts kept of it.

Sources: the error pages of OpenAI's and Anthropic's API references, and what compatible servers answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.observability.redaction import EXAMINED, excerpt, mask_secrets
from chat.providers.payload import parse_object
from chat.providers.transport.incoming import Response
from chat.providers.waits import duration, retry_after, wait_in


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
FORBIDDEN = Verdict(ProviderError, "it refuses this call, though not our key", "call")
TOO_DEAR = Verdict(ProviderError, "this call costs more than what is left of our credit", "call")
TOO_LARGE = Verdict(ProviderRequestRejectedError, "the request is too large for it, or for our rate", "too_large")
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
    403: FORBIDDEN,
    404: UNKNOWN_MODEL,
    408: TOO_SLOW,
    409: UNAVAILABLE,
    410: UNKNOWN_MODEL,
    413: TOO_LARGE,
    422: NOT_ACCEPTED,
    429: RATE_LIMITED,
    504: TOO_SLOW,
    524: TOO_SLOW,  # Cloudflare's, of a server behind it
}
FAMILIES = {4: UNEXPECTED, 5: UNAVAILABLE}

POLICY_STATUSES = (400, 403, 422)
"""The statuses under which a text may speak of a policy; a rate limit may be that of a moderation model."""

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
    """The parts of an error body, as found; each is "" where there is none. `words` are further words of a machine's,
    such as Google's `status` and `reason`; `wait` is the seconds that the body asks us to wait."""

    code: str = ""
    type: str = ""
    message: str = ""
    request_id: str = ""
    param: str = ""
    words: tuple[str, ...] = ()
    wait: float | None = None

    @property
    def all_words(self) -> tuple[str, ...]:
        return (self.code, self.type, *self.words)


def read_error(body: bytes) -> ProviderSays:
    """Return the parts of an error body. Bodies of any shape are taken: HTML, empty, a list, `error` as a string."""
    data = error_object(body)
    if data is None:
        return ProviderSays(message=body[: EXAMINED * 4].decode("utf-8", "replace"))
    error = data.get("error")
    if isinstance(error, list) and error:
        error = error[0]
    request_id = _word(data.get("request_id"))
    if isinstance(error, str):
        code = _word(data.get("code"))
        return ProviderSays(code, _word(data.get("type")), error, request_id, wait=wait_in(error))
    # Some compatible servers leave the envelope out, and some call the text `detail`.
    error = error if isinstance(error, dict) else data
    text = error.get("message") or error.get("detail") or ""
    message = text if isinstance(text, str) else str(text)[:EXAMINED]
    details = error.get("details")
    code = _word(details.get("error_code")) if isinstance(details, dict) else ""
    found = [item for item in details if isinstance(item, dict)][:20] if isinstance(details, list) else []
    metadata = error.get("metadata")
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons"))
    words = (error.get("status"), *(item.get("reason") for item in found), "metadata.reasons" if flagged else "")
    return ProviderSays(
        code or _word(error.get("code")),
        _word(error.get("type")),
        message,
        request_id,
        _word(error.get("param")),
        tuple(filter(None, map(_word, words))),
        next(filter(None, (duration(item.get("retryDelay")) for item in found)), None) or wait_in(message),
    )


def error_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body, or the first one of a list, as Google's OpenAI API sends it."""
    data = parse_object(body)
    if data is None and body[:64].lstrip().startswith(b"["):
        first = parse_object(b'{"list": ' + body + b"}")
        items = first["list"] if first else []
        data = items[0] if items and isinstance(items[0], dict) else None
    return data


def is_error(data: Mapping[str, Any]) -> bool:
    """Return whether a body or an event of a status of success tells an error, with or without an `error` envelope."""
    if data.get("error") or data.get("type") == "error" or data.get("object") == "error":
        return True
    bare = isinstance(data.get("message"), str) or isinstance(data.get("detail"), str | list)
    return bare and not {"choices", "content", "delta", "usage"} & data.keys()


def verdict_on(
    status: int,
    says: ProviderSays,
    words: Mapping[str, Verdict],
    phrases: Mapping[str, Verdict] | None = None,
    contents: Iterable[str] = (),
) -> Verdict:
    """Return the meaning of an error status. `words` are a protocol's codes and types that say more than a 4xx status;
    `phrases` are regular expressions for the beginning of a message, where no code tells these cases apart. `contents`
    are the request's messages, since a server may do no more than repeat one."""
    if 400 <= status < 500:
        for word in says.all_words:
            if word in words:
                return words[word]
        start = says.message[:500].lstrip()
        for phrase, verdict in (phrases or {}).items():
            found = re.match(phrase, start, re.IGNORECASE)
            about_policy = verdict is AGAINST_POLICY
            if found and (status in POLICY_STATUSES or not about_policy) and not _is_echo(found[0], contents):
                return verdict
    return STATUSES.get(status) or FAMILIES.get(status // 100, NO_ANSWER)


def _is_echo(phrase: str, contents: Iterable[str]) -> bool:
    """Return whether the user wrote `phrase`, so that finding it in the provider's message proves nothing."""
    return any(phrase.lower() in content.lower() for content in contents)


def status_meant(says: ProviderSays, words: Mapping[str, Verdict]) -> int | None:
    """Return the status of an error that came after a 200; None where it does not say what it is.

    Some servers (vLLM, llama.cpp, OpenRouter, Google) put the status itself where others have a code.
    """
    for word in says.all_words:
        if re.fullmatch("[45][0-9][0-9]", word, re.ASCII):
            return int(word)
        if word in STATUS_OF_WORD:
            return STATUS_OF_WORD[word]
    return 400 if {*says.all_words} & words.keys() else None


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
        "error_type": _machines(says.type, secrets),
        "error_code": _machines(says.code, secrets),
        "provider_request_id": request_id_of(response, says),
        "text": excerpt(says.message, contents, secrets),
    }
    details = {name: value for name, value in facts.items() if value}
    words = "/".join(details[name] for name in ("error_type", "error_code") if name in details)
    message = f"{provider} answered {response.status}{within}{words and f' ({words})'}: {verdict.meaning}"
    wait = retry_after(response.headers) or says.wait
    common: dict[str, Any] = {"retry_after": wait, "details": details, "usage": usage}
    if verdict.param:
        details["param"] = verdict.param
    if verdict.error is ProviderError:
        details["kind"] = verdict.fact
    if verdict.error is ProviderRequestRejectedError:
        common |= {"reason": verdict.fact, "param": verdict.param}
    return verdict.error(provider, response.status, message, **common)


def _machines(word: str, secrets: Iterable[str]) -> str:
    """Return an error's type or code for the log, "" where it is no word of a machine's and may be a user's."""
    return mask_secrets(word, secrets) if re.fullmatch(r"[\w.:/-]{1,100}", word, re.ASCII) else ""


def request_id_of(response: Response, says: ProviderSays) -> str:
    """The provider's own id of the request, which its support asks for, or ""."""
    for value in (response.headers.get("x-request-id"), response.headers.get("request-id"), says.request_id):
        if value and re.fullmatch(r"[\w.:-]{1,128}", value, re.ASCII):
            return value
    return ""


def _word(value: Any) -> str:
    """An error's type or code, which some servers send as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:200]
