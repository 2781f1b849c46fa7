"""OpenAI's and Anthropic's APIs, for tests: servers that refuse what the vendors' own refuse, and call the tools they
have. Each module is one API; GATEWAY.md says what a vendor enforces."""

from __future__ import annotations

from tests.support.enforcing import completions, messages, responses
from tests.support.loopback import Fault, Recorded


def vendor(recorded: Recorded) -> Fault:
    """Answer a chat, or refuse it, as the API that was asked does."""
    if recorded.protocol == "anthropic":
        return messages.vendor(recorded)
    return (responses if recorded.path.endswith("/responses") else completions).vendor(recorded)
