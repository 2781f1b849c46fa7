"""`manage.py check_providers` against providers on loopback, and the check that warns of models that are gone."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from chat.routing import catalogue
from tests.support import embeddings
from tests.support.loopback import status
from tests.support.loopback_faults import error
from tests.support.vendors import vendor

MODELS = {"data": [{"id": "claude-haiku-5-5"}, {"id": "claude-haiku-4-5-20251001"}, {"id": "gpt-6-luna"}]}


@pytest.fixture
def house(rig):
    rig.first.always = rig.second.always = lambda sent: vendor(sent) if sent.json else status(200, body=MODELS)
    rig.settings.CHAT_SIMULATOR = False

    def offer(*models, extra=""):
        tables = [
            f"[models.m{number}]\nroutes = {routes}\nmax_output_tokens = 4096\ndefault_output_tokens = 64\n"
            for number, routes in enumerate(models)
        ]
        return rig.offer(
            f'[providers.anthropic]\nprotocol = "anthropic"\nbase_url = "{rig.first.url}"\n'
            f'[providers.openai]\nprotocol = "openai"\nbase_url = "{rig.second.openai_url}"\n'
            f'limit_field = "max_completion_tokens"\n{extra}{"".join(tables)}'
        )

    return offer


def run(*args):
    """What is printed, and the complaint that makes the exit status 1, or ""."""
    out = io.StringIO()
    try:
        call_command("check_providers", *args, stdout=out)
    except CommandError as exc:
        return out.getvalue(), str(exc)
    return out.getvalue(), ""


def row_of(output, route):
    return next(line.split(maxsplit=1)[1] for line in output.splitlines() if line.startswith(route + " "))


def test_every_route_is_asked_once_with_the_smallest_chat(house):
    rig = house('["anthropic:claude-haiku-5-5", "openai:gpt-6-luna"]', '["openai:gpt-6-luna"]')
    output, complaint = run()
    assert complaint == ""
    assert row_of(output, "anthropic:claude-haiku-5-5").startswith("ok")
    assert row_of(output, "openai:gpt-6-luna").startswith("ok")
    assert "m0: anthropic:claude-haiku-5-5, then openai:gpt-6-luna" in output
    assert rig.calls == (1, 1)
    assert not {"temperature", "top_p"} & rig.second.requests[0].json.keys()


def test_a_model_that_makes_vectors_is_asked_for_one(house):
    rig = house('["anthropic:claude-haiku-5-5"]', extra='[models.e]\nkind = "embedding"\nroutes = ["openai:x-small"]\n')
    rig.second.always = embeddings.Vendor()
    output, complaint = run()
    assert (complaint, row_of(output, "openai:x-small").split()[:2]) == ("", ["(embeddings)", "ok"])
    assert rig.second.requests[0].json == {"model": "x-small", "input": "Hi"}


def test_a_retired_model_is_told_with_what_to_do_and_the_other_route_still_serves(house):
    house('["anthropic:claude-3-5-haiku-latest", "openai:gpt-6-luna"]')
    output, complaint = run()
    assert (complaint, row_of(output, "anthropic:claude-3-5-haiku-latest").split("  ")[0]) == ("", "not offered")
    assert "wrong: anthropic answered 404" in output
    assert "to do: Name another model in models.toml" in output


def test_a_model_without_a_working_route_ends_with_1(house):
    house('["anthropic:claude-3-5-haiku-latest"]', '["openai:gpt-6-luna"]')
    assert run()[1] == "No working route: m0."


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("bad_key", "key refused"),
        ("terminal_429", "no credit"),
        ("rate_limit", "rate limited"),
        ("unavailable", "unavailable"),
        ("html", "no answer"),
        ("hang", "timeout"),
        (status(403, body=error("openai", "", None, "No.")), "refused"),
        (status(400, body=error("openai", "", None, "No.")), "rejected"),
        (status(418), "objects"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_in_words(house, fault, state):
    rig = house('["openai:gpt-6-luna"]', extra="timeout = 0.5\n")
    rig.second.always = fault
    output, complaint = run()
    assert row_of(output, "openai:gpt-6-luna").split("  ")[0] == state
    assert complaint == "No working route: m0."
    assert output.count("to do: ") == 1


def test_routes_are_asked_side_by_side_within_their_time_outs(house, monkeypatch):
    rig = house('["openai:a", "openai:b", "openai:c", "openai:d", "openai:e"]', extra="timeout = 1.0\n")
    rig.second.always = "hang"
    output, _ = run()
    waits = [int(row_of(output, f"openai:{name}").split()[1]) for name in "abcde"]
    assert all(900 < wait < 2_900 for wait in waits)


def test_the_list_is_read_for_free(house):
    rig = house('["anthropic:claude-haiku-4-5", "anthropic:claude-haiku-5"]', '["openai:gpt-6-luna"]')
    output, complaint = run("--list")
    assert complaint == ""
    assert row_of(output, "anthropic:claude-haiku-4-5").startswith("listed")
    assert row_of(output, "anthropic:claude-haiku-5").startswith("not listed")
    assert "such as claude-haiku-5-5" in output
    assert row_of(output, "openai:gpt-6-luna").startswith("listed")
    assert {request.path for request in rig.first.requests} == {"/v1/models?limit=1000"}
    assert {request.path for request in rig.second.requests} == {"/v1/models"}
    assert rig.first.requests[0].headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("fault", ["bad_key", "html", "hang", status(404)], ids=str)
def test_a_list_that_cannot_be_had(house, fault):
    rig = house('["openai:gpt-6-luna"]', extra="timeout = 0.5\n")
    rig.second.always = fault
    assert run("--list")[1] == "No working route: m0."


def test_prices_are_shown(house):
    house('[{provider = "openai", model = "gpt-6-luna", price = {input = 0.1, output = 0.5, cached = 0.01}}]')
    assert row_of(run()[0], "openai:gpt-6-luna").split()[2:] == ["0.1", "0.5"]


def test_without_any_key_it_says_what_is_missing(settings):
    settings.CHAT_SIMULATOR = True
    output, complaint = run()
    assert (output, complaint.startswith("There is no live route: ANTHROPIC_API_KEY is not set")) == ("", True)


@pytest.mark.parametrize(
    ("model", "news"),
    [
        ("anthropic:claude-3-5-haiku-latest", "retired it on February 19, 2026"),
        ("anthropic:claude-3-5-sonnet-20241022", "retired it in October 2025"),
        ("anthropic:claude-3-7-sonnet-latest", "retired it"),
        ("anthropic:claude-opus-4-0", "retired it"),
        ("anthropic:claude-sonnet-4-5", "retires it on November 30, 2026"),
        ("openai:gpt-4o", "announced its end for 2027"),
        ("openai:gpt-4o-mini", "announced its end for 2027"),
        ("anthropic:claude-haiku-5-5", ""),
        ("anthropic:claude-haiku-4-5", ""),
        ("anthropic:claude-opus-4-6", ""),
        ("openai:gpt-4.1-mini", ""),
        ("openai:gpt-6-luna", ""),
    ],
)
def test_a_check_warns_of_models_that_are_gone_or_going(house, model, news):
    house(f'["{model}"]')
    found = [message for message in catalogue.check_models_file() if message.id == "chat.W012"]
    assert [news in message.msg for message in found] == ([True] if news else [])
    assert all("Use " in message.hint for message in found)
