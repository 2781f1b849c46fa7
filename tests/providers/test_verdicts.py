"""What the large compatible providers say, and what it means: one row a documented error, told whole and in a stream.

Sources: console.groq.com/docs/errors, ai.google.dev/gemini-api/docs/troubleshooting, docs.together.ai (error codes),
help.aliyun.com/zh/model-studio/error-code, openrouter.ai/docs/api-reference/errors, platform.moonshot.ai (error codes),
docs.mistral.ai, api-docs.deepseek.com/quick_start/error_codes, learn.microsoft.com (Azure OpenAI), docs.x.ai.
"""

from __future__ import annotations

import pytest

from chat.exceptions import (
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.types import Upstream
from tests.providers.streaming import REQUEST, begin, make, rest
from tests.support.loopback import Fault, status

KEY, CREDIT, MODEL, CALL = (ProviderError, "key"), (ProviderError, "credit"), (ProviderError, "model"), "call"
OTHER = (ProviderError, "other")
POLICY, LONG, LARGE = ((ProviderRequestRejectedError, why) for why in ("content_policy", "context_length", "too_large"))
INVALID = (ProviderRequestRejectedError, "invalid")
LIMITED, DOWN = (ProviderRateLimitError, None), (ProviderUnavailableError, None)


def envelope(message="", code=None, kind=None, **more):
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def google(code, state, message, reason=None, **more):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    details += [{"@type": "type.googleapis.com/google.rpc.RetryInfo", **more}] if more else []
    return {"error": {"code": code, "message": message, "status": state, "details": details}}


NO_KEY = google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
ROWS = {
    "groq, retired": (400, envelope("The model `x` has been decommissioned and", "model_decommissioned"), MODEL),
    "groq, unknown": (404, envelope("The model `x` does not exist or you do not", "model_not_found"), MODEL),
    "groq, terms": (400, envelope("The model `x` requires terms acceptance", "model_terms_required"), MODEL),
    "groq, restricted": (400, envelope("Organization has been restricted.", "organization_restricted"), KEY),
    "groq, too large": (413, envelope("Request too large for model `x`", "rate_limit_exceeded", "tokens"), LARGE),
    "groq, spend": (400, envelope("API access is blocked", "blocked_api_access", "invalid_request_error"), CREDIT),
    "gemini, key": (400, NO_KEY, KEY),
    "gemini, key in a list": (400, [NO_KEY], KEY),
    "gemini, key without a reason": (400, [google(400, "INVALID_ARGUMENT", "API key not valid. Please pass")], KEY),
    "gemini, expired": (400, google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), KEY),
    "gemini, place": (
        400,
        google(400, "FAILED_PRECONDITION", "User location is not supported for the API"),
        OTHER,
    ),
    "gemini, model": (404, [google(404, "NOT_FOUND", "models/x is not found for API version v1main")], MODEL),
    "gemini, suspended": (403, google(403, "PERMISSION_DENIED", "Permission denied", "CONSUMER_SUSPENDED"), KEY),
    "gemini, limit": (429, [google(429, "RESOURCE_EXHAUSTED", "You exceeded", retryDelay="7s")], LIMITED),
    "gemini, overloaded": (503, google(503, "UNAVAILABLE", "The model is overloaded."), DOWN),
    "together, model": (400, envelope("Unable to access model x.", "model_not_available"), MODEL),
    "together, key": (401, envelope("Invalid API key provided.", "invalid_api_key"), KEY),
    "together, credit": (402, envelope("Credit limit exceeded", "credit_limit"), CREDIT),
    "dashscope, unpaid": (
        400,
        envelope("Access denied, please make sure your account is in good standing", "Arrearage"),
        CREDIT,
    ),
    "dashscope, bare": (400, {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "1"}, KEY),
    "dashscope, model": (404, envelope("The model `x` does not exist.", "model_not_found"), MODEL),
    "dashscope, not bought": (403, envelope("Access denied", "AccessDenied.Unpurchased"), CREDIT),
    "dashscope, inspected": (400, envelope("Input data may contain", "data_inspection_failed"), POLICY),
    "openrouter, model": (400, envelope("openai/x is not a valid model ID", 400), MODEL),
    "openrouter, endpoints": (404, envelope("No endpoints found for x.", 404), MODEL),
    "openrouter, key": (401, envelope("No auth credentials found", 401), KEY),
    "openrouter, credit": (402, envelope("Insufficient credits. Add more", 402), CREDIT),
    "openrouter, too dear": (
        402,
        envelope("This request requires more credits, or fewer max_tokens. You can only afford 12.", 402),
        (ProviderError, CALL),
    ),
    "openrouter, flagged": (
        403,
        envelope("Blocked", 403, metadata={"reasons": ["hate"], "flagged_input": "x"}),
        POLICY,
    ),
    "moonshot, model": (404, envelope("Not found the model x or Permission", kind="resource_not_found_error"), MODEL),
    "moonshot, key": (401, envelope("Invalid Authentication", kind="invalid_authentication_error"), KEY),
    "moonshot, credit": (429, envelope("Your account is suspended", kind="exceeded_current_quota_error"), CREDIT),
    "moonshot, overloaded": (429, envelope("The engine is overloaded", kind="engine_overloaded_error"), DOWN),
    "moonshot, risk": (400, envelope("The request was rejected because it was considered high risk"), POLICY),
    "mistral, model": (
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"},
        MODEL,
    ),
    "mistral, key": (401, {"message": "Unauthorized", "request_id": "1"}, KEY),
    "deepseek, model": (400, envelope("Model Not Exist", "invalid_request_error", "invalid_request_error"), MODEL),
    "deepseek, credit": (402, envelope("Insufficient Balance", "invalid_request_error", "unknown_error"), CREDIT),
    "deepseek, risk": (400, envelope("Content Exists Risk", "invalid_request_error"), POLICY),
    "azure, deployment": (404, envelope("The API deployment for this resource", "DeploymentNotFound"), MODEL),
    "azure, operation": (400, envelope("The chatCompletion operation does not", "OperationNotSupported"), MODEL),
    "azure, retired": (410, envelope("The model is gone", "ModelDeprecated"), MODEL),
    "azure, no keys": (403, envelope("Key based authentication is disabled", "AuthenticationTypeDisabled"), KEY),
    "azure, filter": (400, envelope("The response was filtered due to", "content_filter"), POLICY),
    "xai, key": (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa"}, KEY),
    "xai, safety": (
        403,
        {
            "code": "permission-denied",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        POLICY,
    ),
    "xai, credit": (
        403,
        {"code": "permission-denied", "error": "Your newly created team doesn't have any credits yet."},
        CREDIT,
    ),
    "openai, too large": (429, envelope("Request too large for x in organization", "rate_limit_exceeded"), LARGE),
    "openai, a moderation model's limit": (
        429,
        envelope("Rate limit reached for omni-moderation-latest: flagged", "rate_limit_exceeded"),
        LIMITED,
    ),
    "openai, place": (
        403,
        envelope("Country not supported", "unsupported_country_region_territory"),
        (ProviderError, CALL),
    ),
    "somebody's proxy": (403, envelope("No.", None), (ProviderError, CALL)),
    "somebody's moderation": (403, envelope("Your input was flagged by moderation.", None), POLICY),
    "cloudflare, too slow": (524, "<html>524: A timeout occurred</html>", (ProviderTimeoutError, None)),
    "a bad request": (400, envelope("Unknown field x", "invalid_value"), INVALID),
}


def _says_its_status(body):
    inner = body.get("error", body) if isinstance(body, dict) else None
    return isinstance(inner, dict) and str(inner.get("code")).isdecimal() and int(inner["code"]) < 600


def ask(provider, stream=False):
    if stream:
        return rest(begin(provider))
    return provider.complete(REQUEST, upstream=Upstream("m"), timeout=5)


def told(provider, stream=False):
    with pytest.raises(ProviderError) as caught:
        ask(provider, stream)
    return caught.value


def fact(failed):
    return getattr(failed, "reason", None) or failed.details.get("kind")


@pytest.mark.parametrize("row", ROWS)
def test_what_it_means(server, row):
    number, body, expected = ROWS[row]
    server.then(status(number, body=body))
    failed = told(make(server))
    assert (type(failed), fact(failed)) == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "row", [row for row, (_, body, _) in ROWS.items() if isinstance(body, dict) and _says_its_status(body)]
)
def test_an_error_under_a_status_of_success_means_the_same_whole_and_streamed(server, row, stream):
    number, body, expected = ROWS[row]
    server.then(Fault("stream_event", body=body) if stream else status(200, body=body))
    failed = told(make(server), stream)
    assert (type(failed), fact(failed)) == expected


BARE = {
    "vllm": {"object": "error", "message": "The engine died of thirst.", "type": "BadRequestError", "code": 400},
    "anthropic without its envelope": {"type": "error", "message": "The engine died of thirst."},
    "a message alone": {"message": "The engine died of thirst.", "code": 503},
    "fastapi": {"detail": "The engine died of thirst."},
}


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", BARE)
def test_an_error_without_an_envelope_is_one_and_its_words_reach_the_log(server, body, stream, protocol):
    server.then(Fault("stream_event", body=BARE[body]) if stream else status(200, body=BARE[body]))
    assert "The engine died of thirst." in told(make(server, protocol), stream).details["text"]


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached for x. Please try again in 7s. Visit", 7.0),
        ("Please try again in 7.66s.", 7.66),
        ("Please try again in 1m2.5s.", 62.5),
        ("Please try again in 345ms.", 0.345),
        ("Please try again in 6h3m0s.", 120.0),
        ("Please retry after 20 seconds.", 20.0),
        ("Try again later.", None),
        ("try again in 0s", None),
    ],
)
def test_a_wait_that_only_the_text_names(server, message, seconds):
    server.then(status(429, body=envelope(message, "rate_limit_exceeded")))
    assert told(make(server)).retry_after == seconds


@pytest.mark.parametrize(("delay", "seconds"), [("7s", 7.0), ("31.5s", 31.5), ("999s", 120.0), ("", None), (7, None)])
def test_googles_retry_delay(server, delay, seconds):
    server.then(status(429, body=[google(429, "RESOURCE_EXHAUSTED", "Quota", retryDelay=delay)]))
    assert told(make(server)).retry_after == seconds


def test_a_header_goes_before_the_text(server):
    server.then(status(429, {"retry-after": "3"}, envelope("Please try again in 7s.", "rate_limit_exceeded")))
    assert told(make(server)).retry_after == 3
