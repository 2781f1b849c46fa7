"""The errors of the Responses API: those of OpenAI, and those of an answer that failed half-way."""

from __future__ import annotations

import json

from chat.protocols import errors
from chat.protocols.errors import AGAINST_POLICY, NOT_ACCEPTED
from chat.protocols.openai.errors import PHRASES, WORDS
from chat.protocols.payload import Response, as_object, parse_object
from chat.types import ChatRequest

IMAGES = (
    *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
    *("image_too_large", "image_too_small", "image_parse_error", "image_file_too_large", "image_file_not_found"),
    *("unsupported_image_media_type", "empty_image_file", "failed_to_download_image"),
)
OWN_WORDS = WORDS | {
    **dict.fromkeys(IMAGES, NOT_ACCEPTED),
    "image_content_policy_violation": AGAINST_POLICY,
    "bio_policy": AGAINST_POLICY,
    "misalignment_policy_violation": AGAINST_POLICY,
}


def read_error(response: Response, request: ChatRequest) -> errors.Failure | None:
    """See `Protocol.read_error`. An answer that failed tells its error within itself."""
    data = parse_object(response.body) or {}
    if data.get("type") == "response.failed":
        error = as_object(data.get("response")).get("error")
        response = response._replace(body=json.dumps({"error": error}).encode())
    return errors.read_error(response, request, OWN_WORDS, PHRASES)
