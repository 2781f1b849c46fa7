"""The images and documents of a request, as data URLs and base64."""

from __future__ import annotations

import base64
import binascii
import re

from chat.protocols.turns import fault
from chat.types import Document, Image, Need

DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.ASCII)


def image_of(url: str, detail: str, place: str, needs: list[Need]) -> Image:
    """Return the image at `url`, which may be a data URL, and note what it takes to carry it."""
    if url.startswith("data:"):
        media_type, data = split_data_url(url, place)
        needs.append(Need("image_base64", place))
        return Image(media_type, data, detail=detail)
    needs.append(Need("image_url", place))
    return Image(url=url, detail=detail)


def document_of(media_type: str, data: str, name: str, place: str, needs: list[Need]) -> Document:
    """Return the document of base64 `data`, as text where it is one, and note what it takes to carry it."""
    if media_type == "application/pdf":
        needs.append(Need("document_pdf", place))
        return Document(media_type, data, name=name)
    if media_type.startswith("text/"):
        needs.append(Need("document_text", place))
        return Document("text/plain", text=_decoded(data, place), name=name)
    needs.append(Need("document_other", place))
    return Document(media_type, data, name=name)


def split_data_url(url: str, place: str) -> tuple[str, str]:
    """Return media type and base64 of a data URL. Raises `InvalidMessageFormatError`."""
    found = DATA_URL.match(url)
    if not found:
        raise fault("A data URL must read data:<media type>;base64,<data>.", place, url)
    return found[1].lower(), url[found.end() :]


def _decoded(data: str, place: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise fault("The document is not base64 of a text in UTF-8.", place, data) from None
