"""What happens, as numbers for Prometheus: each end of a chat is counted, by the value that settles it.

Off unless CHAT_METRICS is set, and then free. Under gunicorn each worker writes into files of PROMETHEUS_MULTIPROC_DIR,
of which `exposition` adds up those of all. Labels are names of models.toml, of exceptions and of states: there are few.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from chat.conf import conf
from chat.observability.pool import PoolMetrics
from chat.types import Attempt, Settlement

SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
ANSWERED = "answered"

own = CollectorRegistry()
"""The metrics of this process."""

CHATS = Counter(
    "chat_requests",
    "Chats by how they ended: settled, truncated, released (nothing is charged), cached (an earlier answer stood in).",
    ["face", "model", "provider", "outcome", "error"],
    registry=own,
)
REFUSALS = Counter("chat_refusals", "Requests refused before a provider was asked.", ["face", "error"], registry=own)
TOKENS = Counter(
    "chat_tokens",
    "Tokens: prompt and completion are charged; cached, written and reasoning are parts of these; uncharged is what "
    "providers billed in vain.",
    ["model", "provider", "kind"],
    registry=own,
)
COST = Counter(
    "chat_cost_nanodollars", "What users were charged, where the price is known.", ["model", "provider"], registry=own
)
DURATION = Histogram(
    "chat_duration_seconds",
    "A chat from its beginning to its bill.",
    ["model", "outcome"],
    buckets=SECONDS,
    registry=own,
)
FIRST_TOKEN = Histogram(
    "chat_first_token_seconds",
    "A stream from its beginning to its first piece.",
    ["model"],
    buckets=SECONDS,
    registry=own,
)
CALLS = Histogram(
    "chat_provider_call_seconds",
    "One call to a provider: answered, or the exception that it ended with.",
    ["provider", "upstream_model", "outcome"],
    buckets=SECONDS,
    registry=own,
)
POOL = PoolMetrics(own)


def count(model: str, face: str, ended: Settlement) -> None:
    """Count a chat that has ended."""
    if not conf.CHAT_METRICS:
        return
    outcome = "cached" if ended.cached else ended.state
    CHATS.labels(face, model, ended.provider, outcome, ended.error).inc()
    usage, charged = ended.usage, ended.state != "released"
    kinds = {
        "prompt": usage.prompt_tokens * charged,
        "completion": usage.completion_tokens * charged,
        "cached": usage.cached_tokens * charged,
        "written": usage.cache_write_tokens * charged,
        "reasoning": usage.reasoning_tokens * charged,
        "uncharged": ended.uncharged,
    }
    for kind, tokens in kinds.items():
        if tokens:
            TOKENS.labels(model, ended.provider, kind).inc(tokens)
    if ended.cost_used:
        COST.labels(model, ended.provider).inc(ended.cost_used)
    if ended.duration_ms is not None:
        DURATION.labels(model, outcome).observe(ended.duration_ms / 1000)
    if ended.first_token_ms is not None:
        FIRST_TOKEN.labels(model).observe(ended.first_token_ms / 1000)
    for attempt in ended.attempts:
        if "number" in attempt:  # else no provider was called
            names = attempt.get("provider", ""), attempt.get("model", ""), attempt.get("reason", ANSWERED)
            CALLS.labels(*names).observe(attempt.get("ms", 0) / 1000)
    POOL.count()


def count_uncharged(model: str, attempt: Attempt) -> None:
    """Count the tokens of a call that was abandoned, and that its provider billed all the same."""
    if conf.CHAT_METRICS and attempt.tokens:
        TOKENS.labels(model, attempt.provider, "uncharged").inc(attempt.tokens)


def count_refusal(face: str, error: str) -> None:
    """Count a request that was refused, by the name of the exception."""
    if conf.CHAT_METRICS:
        REFUSALS.labels(face, error).inc()
        POOL.count()


def exposition(*states: Collector) -> bytes:
    """Return the metrics of all workers in Prometheus' text format, with those of `states`, which are read now."""
    registry = own
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    now = CollectorRegistry()
    for state in states:
        now.register(state)
    return generate_latest(registry) + generate_latest(now)
