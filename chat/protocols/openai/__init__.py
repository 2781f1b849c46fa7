"""OpenAI's Chat Completions API, and the many servers that speak it: Ollama, vLLM, llama.cpp, Groq, Mistral …

Source: platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes.
"""

from __future__ import annotations

from chat.protocols.openai.body import NAME, REPLY, request_schema
from chat.protocols.openai.chunks import read_event
from chat.protocols.openai.errors import ERRORS, error_schema, read_error, write_error
from chat.protocols.openai.events import EventWriter, write_reply
from chat.protocols.openai.reply import FINISH_REASONS, read_reply
from chat.protocols.openai.request import (
    CARRIES,
    headers,
    prompt_tokens,
    read_request,
    request_headers,
    root,
    takes,
    without_thoughts,
    write_request,
)
from chat.protocols.payload import LARGEST_REPLY

VENDOR = "api.openai.com"
PATH = "/chat/completions"
COUNT_PATH = ""
MODELS_PATH = "/models"
TERMINATOR: bytes | None = b"[DONE]"
# The API's own clients do not ask for [DONE], so servers exist that never send it. The finish reason says that the
# model was done, and HTTP that nothing was lost after it; where HTTP cannot say so, the answer counts as cut.
MAY_OMIT_TERMINATOR = True
