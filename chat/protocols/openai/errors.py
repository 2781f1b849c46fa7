"""OpenAI's errors, and those of the servers that speak its format.

Source: platform.openai.com/docs/guides/error-codes, and the pages of errors of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols import errors
from chat.protocols.errors import (
    AGAINST_POLICY,
    CREDIT_SPENT,
    KEY_REFUSED,
    TOO_DEAR,
    TOO_LARGE,
    TOO_LONG,
    UNAVAILABLE,
    UNEXPECTED,
    UNKNOWN_MODEL,
)
from chat.protocols.payload import Response
from chat.protocols.replies import param_of, spelled_out, type_of
from chat.protocols.schemas import TEXT, closed
from chat.types import ChatRequest, Told

WORDS = {
    "context_length_exceeded": TOO_LONG,
    "exceed_context_size_error": TOO_LONG,  # llama.cpp
    "request_too_large": TOO_LARGE,
    "content_policy_violation": AGAINST_POLICY,
    "content_filter": AGAINST_POLICY,  # Azure, Moonshot
    "invalid_prompt": AGAINST_POLICY,
    "moderation_blocked": AGAINST_POLICY,
    "data_inspection_failed": AGAINST_POLICY,  # DashScope
    "DataInspectionFailed": AGAINST_POLICY,
    "metadata.reasons": AGAINST_POLICY,  # OpenRouter: why a moderator flagged the prompt
    "invalid_api_key": KEY_REFUSED,
    "InvalidApiKey": KEY_REFUSED,  # DashScope
    "API_KEY_INVALID": KEY_REFUSED,  # Google, as the next ones
    "API_KEY_SERVICE_BLOCKED": KEY_REFUSED,
    "API_KEY_IP_ADDRESS_BLOCKED": KEY_REFUSED,
    "API_KEY_HTTP_REFERRER_BLOCKED": KEY_REFUSED,
    "CONSUMER_SUSPENDED": KEY_REFUSED,
    "SERVICE_DISABLED": KEY_REFUSED,
    "authentication_error": KEY_REFUSED,
    "invalid_authentication_error": KEY_REFUSED,  # Moonshot, as the next
    "incorrect_api_key_error": KEY_REFUSED,
    "access_terminated_error": KEY_REFUSED,
    "account_deactivated": KEY_REFUSED,
    "organization_restricted": KEY_REFUSED,  # Groq
    "AuthenticationTypeDisabled": KEY_REFUSED,  # Azure
    "unauthenticated:bad-credentials": KEY_REFUSED,  # xAI
    "model_not_found": UNKNOWN_MODEL,
    "model_decommissioned": UNKNOWN_MODEL,  # Groq, as the next ones
    "model_not_active": UNKNOWN_MODEL,
    "model_terms_required": UNKNOWN_MODEL,
    "model_permission_blocked_org": UNKNOWN_MODEL,
    "model_permission_blocked_project": UNKNOWN_MODEL,
    "model_not_available": UNKNOWN_MODEL,  # Together
    "model_not_supported": UNKNOWN_MODEL,
    "model_deprecated": UNKNOWN_MODEL,
    "invalid_model": UNKNOWN_MODEL,  # Mistral
    "resource_not_found_error": UNKNOWN_MODEL,  # Moonshot
    "ModelNotFound": UNKNOWN_MODEL,  # DashScope, as the next ones
    "Model.AccessDenied": UNKNOWN_MODEL,
    "model_access_denied": UNKNOWN_MODEL,
    "DeploymentNotFound": UNKNOWN_MODEL,  # Azure, as the next ones
    "OperationNotSupported": UNKNOWN_MODEL,
    "unknown_model": UNKNOWN_MODEL,
    "unavailable_model": UNKNOWN_MODEL,
    "ModelDeprecated": UNKNOWN_MODEL,
    "insufficient_quota": CREDIT_SPENT,
    "credit_balance_exhausted": CREDIT_SPENT,
    "organization_spend_limit_exceeded": CREDIT_SPENT,
    "project_spend_limit_exceeded": CREDIT_SPENT,
    "organization_usage_limit_exceeded": CREDIT_SPENT,
    "billing_hard_limit_reached": CREDIT_SPENT,
    "billing_not_active": CREDIT_SPENT,
    "blocked_api_access": CREDIT_SPENT,  # Groq: a spend limit
    "credit_limit": CREDIT_SPENT,  # Together
    "insufficient_balance": CREDIT_SPENT,
    "exceeded_current_quota_error": CREDIT_SPENT,  # Moonshot
    "Arrearage": CREDIT_SPENT,  # DashScope, as the next ones
    "AccessDenied.Unpurchased": CREDIT_SPENT,
    "AllocationQuota.FreeTierOnly": CREDIT_SPENT,
    "engine_overloaded_error": UNAVAILABLE,  # Moonshot
}
"""Values of `error.code` and `error.type`, and of Google's `status` and `reason`."""

