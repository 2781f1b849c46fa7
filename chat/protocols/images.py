"""What an image or a document costs, by the vendors' published formulas."""

from __future__ import annotations

import base64
import io
from math import ceil

import imagesize

from chat.types import Document, Image

HEAD = 65_536
"""Bytes of an image in which its size is looked for. Where it is not there, the image counts as the largest."""
DENSE_PAGE = 3_200
"""Tokens of one dense page of a PDF, and so the least that a document is reserved."""
PATCH, MOST_PATCHES, MORE_PATCHES = 32, 1_536, 2_500
TILES = {"gpt-4o-mini": (2_833, 5_667), "o3": (75, 150), "o1": (75, 150), "gpt-5": (70, 140)}
"""Tokens of an image, and of each of its tiles; the longest beginning of a model's name decides."""
OF_4O = (85, 170)
FACTORS = {"mini": 1.62, "nano": 2.46}
TILED = ("gpt-4o", "gpt-4.1", "gpt-4.5", "o1", "o3", "gpt-5")
MOST_TILES = 8
"""Tiles of the largest image: it is first made to fit 2,048 by 2,048, and its short side 768."""


def size_of(image: Image) -> tuple[int, int] | None:
    """Return width and height, None where they cannot be known without asking another host."""
    if not image.data:
        return None
    try:
        head = base64.b64decode(image.data[: HEAD * 4 // 3 // 4 * 4])
        width, height = imagesize.get(io.BytesIO(head))
    except ValueError:  # no base64, as the vendor will tell; of bytes that are no image the library says -1
        return None
    return (width, height) if width > 0 and height > 0 else None


def document_tokens(document: Document) -> int:
    """Return the tokens of a document that is no plain text."""
    if document.text:
        return 0
    return max(len(document.data) * 3 // 16, DENSE_PAGE) if document.data else DENSE_PAGE * 10


def openai_tokens(part: Image | Document, model: str) -> int:
    """Return the tokens that OpenAI's `model` counts for an image or a document."""
    if isinstance(part, Document):
        return document_tokens(part)
    small = next((factor for word, factor in FACTORS.items() if word in model), None)
    if model.startswith(TILED) and not (small and not model.startswith("gpt-4o")):
        return _tiles(part, model)
    return ceil(_patches(part) * (small or 1.2))


def _tiles(image: Image, model: str) -> int:
    base, tile = next((TILES[name] for name in sorted(TILES, key=len, reverse=True) if model.startswith(name)), OF_4O)
    if image.detail == "low":
        return base
    size = size_of(image)
    if not size:
        return base + tile * MOST_TILES
    scale = min(1, 2_048 / max(size))
    scale *= min(1, 768 / (min(size) * scale))
    width, height = (max(side * scale, 1) for side in size)
    return base + tile * ceil(width / 512) * ceil(height / 512)


def _patches(image: Image) -> int:
    most = {"low": MOST_PATCHES, "original": MORE_PATCHES * 4}.get(image.detail, MORE_PATCHES)
    size = size_of(image)
    return min(ceil(size[0] / PATCH) * ceil(size[1] / PATCH), most) if size else most


CLAUDE_PATCH = 28
CLAUDES = {False: (1_568, 1_568), True: (2_576, 4_784)}
"""The longest edge to which an image is made smaller, and the most tokens of one; of newer models, both are larger."""


def claude_tokens(part: Image | Document, *, larger: bool) -> int:
    """Return the tokens that Anthropic's models count for an image or a document."""
    if isinstance(part, Document):
        return document_tokens(part)
    edge, most = CLAUDES[larger]
    size = size_of(part)
    if not size:
        return most
    scale = min(1, edge / max(size))
    width, height = (ceil(side * scale / CLAUDE_PATCH) for side in size)
    return min(width * height, most)
