"""OpenAI's Responses API, without anything that is stored: each request has its whole history.

Source: platform.openai.com/docs/api-reference/responses and /responses-streaming, and the types of the package openai.
"""

from __future__ import annotations

from chat.protocols.openai import ERRORS, error_schema, headers, request_headers, root, write_error
from chat.protocols.payload import LARGEST_REPLY
from chat.protocols.responses.answer import write_reply
from chat.protocols.responses.body import NAME, REPLY, request_schema
from chat.protocols.responses.errors import read_error
from chat.protocols.responses.events import EventWriter
from chat.protocols.responses.reply import FINISH_REASONS, read_event, read_reply
from chat.protocols.responses.request import (
    CARRIES,
    prompt_tokens,
    read_request,
    takes,
    without_thoughts,
    write_request,
)

VENDOR = "api.openai.com"
PATH = "/responses"
COUNT_PATH = ""
MODELS_PATH = "/models"
TERMINATOR: bytes | None = None
MAY_OMIT_TERMINATOR = False
