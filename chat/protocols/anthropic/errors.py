"""Anthropic's errors. Source: platform.claude.com/docs/en/api/errors and /api/rate-limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols import errors
from chat.protocols.anthropic.body import NAME
from chat.protocols.errors import (
    AGAINST_POLICY,
    CREDIT_SPENT,
    KEY_REFUSED,
    TOO_LARGE,
    TOO_LONG,
    UNKNOWN_MODEL,
)
from chat.protocols.payload import Response
from chat.protocols.replies import type_of
from chat.protocols.schemas import TEXT, closed, with_facts
from chat.types import ChatRequest, Told

WORDS = {
    "enforced_spend_limit_reached": CREDIT_SPENT,
    "contract_spend_limit_reached": CREDIT_SPENT,
    "billing_error": CREDIT_SPENT,
    "authentication_error": KEY_REFUSED,
    "not_found_error": UNKNOWN_MODEL,
    "request_too_large": TOO_LARGE,
}
"""Values of `error.details.error_code` and `error.type`."""

PHRASES = {
    "you have reached your specified api usage limits": CREDIT_SPENT,
    "your credit balance is too low": CREDIT_SPENT,
    "prompt is too long": TOO_LONG,
    "input length and `max_tokens` exceed context limit": TOO_LONG,
    "output blocked by content filtering policy": AGAINST_POLICY,
}
"""How the message of a 400 begins, where nothing else tells these cases from a bad request."""


OUR_CODES: Mapping[tuple[str, Any], str] = {("unsupported_parameter", "thread"): "thread_unsupported_request"}
"""Codes by which Anthropic's package does without what it has asked for; any other code ends its run of tools."""


def read_error(response: Response, request: ChatRequest) -> errors.Failure | None:
    """See `Protocol.read_error`."""
    return errors.read_error(response, request, WORDS, PHRASES)


ERRORS = "Anthropic"
TYPES: dict[int | str, str] = {
    4: "invalid_request_error",
    5: "api_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    "provider_error": "api_error",
    "service_temporarily_unavailable": "api_error",
}


def write_error(error: Told, request_id: str) -> dict[str, Any]:
    """See `Face.write_error`. Our code and its facts are the `details`; an error of the vendor's own stays as it is."""
    if (vendor := error.vendor) and vendor.protocol == NAME:
        details = {"details": dict(vendor.details)} if vendor.details else {}
        told = {"type": vendor.type, "message": vendor.message} | details
    else:
        code = OUR_CODES.get((error.code, error.context.get("param")), error.code)
        details = {"error_code": code} | error.context
        told = {"type": type_of(error, TYPES), "message": error.message, "details": details}
    return {"type": "error", "error": told, "request_id": request_id}


def error_schema(example: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """See `Face.error_schema`."""
    error = example["error"]
    details = with_facts(error["details"], {"error_code": {"const": error["details"]["error_code"]}}, facts)
    told = closed({"type": {"const": error["type"]}, "message": TEXT, "details": details})
    return closed({"type": {"const": "error"}, "error": told, "request_id": TEXT})
