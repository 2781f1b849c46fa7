"""Anthropic's Messages API.

Source: platform.claude.com/docs/en/api/messages, /api/errors and /api/rate-limits.
"""

from __future__ import annotations

from chat.protocols.anthropic.errors import read_error
from chat.protocols.anthropic.reply import FINISH_REASONS, read_event, read_reply
from chat.protocols.anthropic.request import headers, request_headers, root, takes, write_request

__all__ = [
    "FINISH_REASONS",
    "MAY_OMIT_TERMINATOR",
    "MODELS_PATH",
    "PATH",
    "TERMINATOR",
    "VENDOR",
    "headers",
    "read_error",
    "read_event",
    "read_reply",
    "request_headers",
    "root",
    "takes",
    "write_request",
]

VENDOR = "api.anthropic.com"
PATH = "/v1/messages"
MODELS_PATH = "/v1/models?limit=1000"
TERMINATOR: bytes | None = None
MAY_OMIT_TERMINATOR = False
