"""How OpenAI and Anthropic refuse a chat as of November 2026: behaviours for `LoopbackProvider.always`.

Sources: the migration guides and deprecation pages of both, and the texts of their errors in public bug reports.
"""

from __future__ import annotations

import re
from typing import Any

from tests.support.loopback import Fault, Recorded, status
from tests.support.loopback_faults import error

RETIRED = re.compile(r"claude-(3|opus-4-0|sonnet-4-0)|gpt-3|text-davinci")
WITHOUT_SAMPLING = re.compile(r"claude-(opus-4-[78]|\w+-5)")
THINKING = re.compile(r"o\d|gpt-[56]")


def vendor(recorded: Recorded) -> Fault | str:
    """Answer as the vendor whose protocol was spoken."""
    sent = recorded.json
    if RETIRED.match(sent["model"]):
        return _no_such_model(recorded.protocol, sent["model"])
    refusal = (anthropics if recorded.protocol == "anthropic" else openais)(sent)
    return refusal or "ok"


def anthropics(sent: dict[str, Any]) -> Fault | None:
    """Return the refusal that Anthropic has for this body, if any."""
    sampling = [name for name in ("temperature", "top_p", "top_k") if name in sent]
    if WITHOUT_SAMPLING.match(sent["model"]) and any(sent[name] != 1 for name in sampling):
        return _invalid(f"`{sampling[0]}` is deprecated for this model.")
    if {"temperature", "top_p"} <= set(sampling):
        return _invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if sent.get("temperature", 0) > 1:
        return _invalid("temperature: range: 0..1")
    if not all(text.strip() for text in sent.get("stop_sequences", [])):
        return _invalid("stop_sequences: each stop sequence must contain non-whitespace")
    return None


def openais(sent: dict[str, Any]) -> Fault | None:
    """Return the refusal that OpenAI has for this body, if any."""
    if len(sent.get("stop", [])) > 4:
        message = "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with"
        return _unsupported("array_above_max_length", "stop", f"{message} length {len(sent['stop'])} instead.")
    if not THINKING.match(sent["model"]):
        return None
    if "max_tokens" in sent:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model."
        return _unsupported("unsupported_parameter", "max_tokens", f"{message} Use 'max_completion_tokens' instead.")
    for name in ("temperature", "top_p"):
        if sent.get(name, 1) != 1 and sent.get("reasoning_effort") != "none":
            message = f"Unsupported value: '{name}' does not support {sent[name]} with this model."
            return _unsupported("unsupported_value", name, f"{message} Only the default (1) value is supported.")
    return None


def _invalid(message: str) -> Fault:
    return status(400, body=error("anthropic", "invalid_request_error", None, message))


def _unsupported(code: str, param: str, message: str) -> Fault:
    body = error("openai", "invalid_request_error", code, message)
    body["error"]["param"] = param
    return status(400, body=body)


def _no_such_model(protocol: str, model: str) -> Fault:
    if protocol == "anthropic":
        return status(404, body=error("anthropic", "not_found_error", None, f"model: {model}"))
    message = f"The model `{model}` does not exist or you do not have access to it."
    return status(404, body=error("openai", "invalid_request_error", "model_not_found", message))
