"""A field that a provider refuses: the next route is asked, and the refusal remembered. HTTP in, HTTP out."""

from __future__ import annotations

import pytest

from tests.support.contract import check_error
from tests.support.loopback import status
from tests.support.loopback_faults import error
from tests.support.offers import SAMPLER, ask, table

pytestmark = pytest.mark.django_db


# --- a provider's word ------------------------------------------------------------------------------------------------
def openais(param, code="unsupported_value"):
    body = error("openai", "invalid_request_error", code, f"Unsupported value: '{param}' does not support 0.5.")
    body["error"]["param"] = param
    return status(400, body=body)


def anthropics(message):
    return status(400, body=error("anthropic", "invalid_request_error", None, message))


REFUSALS = {
    "openai": openais("temperature"),
    "openai's older": openais("temperature", "unsupported_parameter"),
    "without a code": status(400, body={"error": {"message": "Unsupported parameter: 'temperature' is not supported"}}),
    "anthropic": anthropics("`temperature` is deprecated for this model."),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_refusal_leads_on_and_is_remembered(house, auth_client, refusal, stream):
    protocol = "anthropic" if refusal == "anthropic" else "openai"
    other = "openai" if protocol == "anthropic" else "anthropic"
    rig = house(table(protocol, "new"), table(other, SAMPLER[other]))
    asked = rig.first if protocol == "anthropic" else rig.second
    asked.always = REFUSALS[refusal]
    for _ in range(2):
        response = ask(auth_client, temperature=0.5, stream=stream)
        assert response.status_code == 200
        assert response.getvalue()
    assert rig.calls == ((1, 2) if protocol == "anthropic" else (2, 1))
    (event,) = rig.events("field_refused")
    assert (event["provider"], event["upstream_model"], event["param"]) == (protocol, "new", "temperature")
    asked.always = "ok"
    assert ask(auth_client).status_code == 200
    assert len(asked.requests) == 2


@pytest.mark.parametrize("refusal", REFUSALS)
def test_where_no_other_route_is_left_the_field_is_named_and_nothing_charged(house, auth_client, refusal):
    protocol = "anthropic" if refusal == "anthropic" else "openai"
    rig = house(table(protocol, "new"))
    rig.first.always = rig.second.always = REFUSALS[refusal]
    for _ in range(2):
        assert check_error(ask(auth_client, temperature=0.5), "unsupported_parameter")["param"] == "temperature"
    assert (sum(rig.calls), rig.tokens()) == (1, (0, 0))


def test_a_route_that_could_later_is_told_of_before_one_that_never_can(house, auth_client):
    rig = house(table("openai", "new"), table("anthropic", SAMPLER["anthropic"]))
    rig.second.always, rig.first.always = openais("temperature"), "unavailable"
    check_error(ask(auth_client, temperature=0.5), "provider_unavailable")


def test_an_operators_own_field_that_is_refused_is_no_fault_of_the_client(house, auth_client):
    rig = house(table("openai", "new"), model="temperature = 0.7")
    rig.second.always = lambda recorded: openais("temperature") if "temperature" in recorded.json else "ok"
    check_error(ask(auth_client), "provider_error")
    assert ask(auth_client).status_code == 200
    rig.second.always = openais("max_completion_tokens", "unsupported_parameter")
    check_error(ask(auth_client), "provider_error")
    assert "models.toml" in rig.events("provider_attempt_failed")[-1]["detail"]