PHRASES = {
    r"request too large\b": TOO_LARGE,
    r"this request requires more credits, or fewer max_tokens\b": TOO_DEAR,  # OpenRouter
    r"incorrect api key\b|invalid api[- ]key\b|api key (?:not valid|expired)\b|no auth credentials\b": KEY_REFUSED,
    r"models?/\S+ is not found\b|no (?:endpoints found|allowed providers)\b|not found the model\b": UNKNOWN_MODEL,
    r"invalid model\b|model not exist\b|\S{1,200} is not a valid model id\b|unable to access model\b": UNKNOWN_MODEL,
    r"the model [`'\"]?\S{1,200}? (?:does not exist|has been (?:decommissioned|deprecated|retired))\b": UNKNOWN_MODEL,
    r"insufficient (?:balance|credits?|funds)\b|access denied, please make sure your account\b": CREDIT_SPENT,
    r"your (?:account|newly created team|team)\b.{0,100}\b(?:suspended|credits?|spending limit)\b": CREDIT_SPENT,
    r"content (?:exists risk|violates)\b|.{0,80}\bconsidered high risk\b": AGAINST_POLICY,  # DeepSeek, xAI, Moonshot
    r".{0,200}\b(?:safety check|flagged|moderation|content (?:policy|filter)|usage guidelines)\b": AGAINST_POLICY,
    r"this model's maximum context length\b|input token count\b|prompt contains \d+ tokens\b": TOO_LONG,
    r"user location is not supported\b|gemini api free tier is not available\b": UNEXPECTED,
}
"""How a 4xx message begins, where no code tells these cases apart."""


def read_error(response: Response, request: ChatRequest) -> errors.Failure | None:
    """See `Protocol.read_error`."""
    return errors.read_error(response, request, WORDS, PHRASES)


ERRORS = "OpenAI"
TYPES: dict[int | str, str] = {
    4: "invalid_request_error",
    5: "server_error",
    403: "request_forbidden",
    429: "requests",
    503: "service_unavailable_error",
    "token_budget_exceeded": "insufficient_quota",
    "budget_exceeded": "insufficient_quota",
    "provider_error": "server_error",
}


def write_error(error: Told, request_id: str) -> dict[str, Any]:
    """See `Face.write_error`. There are exactly four keys: the facts that have none stand in the message."""
    if (vendor := error.vendor) and vendor.protocol in ("openai", "responses", "embeddings"):
        told = {
            "message": vendor.message,
            "type": vendor.type,
            "param": vendor.param,
            "code": vendor.code or error.code,
        }
        return {"error": told}
    return {
        "error": {
            "message": spelled_out(error),
            "type": type_of(error, TYPES),
            "param": param_of(error.context),
            "code": error.code,
        }
    }


def error_schema(example: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """See `Face.error_schema`."""
    fixed = {name: {"const": example["error"][name]} for name in ("type", "code")}
    return closed({"error": closed({"message": TEXT, "param": {"type": ["string", "null"]}} | fixed)})
