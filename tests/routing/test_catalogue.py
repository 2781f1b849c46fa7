"""models.toml and the environment: what they offer."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from chat.exceptions import ModelNotFoundError
from chat.routing import catalogue
from tests.support.catalogue import MODEL, PROVIDER, embedder, model, route

KEYED = PROVIDER + 'base_url_env = "A_URL"\napi_key_env = "A_KEY"\n' + MODEL


def shipped(settings, monkeypatch, simulate, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.CHAT_SIMULATOR = simulate
    found = catalogue.current()
    routes = {
        name: [f"{route.provider.key}:{route.upstream_model}" for route in model.routes]
        for name, model in found.models.items()
    }
    return found, routes


# --- the shipped file -------------------------------------------------------------------------------------------------
def test_with_all_keys_every_shipped_model_has_its_routes_in_order(settings, monkeypatch):
    keys = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "LLAMA_BASE_URL": "http://127.0.0.1:1/v1/"}
    found, routes = shipped(settings, monkeypatch, False, **keys)
    assert [[route.partition(":")[0] for route in of_model] for of_model in routes.values()] == [
        ["anthropic", "openai", "openai"],
        ["openai", "anthropic"],
        ["llama"],
        ["anthropic"],
        ["anthropic"],
        ["openai", "openai"],
        ["openai", "openai"],
    ]
    by_responses = [route for model in found.models.values() for route in model.routes if route.upstream.api]
    assert [route.upstream_model for route in by_responses] == ["gpt-6-luna", "gpt-6-luna", "gpt-6.1-terra"]
    real = ["claude-haiku-5-5", "claude-sonnet-5-5", "gpt-6-luna", "gpt-6.1-terra"]
    assert (list(routes), found.unavailable) == (["claude-3", "gpt-4", "llama-2", *real], {})
    assert all(routes[name][0].endswith(f":{name}") for name in real)
    assert [found.providers[key].base_url for key in found.providers] == [
        "https://api.anthropic.com",
        "https://api.openai.com/v1",
        "http://127.0.0.1:1/v1",
    ]
    assert catalogue.check_models_file() == []
    assert "'k'" not in repr(found)


def test_without_any_key_the_simulator_serves_and_says_so(settings, monkeypatch):
    found, routes = shipped(settings, monkeypatch, True)
    assert {route.partition(":")[0] for of_model in routes.values() for route in of_model} == {"simulator"}
    assert [len(of_model) for of_model in routes.values()] == [3, 2, 1, 1, 1, 2, 2]
    (notice,) = catalogue.check_models_file()
    assert notice.id == "chat.I011"
    assert all(name in notice.msg for name in routes)
    assert all(name in notice.hint for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LLAMA_BASE_URL"))


def test_in_production_a_model_without_a_live_route_is_not_offered_and_a_check_says_why(settings, monkeypatch):
    found, routes = shipped(settings, monkeypatch, False, OPENAI_API_KEY="k")
    assert {name: {route.partition(":")[0] for route in of} for name, of in routes.items()} == {
        "claude-3": {"openai"},
        "gpt-4": {"openai"},
        "gpt-6-luna": {"openai"},
        "gpt-6.1-terra": {"openai"},
    }
    warning, *others = catalogue.check_models_file()
    assert {(found.id, found.is_serious()) for found in (warning, *others)} == {("chat.W010", False)}
    assert ["claude-haiku-5-5" in others[0].msg, "claude-sonnet-5-5" in others[1].msg, len(others)] == [True, True, 2]
    assert "llama-2" in warning.msg
    assert "LLAMA_BASE_URL is not set" in warning.msg
    with pytest.raises(ModelNotFoundError) as caught:
        found.get("llama-2")
    assert caught.value.available_models == ["claude-3", "gpt-4", "gpt-6-luna", "gpt-6.1-terra"]


def test_a_missing_key_of_one_route_only_skips_that_route_even_where_simulating(settings, monkeypatch):
    _, routes = shipped(settings, monkeypatch, True, ANTHROPIC_API_KEY="k")
    assert [of[0].partition(":")[0] for of in routes.values()][:3] == ["anthropic", "anthropic", "simulator"]
    assert [len(of) for of in routes.values()] == [1, 1, 1, 1, 1, 2, 2]


def test_a_route_says_how_it_is_asked(load):
    drop, accepts = '["reasoning_effort", "seed"]', '["web_search", "stop_sequences"]'
    text = route(api='"responses"', drop=drop, accepts=accepts, allow_stored="true")
    (asked,) = load(text).models["m"].routes
    assert (asked.protocol, str(asked), asked.label) == ("responses", "a:x", "a:x (responses)")
    assert asked.upstream.drop == {"effort", "seed"}
    assert asked.upstream.takes == {"web_search": True, "stop": True}
    assert asked.upstream.allow_stored


def test_what_an_entry_says_holds_for_its_routes_unless_they_say_otherwise(load):
    entry = PROVIDER + 'api = "responses"\nallow_stored = true\n'
    routes = '["a:x", {provider = "a", model = "y", api = "chat", allow_stored = false}]'
    first, second = load(model(routes=routes).replace(PROVIDER, entry)).models["m"].routes
    assert [(route.protocol, route.upstream.allow_stored) for route in (first, second)] == [
        ("responses", True),
        ("openai", False),
    ]


# --- the environment --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("environment", "base_url", "api_key"),
    [
        ({}, "http://a/v1", ""),
        ({"A_URL": "https://b:8443/v2//", "A_KEY": "sk-1"}, "https://b:8443/v2", "sk-1"),
        ({"A_URL": " http://b \n", "A_KEY": "  sk-1\r\n"}, "http://b", "sk-1"),
        ({"A_URL": "  ", "A_KEY": " \n"}, "http://a/v1", ""),
    ],
)
def test_the_environment_wins_and_stray_spaces_do_not_matter(load, monkeypatch, environment, base_url, api_key):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = load(KEYED)
    entry = found.providers["a"]
    assert (entry.base_url, entry.api_key, entry.missing) == (base_url, api_key, "" if api_key else "A_KEY is not set")
    assert ("m" in found.models) == bool(api_key)
    assert "sk-1" not in repr(found)


@pytest.mark.parametrize("key", ["sk-1\nX-Evil: 1", "sk-1\x00", "schlüssel", "ключ", "Bearer sk-1", "sk-\x7f"])
def test_a_key_that_no_header_can_carry_stops_the_start_and_is_not_printed(load, monkeypatch, key):
    monkeypatch.setattr("os.environ", {"A_KEY": key})
    with pytest.raises(ImproperlyConfigured) as caught:
        load(KEYED)
    assert "models.toml, line 5: [providers.a] A_KEY holds" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["a.example", "ftp://a", "http://", "http://a b", "http://a/v1?x=1", "http://a\n/v1"])
def test_a_base_url_that_is_none_stops_the_start(load, monkeypatch, url):
    monkeypatch.setenv("A_URL", url)
    with pytest.raises(ImproperlyConfigured, match=r"line 4: \[providers.a\] A_URL is "):
        load(KEYED)


# --- models that make vectors -----------------------------------------------------------------------------------------
def test_a_model_that_makes_vectors(load):
    entry = 'api = "responses"\nprotocol'
    found = load(
        embedder('["a:x", {provider = "a", model = "x", price = {input = 0.02, output = 0}}]').replace(
            "protocol", entry, 1
        )
    )
    (first, second) = found.embedders["e"].routes
    assert (found.models, first.protocol, second.protocol) == ({}, "embeddings", "embeddings")
    assert [model.name for model in found.all_models] == ["e"]
    with pytest.raises(ModelNotFoundError):
        found.get("e")
    assert found.get("e", "embedding").max_output_tokens == 0
