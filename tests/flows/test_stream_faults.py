"""Every fault of the loopback provider's streams, in both protocols, over one route and over two: before the first text
failures are plain HTTP and the second route helps; after it there is one error in the stream, and what came is charged.
"""

from __future__ import annotations

import pytest

from chat.billing import tokens
from chat.models import UsageRecord
from chat.problems.table import BY_CODE
from chat.routing import cooldown
from tests.flows.test_fault_matrix import DOWN, INVALID, LEAKS, LIMITED, OURS, REJECTED, RETRIED, SLOW, WAITS
from tests.support import loopback_streams
from tests.support.events import end_of, events_of, text_of
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import error
from tests.support.rig import KEYS, eventually

pytestmark = pytest.mark.django_db
State = UsageRecord.State
TEXT, FIRST_WORD = "one two three", "one "
PROMPT = tokens.estimate_prompt(["Hello!"], strict=False)

NO_TEXT = {
    # Before the first text: the code of the answer.
    SLOW: "hang hang_after_headers drip_headers",
    DOWN: "reset close unavailable overloaded",
    LIMITED: "rate_limit",
    OURS: "terminal_429 bad_key",
    REJECTED: "rejected",
    INVALID: "html broken_json empty_body bad_gzip huge close_half_way chunk_half_way bad_status_line redirect "
    "stream_empty",
}
BREAKS = {
    # After the first word: the code of the event that ends the stream.
    SLOW: "stream_stall stream_stall_in_framing",
    DOWN: "stream_error",
    LIMITED: "limited",
    OURS: "key_refused",
    REJECTED: "filtered",
    INVALID: "stream_cut stream_close stream_reset stream_garbage stream_bad_utf8 stream_endless_line "
    "stream_endless_comments odd_event",
}
AFTER_ALL_TEXT = {
    # All of the text, and what the stream comes to without its proper end: OpenAI's, Anthropic's.
    "stream_no_terminator": ("stop", INVALID),
    "stream_no_terminator_unframed": (INVALID, INVALID),
    "stream_no_finish": (INVALID, INVALID),
}
GOOD = (
    "ok slow stream_split stream_at_once stream_loose stream_no_last_line_end stream_unframed stream_goes_on "
    "stream_one_piece stream_pauses stream_slow_first"
)
EVENTS = {"limited": "rate_limit_error", "key_refused": "authentication_error", "filtered": "invalid_request_error"}


def rows(table):
    return [(fault, code) for code, faults in table.items() for fault in faults.split()]


def behaviour(fault, protocol):
    if fault == "rejected":
        return status(400)
    if fault in EVENTS:
        return Fault("stream_error", text=TEXT, body=error(protocol, EVENTS[fault], None))
    if fault == "odd_event":
        return Fault("stream_error", text=TEXT, body={"error": "weather"})
    return Fault(fault, text=TEXT, seconds=0.0 if "endless" in fault else 0.02)


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request):
    return request.param


@pytest.fixture(params=["alone", "pair"])
def model(request):
    return request.param


@pytest.fixture
def stream(rig, protocol, model, settings, monkeypatch):
    """Streams one chat whose first provider has the fault."""
    settings.CHAT_STREAM_IDLE_TIMEOUT = 0.3
    monkeypatch.setattr(cooldown, "FAILURES_IN_A_ROW", 100)

    def chat(fault, timeout=20.0):
        rig.configure(protocol, timeout=timeout)
        rig.first.always = behaviour(fault, protocol)
        return rig.chat(model, stream=True, headers={"X-Request-ID": "row-1"})

    return chat


@pytest.mark.parametrize(("fault", "code"), rows(NO_TEXT))
def test_before_the_first_text(rig, stream, model, fault, code):
    response = stream(fault, timeout=0.5 if code == SLOW else 20.0)
    calls = 3 if fault in RETRIED and model == "alone" else 2 if fault in RETRIED else 1
    if model == "pair" and code != REJECTED:
        events = events_of(response)
        assert (text_of(events), end_of(events)[0], end_of(events)[1]["provider"]) == ("hello", "done", "second")
        eventually(lambda: rig.calls == (calls, 1))  # a busy machine's provider may be late to read what was sent
        assert rig.tokens() == (21, 0)
        return
    body = response.json()
    assert (response.status_code, body["error"], body["provider"]) == (BY_CODE[code].status, code, "first")
    assert response.get("Retry-After") == WAITS.get(fault, WAITS[code])
    assert "Nothing was charged" in body["message"]
    eventually(lambda: rig.calls == (calls, 0))
    assert (rig.tokens(), rig.record().state) == ((0, 0), State.RELEASED)


@pytest.mark.parametrize(("fault", "code"), rows(BREAKS))
def test_after_the_first_text(rig, stream, protocol, fault, code):
    events = events_of(stream(fault))
    said = text_of(events)
    assert said.startswith(FIRST_WORD) if "endless" in fault else said == FIRST_WORD
    # Anthropic reports the prompt at the start.
    charged = (9 if protocol == "anthropic" else PROMPT) + tokens.estimate_text(said)
    check_break(rig, events, code, charged)


@pytest.mark.parametrize(("fault", "codes"), AFTER_ALL_TEXT.items())
def test_without_a_proper_end(rig, stream, protocol, fault, codes):
    events = events_of(stream(fault))
    code = codes[protocol == "anthropic"]
    assert text_of(events) == TEXT
    if code == "stop":
        assert (end_of(events)[1]["finish_reason"], rig.tokens()) == ("stop", (21, 0))
        return
    reported = protocol == "openai" or fault != "stream_no_finish"
    check_break(rig, events, code, 21 if reported else 9 + tokens.estimate_text(TEXT))


def check_break(rig, events, code, charged):
    name, body = end_of(events)
    assert (name, body["error"], body["status"]) == ("error", code, BY_CODE[code].status)
    assert (body["provider"], body["request_id"]) == ("first", "row-1")
    assert "Nothing was charged" not in body["message"]
    assert f"what had arrived is charged, {charged} tokens" in body["message"]
    record = rig.record()
    assert (rig.tokens(), record.tokens_used, record.reserved > 0) == ((charged, 0), charged, True)
    assert (record.state, record.estimated, record.provider) == (State.TRUNCATED, True, "first")
    assert rig.calls == (1, 0)  # no other provider can go on where this one stopped
    (line,) = rig.events("chat_truncated")
    assert (line["reason"], line["tokens_used"]) == (record.error, charged)
    assert not rig.events("chat_completed")
    assert not LEAKS.search(str(events))
    assert not [key for key in KEYS.values() if key in str(events) + rig.caplog.text]


@pytest.mark.parametrize("fault", GOOD.split())
def test_unusual_streams_that_are_good_answers(rig, stream, fault):
    events = events_of(stream(fault))
    assert (text_of(events), end_of(events)[1]["finish_reason"]) == (TEXT, "stop")
    assert (rig.tokens(), rig.record().state, rig.calls) == ((21, 0), State.SETTLED, (1, 0))


def test_no_fault_is_left_out():
    told = " ".join([*NO_TEXT.values(), *BREAKS.values(), GOOD, *AFTER_ALL_TEXT]).split()
    tables = loopback_streams.ALTERED, loopback_streams.ENDLESS, loopback_streams.ENDINGS
    known = {name for table in tables for name in table}
    # Any event, or one of OpenAI's alone: tests/providers/. The stream that never ends: test_streaming.py.
    # A model that thinks: test_thinking.py.
    elsewhere = {"stream_event", "stream_usage_with_last_choice", "stream_pings_after_text"}
    assert known - set(told) == elsewhere | {"stream_comments_only", "stream_pings_only"}
