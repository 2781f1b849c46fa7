"""Spans of chats for OpenTelemetry: one for each chat, and one below it for each call to a provider.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT names a collector, and then free: not even OpenTelemetry's own code is loaded.
A span is made when it is over, of the same values that the record and the metrics are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from chat.conf import conf
from chat.types import Attempt, Settlement
from chat.types.trace import Trace


def begun(headers: Mapping[str, str]) -> Trace | None:
    """Return the span of a chat that begins, below the one that `traceparent` names; None where nobody is told.

    The log's lines have its `trace_id` from here on.
    """
    if not conf.OTEL_EXPORTER_OTLP_ENDPOINT:
        return None
    from chat.observability import spans

    trace = spans.begun(headers.get("traceparent", ""), headers.get("tracestate", ""))
    structlog.contextvars.bind_contextvars(trace_id=trace.trace_id)
    return trace


def tell(
    trace: Trace | None, ended: Settlement, attempts: Sequence[Attempt], began: float, **facts: str | bool
) -> None:
    """Tell of a chat that has ended, and of its calls. `began` is on the scale of the attempts' `started`; `facts` are
    those of the chat that the settlement does not have. Raises nothing: the spans wait for a thread of their own."""
    if trace and trace.sampled:
        from chat.observability import spans

        spans.tell(trace, ended, attempts, began, facts)


def tell_refusal(trace: Trace | None, error: str, status: int, **facts: str) -> None:
    """Tell of a request that was refused before a provider was asked, by the name of the exception."""
    if trace and trace.sampled:
        from chat.observability import spans

        spans.tell_refusal(trace, error, status, facts)
