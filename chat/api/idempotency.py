"""The header Idempotency-Key. What stands under a key is kept by `billing.claims`."""

from __future__ import annotations

import re

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from chat.exceptions import ValidationError

VALID_KEY = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    pattern="^[!-~]{0,255}$",
    description="Your name for this request. Sent again under it, it is answered from the first answer, charged once.",
)


def key_of(request: Request) -> str | None:
    """Return the request's Idempotency-Key; an empty one counts as none. Raises `ValidationError` for a malformed
    one."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return None
    if not VALID_KEY.fullmatch(key):
        complaint = "This must be 1 to 255 visible ASCII characters."
        raise ValidationError("Malformed Idempotency-Key.", fields={"Idempotency-Key": [complaint]})
    return key
