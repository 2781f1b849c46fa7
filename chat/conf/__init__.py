"""The settings that this app reads, with their types."""

from __future__ import annotations

from django.conf import settings

from chat.conf.declared import Settings

conf = Settings()


def largest_body(path: str) -> int:
    """Return the most bytes that the body of a request to `path` may have."""
    own = conf.MAX_V1_BODY_BYTES if is_vendors(path) else conf.MAX_BODY_BYTES
    return min(own, int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))


def is_vendors(path: str) -> bool:
    """Return whether `path` belongs to the APIs that vendors' clients speak, however many slashes it begins with."""
    return path.lstrip("/").partition("/")[0] == "v1"
