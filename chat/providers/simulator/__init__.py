"""A provider that is always at home: it answers without a network, and does what the last user message asks for.

Source of what can be asked: commands.py.
"""

from __future__ import annotations

from chat.providers.simulator.commands import FAULTS as FAULTS
from chat.providers.simulator.provider import SimulatorProvider as SimulatorProvider
from chat.providers.simulator.provider import SimulatorStream as SimulatorStream
