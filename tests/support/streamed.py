"""The answers that the tests of `POST /chat` stream."""

from __future__ import annotations

from chat.billing import tokens
from chat.models import UsageRecord
from tests.support.loopback import Fault

State = UsageRecord.State
TEXT = "one two three"
PAUSES = Fault("stream_pauses", seconds=0.03, text=TEXT)
STALL = Fault("stream_stall", text=TEXT)
FIRST = tokens.estimate_prompt(["Hello!"], strict=False) + tokens.estimate_text("one ")
"""What a chat costs whose provider reported nothing and got as far as the first word."""
