"""The official packages find themselves at home: what they get, and what they make of each of our errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat.models import UsageRecord
from chat.throttling import admitted
from tests.support.failures import OURS, PROVIDERS, REFUSED, ROWS, SETTINGS
from tests.support.loopback import Fault, status
from tests.support.sdks import BOTH, HELLO, AnthropicSDK, OpenAISDK, class_for, clock_of

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "one two three"
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(params=BOTH)
def sdk(request, live_server, rig, monkeypatch):
    """A client with its defaults, whose waits are recorded in `waits` instead of waited."""
    rig.first.always = Fault(text=TEXT)
    sdk = request.param(live_server.url, rig.token)
    sdk.waits = []
    monkeypatch.setattr(sdk.package._base_client, "time", clock_of(sdk.waits.append))
    with sdk.client:  # or its connections are garbage, which may be found in the middle of another test
        yield sdk


def raised(sdk: Any, **options: Any) -> Any:
    """The error that a chat ends in."""
    with pytest.raises(sdk.package.APIError) as caught:
        sdk.ask(**options)
    return caught.value


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_an_answer_whole_and_in_pieces(sdk, rig, protocol):
    rig.configure(protocol)
    assert sdk.text(sdk.ask()) == TEXT
    pieces = list(sdk.pieces())
    assert "".join(text for text, _ in pieces) == TEXT
    assert [text for text, _ in pieces if text] == ["one ", "two ", "three"]
    assert rig.tokens() == (42, 0)


@pytest.mark.parametrize("include_usage", [True, False])
def test_openais_own_accumulation_of_a_stream(live_server, rig, include_usage):
    rig.first.always = Fault(text=TEXT)
    options: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
    with (
        OpenAISDK(live_server.url, rig.token).client as client,
        client.chat.completions.stream(model="alone", messages=[HELLO], **options) as stream,
    ):
        final = stream.get_final_completion()
    assert (final.choices[0].message.content, final.choices[0].finish_reason, final.model) == (TEXT, "stop", "alone")
    assert (final.usage and final.usage.to_dict()) == (
        {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21} if include_usage else None
    )
    assert final.id == f"chatcmpl-{rig.record().request_id}"


def test_anthropics_own_accumulation_of_a_stream(live_server, rig):
    rig.configure("anthropic").first.always = Fault(text=TEXT)
    with (
        AnthropicSDK(live_server.url, rig.token).client as client,
        client.messages.stream(model="alone", max_tokens=64, messages=[HELLO], system="Be brief.") as stream,
    ):
        assert list(stream.text_stream) == ["one ", "two ", "three"]
        final = stream.get_final_message()
    assert (final.content[0].text, final.stop_reason, final.model) == (TEXT, "end_turn", "alone")
    usage = final.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (4, 3, 2)
    assert usage.output_tokens == 12
    assert final.id == f"msg_{rig.record().request_id}"
    assert rig.first.requests[-1].json["system"] == "Be brief."


def test_usage_is_what_the_budget_was_charged(sdk, rig):
    assert sdk.tokens(sdk.ask()) == (9, 12)
    assert rig.tokens() == (21, 0)


def test_the_models_on_offer(sdk, rig):
    assert [model.id for model in sdk.client.models.list()] == ["alone", "pair", "twice"]
    assert sdk.client.models.retrieve("pair").id == "pair"
    with pytest.raises(sdk.package.NotFoundError) as caught:
        sdk.client.models.retrieve("nowhere")
    assert sdk.code(caught.value) == "model_not_found"


def test_a_repeated_key_replays_the_answer(sdk, rig):
    again = {"extra_headers": {"Idempotency-Key": "order-7"}}
    first, second = sdk.ask(**again), sdk.ask(**again)
    assert (second.id, sdk.text(second), len(rig.first.requests)) == (first.id, TEXT, 1)
    error = raised(sdk, **again, messages=[{"role": "user", "content": "Another"}])
    check_error(sdk, error, "idempotency_key_reused")
    streams = {"extra_headers": {"Idempotency-Key": "order-8"}}
    first, second = list(sdk.pieces(**streams)), list(sdk.pieces(**streams))
    assert "".join(text for text, _ in first) == "".join(text for text, _ in second) == TEXT
    assert (len(rig.first.requests), rig.tokens()) == (2, (42, 0))


def test_an_answer_that_stands_in_says_so(sdk, rig):
    sdk.ask()
    rig.first.always = "unavailable"
    answer = sdk.ask()
    assert (sdk.text(answer), sdk.tokens(answer)) == (TEXT, (0, 0))
    assert answer.model_extra["cached"] is True
    assert answer.model_extra["message"] == "LLM is unavailable, showing cached response"
    resource = sdk.client.messages if isinstance(sdk, AnthropicSDK) else sdk.client.chat.completions
    limit: Any = {"max_tokens": 64}
    raw = resource.with_raw_response.create(model="alone", messages=[HELLO], **limit)
    assert raw.headers["x-cached"] == "true"


def test_an_answer_says_which_request_it_was(sdk):
    answer = sdk.ask(extra_headers={"X-Request-ID": "mine-1"})
    assert answer._request_id == "mine-1"
    assert answer.id in ("chatcmpl-mine-1", "msg_mine-1")


# --- errors -----------------------------------------------------------------------------------------------------------


def check_error(sdk: Any, error: Any, code: str) -> None:
    """The right class, with all that an error of ours says."""
    status_code = ROWS[code].status
    assert type(error) is class_for(sdk, status_code)
    assert (error.status_code, sdk.code(error)) == (status_code, code)
    assert error.request_id
    assert error.request_id == error.response.headers["x-request-id"] == error.response.headers["request-id"]


def check(sdk: Any, rig: Any, error: Any, code: str) -> None:
    """The same, and that it came after as many requests as can help."""
    check_error(sdk, error, code)
    received = rig.events("incoming_request")
    assert error.request_id == received[-1]["request_id"]
    assert (len(received), len(sdk.waits)) == ((3, 2) if ROWS[code].should_retry else (1, 0))


@pytest.mark.parametrize(("code", "options", "param"), REFUSED)
def test_what_is_wrong_with_a_request(sdk, rig, code, options, param):
    error = raised(sdk, **options(sdk))
    check(sdk, rig, error, code)
    assert sdk.param(error) == param
    assert rig.calls == (0, 0)


def test_a_bad_key(sdk, rig):
    sdk.client = sdk.client.with_options(api_key="wrong")
    check(sdk, rig, raised(sdk), "authentication_failed")


@pytest.mark.parametrize(("code", "changes"), SETTINGS)
def test_what_is_not_allowed_now(sdk, rig, settings, user, code, changes):
    for name, value in changes.items():
        setattr(settings, name, value)
    with admitted(user.pk):  # another chat
        check(sdk, rig, raised(sdk), code)
    assert rig.calls == (0, 0)


@pytest.mark.parametrize("code", PROVIDERS)
def test_what_goes_wrong_at_a_provider(sdk, rig, code):
    rig.configure(timeout=0.15 if code == "provider_timeout" else 5).first.always = PROVIDERS[code]
    check(sdk, rig, raised(sdk), code)
    assert rig.tokens() == (0, 0)


@pytest.mark.parametrize("code", OURS)
def test_what_goes_wrong_here(sdk, rig, monkeypatch, code):
    monkeypatch.setattr("chat.api.endpoint.complete_chat", OURS[code])
    check(sdk, rig, raised(sdk), code)


def test_a_client_that_waits_as_it_is_told_gets_its_answer(sdk, rig, settings, monkeypatch, time_machine):
    settings.CHAT_RATE_LIMIT = "1/m"
    time_machine.move_to(NOON, tick=False)

    def wait(seconds: float) -> None:
        sdk.waits.append(seconds)
        time_machine.shift(timedelta(seconds=seconds))

    monkeypatch.setattr(sdk.package._base_client, "time", clock_of(wait))
    sdk.ask()
    assert sdk.text(sdk.ask()) == TEXT
    (refusal,) = rig.events("rate_limit_exceeded")
    assert (sdk.waits, len(rig.events("incoming_request"))) == ([refusal["reset_in"]], 3)


def test_one_that_waits_in_vain_is_told_why(sdk, rig, settings, time_machine):
    settings.CHAT_RATE_LIMIT = "1/m"
    time_machine.move_to(NOON, tick=False)
    sdk.ask()
    rig.caplog.clear()
    error = raised(sdk)
    check(sdk, rig, error, "rate_limit_exceeded")
    assert sdk.waits == [int(error.response.headers["retry-after"])] * 2


def test_nobody_is_sent_to_sleep_for_a_day(sdk, rig, settings, time_machine):
    settings.CHAT_RATE_LIMIT = "1/d"
    time_machine.move_to(NOON, tick=False)
    time_machine.shift(int(rig.chat()["RateLimit"].rpartition("t=")[2]))  # to the beginning of a window
    sdk.ask()
    rig.caplog.clear()
    error = raised(sdk)
    check_error(sdk, error, "rate_limit_exceeded")
    assert error.response.headers["retry-after"] == "86400"
    assert (sdk.waits, len(rig.events("incoming_request"))) == ([], 1)
    assert rig.chat()["X-Should-Retry"] == "true"  # the native API's clients decide for themselves


# --- streams that break -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stream_cut", "stream_close", "stream_reset", "stream_error", "stream_stall"])
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_a_stream_that_breaks_off_never_looks_like_a_success(sdk, rig, settings, protocol, fault):
    settings.CHAT_STREAM_IDLE_TIMEOUT = 0.3
    rig.configure(protocol).first.always = Fault(fault, text=TEXT)
    pieces = []
    with pytest.raises(sdk.package.APIError) as caught:
        pieces.extend(sdk.pieces())  # what comes before the error is kept
    assert type(caught.value) is sdk.broken_off
    assert [text for text, _ in pieces if text] == ["one "]
    assert [reason for _, reason in pieces if reason] == []
    code = {"stream_stall": "provider_timeout", "stream_error": "provider_unavailable"}.get(fault)
    assert sdk.code(caught.value) == (code or "invalid_provider_response")
    assert sdk.waits == []
    assert rig.record().state == UsageRecord.State.TRUNCATED


def test_one_that_fails_before_its_first_text_is_an_error_with_a_status(sdk, rig):
    rig.first.always = status(501)
    with pytest.raises(sdk.package.InternalServerError) as caught:
        next(sdk.pieces())
    assert caught.value.status_code == 503
