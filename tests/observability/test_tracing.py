"""Spans, as OpenTelemetry's own messages have them, and `traceparent`."""

from __future__ import annotations

import re

import pytest

from chat.models import UsageRecord
from chat.observability import spans
from tests.support.asking import OPENAI, post
from tests.support.collector import collecting, facts

pytestmark = pytest.mark.django_db
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector(settings):
    with collecting() as collector:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = collector.endpoint
        yield collector
        spans.exporter(collector.endpoint).provider.shutdown()


def sent(collector):
    """All spans so far: that of the chat, and those of its calls."""
    spans.exporter(collector.endpoint).processor.force_flush()
    chat, *calls = collector.spans()
    return chat, calls


def test_a_chat_and_its_call_are_spans_below_the_callers(rig, collector, log):
    assert rig.chat("alone", "planted words", headers={"traceparent": TRACEPARENT}).status_code == 200
    (record,), (chat, (call,)) = UsageRecord.objects.all(), sent(collector)
    assert (chat.trace_id.hex(), chat.parent_span_id.hex(), chat.name, chat.kind) == (TRACE, CALLER, "chat alone", 2)
    assert (call.trace_id.hex(), call.parent_span_id, call.name, call.kind) == (TRACE, chat.span_id, "chat m", 3)
    assert rig.first.requests[0].headers["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert facts(chat) == {
        "chat.outcome": "settled",
        "chat.attempts": 1,
        "chat.tokens_used": record.tokens_used,
        "chat.tokens_uncharged": 0,
        "chat.model": "alone",
        "chat.face": "chat",
        "chat.request_id": record.request_id,
        "chat.stream": False,
        "user.id": str(record.user_id),
    }
    told = facts(call)
    assert {name: told[name] for name in told if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "first",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    took = (chat.end_time_unix_nano - chat.start_time_unix_nano) // 10**6
    assert took == record.duration_ms
    assert chat.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano == chat.end_time_unix_nano
    assert b"planted" not in b"".join(body for _, body in collector.receiver.got)
    assert collector.services() == {"genai-chat"}
    assert {line.get("trace_id") for line in log.lines if line["event"] == "chat_completed"} == {TRACE}


def test_each_call_of_a_failover_has_its_own_span_with_its_error(rig, collector):
    rig.first.then("rate_limit")
    assert rig.chat("pair").status_code == 200
    chat, (failed, answered) = sent(collector)
    assert facts(failed)["error.type"] == failed.status.message
    assert failed.status.code == 2
    assert facts(failed)["chat.decision"] == "next_route"
    assert "gen_ai.usage.input_tokens" not in facts(failed)
    assert (answered.status.code, facts(answered)["gen_ai.provider.name"]) == (0, "second")
    assert {rig.first.requests[0].headers["traceparent"], rig.second.requests[0].headers["traceparent"]} == {
        f"00-{chat.trace_id.hex()}-{call.span_id.hex()}-01" for call in (failed, answered)
    }
    assert chat.status.code == 0


def test_a_chat_that_nobody_answers_is_an_error(rig, collector):
    rig.first.always = "rate_limit"
    assert rig.chat("alone").status_code == 503
    chat, (call,) = sent(collector)
    assert facts(chat)["error.type"] == facts(call)["error.type"] == "ProviderRateLimitError"
    assert facts(call)["http.response.status_code"] == 429
    assert facts(chat)["chat.outcome"] == "released"


def test_a_stream_says_when_its_first_piece_came_and_lasts_until_its_end(rig, collector):
    response = post(rig, OPENAI, model="alone", stream=True)
    assert b"[DONE]" in b"".join(response.streaming_content)
    (record,), (chat, (call,)) = UsageRecord.objects.all(), sent(collector)
    assert facts(chat)["chat.stream"] is True
    assert facts(call)["gen_ai.response.time_to_first_chunk"] == record.first_token_ms / 1000
    assert call.end_time_unix_nano == chat.end_time_unix_nano


def test_a_stream_that_breaks_off_is_an_error_of_its_call(rig, collector):
    rig.first.then("stream_close")
    response = post(rig, OPENAI, model="alone", stream=True)
    b"".join(response.streaming_content)
    (record,), (chat, (call,)) = UsageRecord.objects.all(), sent(collector)
    assert record.state == "truncated"
    assert facts(chat)["error.type"] == facts(call)["error.type"] == record.error
    assert facts(call)["gen_ai.usage.output_tokens"] == record.completion_tokens


def test_a_refused_request_is_a_span_too(rig, collector, settings):
    settings.TOKEN_BUDGET_DEFAULT = 1
    assert rig.chat("alone", headers={"traceparent": TRACEPARENT}).status_code == 429
    chat, calls = sent(collector)
    assert calls == []
    assert (chat.trace_id.hex(), facts(chat)["chat.outcome"]) == (TRACE, "refused")
    assert (facts(chat)["error.type"], facts(chat)["http.response.status_code"]) == ("TokenBudgetExceededError", 429)


def test_a_request_that_is_refused_late_is_the_same_trace_in_the_log_and_the_span(rig, collector, settings, log):
    settings.TOKEN_BUDGET_DEFAULT = 1
    assert rig.chat("alone").status_code == 429
    chat, _ = sent(collector)
    assert {line["trace_id"] for line in log.lines if "trace_id" in line} == {chat.trace_id.hex()}


def test_what_the_caller_does_not_sample_is_passed_on_and_told_nobody(rig, collector):
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-00", "tracestate": "vendor=a,other=b"}
    assert rig.chat("alone", headers=headers).status_code == 200
    spans.exporter(collector.endpoint).processor.force_flush()
    assert collector.spans() == []
    passed_on = rig.first.requests[0].headers
    assert re.fullmatch(rf"00-{TRACE}-(?!{CALLER})[0-9a-f]{{16}}-00", passed_on["traceparent"])
    assert passed_on["tracestate"] == "vendor=a,other=b"


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}", "é" * 900],
)
def test_who_names_no_trace_begins_one(rig, collector, header):
    assert rig.chat("alone", headers={"traceparent": header, "tracestate": "=,=" * 300}).status_code == 200
    chat, (call,) = sent(collector)
    assert chat.parent_span_id == b""
    assert chat.trace_id.hex() not in (TRACE, "0" * 32)
    assert call.trace_id == chat.trace_id
    assert "tracestate" not in rig.first.requests[0].headers


def test_without_a_collector_nothing_is_taken_or_passed_on(rig, log):
    assert rig.chat("alone", headers={"traceparent": TRACEPARENT, "tracestate": "a=b"}).status_code == 200
    assert not {"traceparent", "tracestate"} & {name.lower() for name in rig.first.requests[0].headers}
    assert not any("trace_id" in line for line in log.lines)


def test_a_collector_that_is_gone_costs_no_chat(rig, settings, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = gone = "http://127.0.0.1:9"
    assert rig.chat("alone").status_code == 200
    assert UsageRecord.objects.get().state == "settled"
    spans.exporter(gone).provider.shutdown()
