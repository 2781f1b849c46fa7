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
from chat.protocols.payload import Response, error_object
from chat.protocols.waits import EXAMINED, duration, wait_in
from chat.types import ChatRequest


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


CODES = ("unsupported_value", "unsupported_parameter")
OUR_NAMES = {
    "stop_sequences": "stop",
    "reasoning_effort": "effort",
    "reasoning": "effort",
    "thinking": "effort",
    "output_config": "effort",
    "response_format": "format",
    "tool_choice": "choice",
}
"""Our words for the fields of the formats."""
FIELDS = (
    *("temperature", "top_p", "stop", "stop_sequences", "name"),
    *("max_tokens", "max_completion_tokens", "reasoning_effort", "reasoning", "thinking", "output_config"),
    *("response_format", "tool_choice"),
)
"""The fields that we may send beside the model and the messages."""
_NAME = rf"[`'\"]?(?P<{{}}>{'|'.join(FIELDS)})[`'\"]?"
REFUSALS = re.compile(
    rf"\s*(?:{_NAME.format('a')} (?:is deprecated|is not supported|is unsupported|and `\w+` cannot both be specified)\b"
    rf"|Unsupported (?:parameter|value): {_NAME.format('b')}"
    rf"|Argument not supported on this model: {_NAME.format('c')}"
    rf"|Model \S{{1,200}} does not support parameter {_NAME.format('d')})"
)
"""The beginnings of a 400's message that name the field, where no code and no `param` does."""


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


class Failure(NamedTuple):
    """An error as it was read. `status` is what the provider means by it, which may have come after a 200."""

    status: int
    says: ProviderSays
    verdict: Verdict


def read_error(
    response: Response, request: ChatRequest, words: Mapping[str, Verdict], phrases: Mapping[str, Verdict]
) -> Failure | None:
    """Return what an error means; None for one under a status of success that does not say what it is.

    `words` are a format's codes and types that say more than a 4xx status; `phrases` are regular expressions for the
    beginning of a message, where no code tells these cases apart.
    """
    says = said(response.body)
    status = _status_meant(says, words) if 200 <= response.status < 300 else response.status
    if status is None:
        return None
    name = _field_refused(status, says)
    if name in request.optional():
        verdict = NOT_ACCEPTED._replace(meaning=f"this upstream model does not take {name}", param=name)
    elif name in _by_the_client(request):
        verdict = NOT_ACCEPTED
    elif name:
        verdict = UNEXPECTED._replace(meaning=f"it does not take {name} as models.toml has it sent", param=name)
    else:
        verdict = _verdict(status, says, words, phrases, request.texts())
    return Failure(status, says, verdict)


def said(body: bytes) -> ProviderSays:
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


def _verdict(
    status: int,
    says: ProviderSays,
    words: Mapping[str, Verdict],
    phrases: Mapping[str, Verdict],
    contents: Iterable[str],
) -> Verdict:
    """Return the meaning of an error status. `contents` are the request's messages, since a server may do no more than
    repeat one."""
    if 400 <= status < 500:
        for word in says.all_words:
            if word in words:
                return words[word]
        start = says.message[:500].lstrip()
        for phrase, verdict in phrases.items():
            found = re.match(phrase, start, re.IGNORECASE)
            about_policy = verdict is AGAINST_POLICY
            if found and (status in POLICY_STATUSES or not about_policy) and not _is_echo(found[0], contents):
                return verdict
    return STATUSES.get(status) or FAMILIES.get(status // 100, NO_ANSWER)


def _is_echo(phrase: str, contents: Iterable[str]) -> bool:
    """Return whether the user wrote `phrase`, so that finding it in the provider's message proves nothing."""
    return any(phrase.lower() in content.lower() for content in contents)


def _status_meant(says: ProviderSays, words: Mapping[str, Verdict]) -> int | None:
    """Return the status of an error that came after a 200; None where it does not say what it is.

    Some servers (vLLM, llama.cpp, OpenRouter, Google) put the status itself where others have a code.
    """
    for word in says.all_words:
        if re.fullmatch("[45][0-9][0-9]", word, re.ASCII):
            return int(word)
        if word in STATUS_OF_WORD:
            return STATUS_OF_WORD[word]
    return 400 if {*says.all_words} & words.keys() else None


def _by_the_client(request: ChatRequest) -> set[str]:
    """Return the fields that stand in the client's own body, by our names: it may ask for nothing by one of them."""
    return {OUR_NAMES.get(name, name) for name in request.raw.body} if request.raw else set()


def _field_refused(status: int, says: ProviderSays) -> str:
    """Return the field that an error refuses, by our own name for it, or "" where the error is about something else."""
    if status not in (400, 422):
        return ""
    phrase = REFUSALS.match(says.message[:500])
    named = says.param if says.code in CODES and says.param in FIELDS else ""
    named = named or (next(filter(None, phrase.groups())) if phrase else "")
    return OUR_NAMES.get(named, named)


def _word(value: Any) -> str:
    """Return an error's type or code, which some servers send as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:200]
