"""OpenAI's Chat Completions API, and the many servers that speak it: Ollama, vLLM, llama.cpp, Groq, Mistral …

Source: platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.providers.failures import (
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
from chat.providers.http import HTTPProvider
from chat.providers.payload import UnusableReply, as_object, as_text, count, part_of, usage_of
from chat.providers.streams import Heard
from chat.types import SAMPLING, ChatMessage, ChatReply, ChatRequest, Upstream, Usage

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

MOST_STOPS = 4
REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)(?!\S*-chat\b))")
"""The beginning of the names of OpenAI's models that think. They refuse sampling while they do."""
ALWAYS_THINKING = re.compile(r"(?:ft:)?o\d")
OPENAI_HOSTS = (
    ".openai.com",
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)

BROKEN_OFF = "it broke off half-way"

ABORTED = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of OpenRouter, vLLM and DeepSeek for an answer that broke off half-way."""


class OpenAIProvider(HTTPProvider):
    """A server that answers `POST {base_url}/chat/completions`."""

    path = "/chat/completions"
    models_path = "/models"
    vendor = "api.openai.com"
    words = WORDS
    phrases = PHRASES
    finish_reasons = {
        "stop": "stop",
        "length": "length",
        "model_length": "length",  # Mistral
        "content_filter": "content_filter",
        "tool_calls": "stop",
        "function_call": "stop",
    }
    stream_fields = {"stream": True, "stream_options": {"include_usage": True}}
    terminator = b"[DONE]"
    # The API's own clients do not ask for [DONE], so servers exist that never send it. The finish reason says that the
    # model was done, and HTTP that nothing was lost after it; where HTTP cannot say so, the answer counts as cut.
    may_omit_terminator = True

    def headers(self, api_key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def request_headers(self, request: ChatRequest) -> Mapping[str, str]:
        # OpenAI keeps it beside its own id, so that its support can find a request that never got an answer.
        if re.fullmatch(r"[!-~]{1,512}", request.request_id):
            return {"X-Client-Request-Id": request.request_id}
        return {}

    def payload(self, request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": upstream.model,
            "messages": [_message(message) for message in request.messages],
            upstream.limit_field or self._limit_field: request.max_tokens,
        }
        if upstream.effort:
            payload["reasoning_effort"] = upstream.effort
        if pseudonym := self.pseudonym(request, upstream):
            payload["safety_identifier"] = pseudonym
        optional = self.optional(request, upstream)
        if not optional.pop("name", False):
            payload["messages"] = [{"role": role, "content": content} for role, content, _ in request.messages]
        return payload | optional

    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        """See `HTTPProvider.takes`. Source: OpenAI's guides to its reasoning models and to GPT-6."""
        model = upstream.model.rpartition("/")[2]  # OpenRouter's names begin with the maker's
        if name == "stop":
            return len(asked["stop"]) <= MOST_STOPS
        if name in SAMPLING and REASONING.match(model):
            return upstream.effort == "none" and not ALWAYS_THINKING.match(model)
        return True

    @property
    def _limit_field(self) -> str:
        # OpenAI's newer models refuse `max_tokens`. Several compatible servers (Ollama, LM Studio, older llama.cpp)
        # ignore its successor in silence, which would leave the output, and so the user's budget, without a bound.
        host = self.endpoint.host.partition(":")[0]
        return "max_completion_tokens" if host.endswith(OPENAI_HOSTS) else "max_tokens"

    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> ChatReply:
        usage = _usage(data)
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UnusableReply("no choices", usage)
        choice = as_object(choices[0])
        message, reason = as_object(choice.get("message")), choice.get("finish_reason")
        text, refusal = as_text(_text(message.get("content"), "text")), as_text(message.get("refusal"))
        refusal = refusal or as_text(_text(message.get("content"), "refusal"))
        if reason in ABORTED:
            raise UnusableReply(BROKEN_OFF, usage)
        if not text.strip() and refusal.strip():
            return ChatReply(refusal, "content_filter", usage)
        if not text.strip() and not (isinstance(reason, str) and reason):
            raise UnusableReply("neither text nor an end", usage)
        return ChatReply(text, self.finish(reason, usage, request), usage)

    def read_event(self, data: dict[str, Any], heard: Heard) -> str:
        # Usage comes in an extra chunk without choices, in the last one with choices, or in every one.
        heard.usage = _usage(data) or heard.usage
        choices = data.get("choices")
        choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
        # A server that does not stream may answer the whole message as one event.
        delta, reason = as_object(choice.get("delta") or choice.get("message")), choice.get("finish_reason")
        if reason in ABORTED:
            raise UnusableReply(BROKEN_OFF, heard.usage)
        if isinstance(reason, str) and reason:
            heard.reason = reason
        refusal = part_of(delta.get("refusal")) or _text(delta.get("content"), "refusal")
        heard.refused = heard.refused or bool(refusal)
        return _text(delta.get("content"), "text") + refusal


def _message(message: ChatMessage) -> dict[str, str]:
    named = {"name": message.name} if message.name else {}
    return {"role": message.role, "content": message.content, **named}


def _text(content: Any, kind: str) -> str:
    """Return the text of a message's content, which some servers send as a list of parts. It may end in half a
    character, whose other half is in the next event."""
    if isinstance(content, list):
        parts = [as_object(part) for part in content]
        return "".join(part_of(part.get(kind)) for part in parts if part.get("type") == kind)
    return part_of(content) if kind == "text" else ""


def _usage(data: dict[str, Any]) -> Usage | None:
    usage = as_object(data.get("usage"))
    counts = [count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    return usage_of(*counts)
