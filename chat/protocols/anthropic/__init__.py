"""Anthropic's Messages API.

Source: platform.claude.com/docs/en/api/messages, /api/errors and /api/rate-limits.
"""

from __future__ import annotations

from chat.protocols.anthropic.abilities import prompt_tokens, takes
from chat.protocols.anthropic.body import COUNT, NAME, REPLY, count_schema, request_schema
from chat.protocols.anthropic.errors import ERRORS, error_schema, read_error, write_error
from chat.protocols.anthropic.events import EventWriter, write_reply
from chat.protocols.anthropic.reply import FINISH_REASONS, read_event, read_reply
from chat.protocols.anthropic.request import (
    CARRIES,
    headers,
    read_count,
    read_request,
    request_headers,
    root,
    without_thoughts,
    write_request,
)
from chat.protocols.payload import LARGEST_REPLY

VENDOR = "api.anthropic.com"
PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models?limit=1000"
TERMINATOR: bytes | None = None
MAY_OMIT_TERMINATOR = False
