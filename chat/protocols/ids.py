"""Names and ids that one vendor allows and another does not: made fit, and the same each time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from chat.types import ChatRequest

FIT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
UNFIT = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)


def fit(name: str, most: int) -> str:
    """Return `name` where it is 1 to `most` letters, digits, _ and -; else its beginning and eight digits of its hash,
    so that a call and its result still agree."""
    if len(name) <= most and FIT.fullmatch(name):
        return name
    digits = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{UNFIT.sub('_', name)[: most - 9]}_{digits}"


def originals(request: ChatRequest, protocol: str, most: int) -> Mapping[str, str]:
    """Return the names of the client's tools that were made fit for a server of `protocol`, by their fit form. Where
    the client itself speaks it, none was."""
    names = () if request.is_verbatim(protocol) else tuple(tool.name for tool in request.tools)
    return {fit(name, most): name for name in names if fit(name, most) != name}
