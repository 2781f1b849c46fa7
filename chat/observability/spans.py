"""Spans in OpenTelemetry's own terms, and the thread that sends them.

Names and attributes are those of the semantic conventions for generative AI, as far as these know a thing
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/); those that begin with `chat.` are ours. The tokens
stand on the span of the call that answered alone, or whoever adds up a trace would count them twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from chat.conf import conf
from chat.types import ABANDONED, Attempt, Settlement
from chat.types.trace import Trace, new_id

SERVICE = "genai-chat"
"""The name where OTEL_SERVICE_NAME gives none."""
SCOPE = InstrumentationScope("chat")


class Exporter:
    """Sends spans to the collector at `endpoint`, from a thread of its own, and what is left when the process ends.

    Everything else is set by OpenTelemetry's own variables: OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_TRACES_SAMPLER and so on.
    """

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        self.processor = BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces"))
        self.provider = TracerProvider(resource=resource)  # which sees to it that the rest is sent at the end
        self.provider.add_span_processor(self.processor)

    @property
    def sampler(self) -> Sampler:
        return self.provider.sampler

    def send(self, trace: Trace, name: str, kind: SpanKind, times: tuple[int, int], error: str, facts: Any) -> None:
        """Send one span. `times` are its beginning and its end in nanoseconds since 1970; `error` is "" for none."""
        self.processor.on_end(
            ReadableSpan(
                name,
                context_of(trace, trace.span_id),
                context_of(trace, trace.parent_id) if trace.parent_id else None,
                self.provider.resource,
                attributes={key: value for key, value in facts.items() if value not in (None, "")}
                | ({"error.type": error} if error else {}),
                kind=kind,
                status=Status(StatusCode.ERROR, error) if error else Status(),
                start_time=times[0],
                end_time=times[1],
                instrumentation_scope=SCOPE,
            )
        )


@cache
def exporter(endpoint: str) -> Exporter:
    """Return the one exporter of this process; made with its first chat, so that each worker has a thread."""
    return Exporter(endpoint)


def context_of(trace: Trace, span_id: str) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), False, flags, state)


def begun(traceparent: str, tracestate: str) -> Trace:
    """Return a new span: below that of the caller, if it names one, else the first of a new trace. Whether it is
    sampled is the sampler's word, which mostly is the caller's."""
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    context = TraceContextTextMapPropagator().extract(carrier)
    caller = get_current_span(context).get_span_context()
    trace_id = f"{caller.trace_id:032x}" if caller.is_valid else new_id(16)
    sampler = exporter(conf.OTEL_EXPORTER_OTLP_ENDPOINT).sampler
    decision = sampler.should_sample(context, int(trace_id, 16), "chat", SpanKind.SERVER).decision
    sampled = decision is Decision.RECORD_AND_SAMPLE
    parent_id = f"{caller.span_id:016x}" if caller.is_valid else ""
    return Trace(trace_id, new_id(8), parent_id, sampled, caller.trace_state.to_header() if caller.is_valid else "")


def tell(
    trace: Trace, ended: Settlement, attempts: Sequence[Attempt], began: float, facts: Mapping[str, str | bool]
) -> None:
    """Send the span of a chat, and one below it for each call."""
    send = exporter(conf.OTEL_EXPORTER_OTLP_ENDPOINT).send
    ends = nanoseconds(ended.finished_at.timestamp())
    starts = ends - (ended.duration_ms or 0) * 1_000_000
    own = {
        "chat.outcome": "cached" if ended.cached else ended.state,
        "chat.attempts": sum(attempt.number > 0 for attempt in attempts),
        "chat.tokens_used": ended.tokens_used,
        "chat.tokens_uncharged": ended.uncharged,
        "chat.cost_nanodollars": ended.cost_used,
        "user.id": str(ended.reservation.user_id),
    }
    given = {f"chat.{name}": value for name, value in facts.items()}
    send(trace, f"chat {facts['model']}", SpanKind.SERVER, (starts, ends), ended.error, own | given)
    for attempt in attempts:
        if attempt.trace:
            at = starts + nanoseconds(attempt.started - began)
            over = ends if not attempt.reason else at + nanoseconds(attempt.milliseconds / 1000)
            error = "" if attempt.reason == ABANDONED else attempt.reason or ended.error
            operation = "embeddings" if facts["face"] == "embeddings" else "chat"
            named = {"gen_ai.operation.name": operation} | of_call(attempt, ended)
            send(attempt.trace, f"{operation} {attempt.upstream_model}", SpanKind.CLIENT, (at, over), error, named)


def of_call(attempt: Attempt, ended: Settlement) -> dict[str, Any]:
    """Return the attributes of one call. That which answered has the tokens of the answer, and lasts as long as it."""
    facts: dict[str, Any] = {
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.upstream_model,
        "http.response.status_code": attempt.status,
        "chat.attempt": attempt.number,
        "chat.decision": attempt.decision,
    }
    if attempt.reason:
        return facts | {"chat.tokens_uncharged": attempt.tokens}
    usage, first = ended.usage, ended.first_token_ms
    return facts | {
        "gen_ai.response.model": ended.upstream_model,
        "gen_ai.response.time_to_first_chunk": None if first is None else first / 1000,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def tell_refusal(trace: Trace, error: str, status: int, facts: Mapping[str, str]) -> None:
    """Send the span of a request that was refused at once."""
    now = time.time_ns()
    own = {"chat.outcome": "refused", "http.response.status_code": status}
    given = {f"chat.{name}": value for name, value in facts.items()}
    send = exporter(conf.OTEL_EXPORTER_OTLP_ENDPOINT).send
    send(trace, f"chat {facts['model']}".strip(), SpanKind.SERVER, (now, now), error, own | given)


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
