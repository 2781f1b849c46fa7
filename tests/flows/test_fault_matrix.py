"""Every fault of the loopback provider: alone in both protocols, with a healthy second route, with a cached answer."""

import re

import pytest

from chat.problems.table import BY_CODE
from chat.routing import failover
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import ANSWERED, ANTHROPIC, BODIES, ERRORS, OPENAI, pieces_of
from tests.support.rig import KEYS, eventually

pytestmark = pytest.mark.django_db
SLOW, DOWN, LIMITED = "provider_timeout", "provider_unavailable", "provider_rate_limited"
INVALID, OURS, REJECTED = "invalid_provider_response", "provider_error", "provider_rejected_request"

# The code alone, or the finish reason of an answer, and the faults that lead there.
OUTCOMES = {
    SLOW: "hang hang_after_headers drip_body drip_headers endless_continue",
    DOWN: "reset close unavailable overloaded error_in_200",
    LIMITED: "rate_limit",
    OURS: "terminal_429 bad_key",
    REJECTED: "rejected",
    INVALID: "close_half_way chunk_half_way bad_status_line endless_header endless_headers redirect huge gzip_bomb "
    "bad_gzip html broken_json empty_body json_list not_utf8 deep_json no_choices",
    "stop": "ok slow informational usage_missing usage_nonsense surrogates null_content empty_content tool_calls",
    "length": "reasoning_only",
    "content_filter": "refusal content_filter",
}
FAULTS = {fault: outcome for outcome, faults in OUTCOMES.items() for fault in faults.split()}
WAITS = {SLOW: "5", DOWN: "60", LIMITED: "7", OURS: "60", INVALID: "5", REJECTED: None} | {
    "terminal_429": "300",
    "bad_key": "300",
}
RETRIED = {"unavailable", "overloaded", "error_in_200"}
OF_ANTHROPIC = {"no_choices": "stop", "null_content": INVALID}
"""Its content may be an empty list, and not null."""
ENDS = ("stop", "length", "content_filter")
UNUSABLE_BUT_BILLED = {"openai": "no_choices", "anthropic": "null_content"}
BEHAVIOURS = {"rejected": status(400), "drip_body": Fault("drip_body", seconds=0.02), "gzip_bomb": Fault("gzip_bomb")}
CACHED = {SLOW: "slow", DOWN: "unavailable", LIMITED: "busy"}
LEAKS = re.compile(r"Something is wrong|nginx|SSH-2|gzip|127\.0\.0\.1|Traceback|[a-z]Error|\bhal\b|Bearer")
SITUATIONS = [("openai", "alone"), ("openai", "second"), ("openai", "cached"), ("anthropic", "alone")]
"""What a failure leads to does not depend on the protocol in which it was told."""


@pytest.mark.parametrize(("protocol", "situation"), SITUATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_answer(rig, fault, protocol, situation):
    outcome = (OF_ANTHROPIC if protocol == "anthropic" else {}).get(fault, FAULTS[fault])
    rig.configure(protocol, timeout=0.5 if outcome == SLOW else 20)
    model, charged = ("pair" if situation == "second" else "alone"), 0
    if situation == "cached":
        assert rig.chat(model).json()["tokens_used"] == 21
        rig.first.requests.clear()
        rig.caplog.clear()
        charged = 21
    rig.first.always = BEHAVIOURS.get(fault, Fault(fault))
    response = rig.chat(model, headers={"X-Request-ID": "row-1"})
    body, text = response.json(), response.content.decode() + repr(sorted(response.headers.items()))

    tried_afresh = 0
    if outcome in ENDS:
        expected, calls, charged = (200, "first", False), (1, 0), charged + body["tokens_used"]
        assert body["finish_reason"] == outcome
        assert body["tokens_used"] == sum(body["usage"].values()) > 0
    elif outcome == REJECTED:
        expected, calls = (400, REJECTED), (1, 0)
    elif situation == "second":
        expected, calls, charged = (200, "second", False), (2 if fault in RETRIED else 1, 1), 21
    elif situation == "cached" and outcome in CACHED:
        tried_afresh = fault in ("reset", "close")  # the connection had been kept
        expected, calls = (200, "first", True), (3 if fault in RETRIED else 1 + tried_afresh, 0)
        assert body["message"] == f"LLM is {CACHED[outcome]}, showing cached response"
        assert body["tokens_used"] == 0
    else:
        expected, calls = (BY_CODE[outcome].status, outcome), (3 if fault in RETRIED else 1, 0)

    failed = response.status_code != 200
    assert expected == ((response.status_code, body["error"]) if failed else (200, body["provider"], body["cached"]))
    eventually(lambda: rig.calls == calls)  # a busy machine's provider may be late to read what was sent
    assert (rig.tokens(), response["X-Request-ID"]) == ((charged, 0), "row-1")
    if failed:
        assert response.get("Retry-After") == WAITS.get(fault, WAITS[outcome])
        assert body.get("retry_after") == (int(response["Retry-After"]) if "Retry-After" in response else None)
        assert response["X-Should-Retry"] == ("false" if outcome in (OURS, REJECTED) else "true")
        assert body["provider"] == "first"
    attempts = rig.events("provider_attempt_failed")
    assert len(attempts) == (calls[0] - tried_afresh if outcome not in ENDS else 0)
    assert all(line["decision"] and line["duration_ms"] >= 0 and line["provider"] == "first" for line in attempts)
    (end,) = rig.events("chat_completed", *BY_CODE)
    assert (end["event"], end["attempts"]) == (outcome if failed else "chat_completed", sum(calls) - tried_afresh)
    assert rig.record().uncharged_tokens == (21 * calls[0] if fault == UNUSABLE_BUT_BILLED[protocol] else 0)
    assert not LEAKS.search(text)
    assert not [key for key in KEYS.values() if key in text + rig.caplog.text]


def test_no_fault_is_left_out():
    known = {*ANSWERED, *OPENAI, *ANTHROPIC, *BODIES, *ERRORS, "error_in_200", "redirect", "reset", "close", "hang"}
    pieces = [name for name in FAULTS if pieces_of(name) is not None]
    assert known <= set(FAULTS)
    assert len(pieces) == 7
    assert failover.DECISIONS[-1][1](None), "and whatever else may come has a row"
