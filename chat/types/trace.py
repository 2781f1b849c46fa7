"""The place of a chat, or of one of its calls, in a distributed trace, by W3C's Trace Context."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a trace. Ids are lower-case hexadecimal; `parent_id` is "" where nobody called us with one. `state`
    is the caller's `tracestate`, which goes on as it came. A trace that is not `sampled` is passed on and told nobody.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = True
    state: str = ""

    def child(self) -> Trace:
        """Return a new span below this one."""
        return replace(self, span_id=new_id(8), parent_id=self.span_id)

    def headers(self) -> dict[str, str]:
        """Return the headers that tell whoever is called of this span (https://www.w3.org/TR/trace-context/)."""
        parent = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"}
        return parent | ({"tracestate": self.state} if self.state else {})


def new_id(octets: int) -> str:
    """Return a random id of so many bytes, which is not 0."""
    return f"{random.getrandbits(8 * octets) or 1:0{2 * octets}x}"
