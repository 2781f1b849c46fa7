"""The fields of a chat that not every model takes: which of them go out, and how a provider says that it refuses one.

Sources: OpenAI's reference of errors (`unsupported_value`, `unsupported_parameter`, with a `param`), Anthropic's
migration guides ("`temperature` is deprecated for this model."), and the words of the compatible servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.providers.failures import ProviderSays

ASKS_FOR_NOTHING: Mapping[str, Any] = {"temperature": 1, "top_p": 1}
"""The vendors' own defaults. A field with this value may be left out where a model does not take the field."""
CODES = ("unsupported_value", "unsupported_parameter")
OUR_NAMES = {"stop_sequences": "stop"}
NAMES = (
    *("temperature", "top_p", "stop", "stop_sequences", "name"),
    *("max_tokens", "max_completion_tokens", "reasoning_effort", "thinking", "output_config"),
)
"""The fields that we may send beside the model and the messages."""
_NAME = rf"[`'\"]?(?P<{{}}>{'|'.join(NAMES)})[`'\"]?"
PHRASES = re.compile(
    rf"\s*(?:{_NAME.format('a')} (?:is deprecated|is not supported|is unsupported|and `\w+` cannot both be specified)\b"
    rf"|Unsupported (?:parameter|value): {_NAME.format('b')}"
    rf"|Argument not supported on this model: {_NAME.format('c')}"
    rf"|Model \S{{1,200}} does not support parameter {_NAME.format('d')})"
)
"""The beginnings of a 400's message that name the field, where no code and no `param` does."""


def field_refused(status: int, says: ProviderSays) -> str:
    """Return the field that an error refuses, by our own name for it, or "" where the error is about something else."""
    if status not in (400, 422):
        return ""
    phrase = PHRASES.match(says.message[:500])
    named = says.param if says.code in CODES and says.param in NAMES else ""
    named = named or (next(filter(None, phrase.groups())) if phrase else "")
    return OUR_NAMES.get(named, named)
